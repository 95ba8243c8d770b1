/* SPDX-License-Identifier: BSD-2-Clause */
/* Is it a packet of its connection? TCP windows, 'set ct tcp strict' (tables/ct_window.h): reads the segment. SCTP's tags
 * (tables/ct_tags.h). A later fragment has no header; it goes the way of its first one. */
#include "fwd/decide.h"
#include "fwd/sctp.h"
#include "tables/ct_window.h"

enum { TH_SYN = 2, OPTION_END = 0, OPTION_NOP = 1, OPTION_SCALE = 3, OPTION_SACK = 5, SACK_BLOCK = 8 };

static void read_sack(const uint8_t *o, unsigned len, struct ct_segment *s)
{
	for (unsigned at = 2; at + SACK_BLOCK <= len; at += SACK_BLOCK) {
		const uint32_t edge = rd32(o + at + 4);
		if ((int32_t)(edge - s->sack) > 0)
			s->sack = edge;
	}
}

static void read_options(const uint8_t *o, const uint8_t *end, struct ct_segment *s)
{
	const bool syn = s->flags & TH_SYN;
	for (unsigned len; o < end && *o != OPTION_END; o += len) {
		len = *o == OPTION_NOP ? 1 : o + 1 < end ? o[1] : 0;
		if (!len || (len == 1 && *o != OPTION_NOP) || o + len > end)
			return;
		if (syn && *o == OPTION_SCALE && len == 3)
			s->scale = (uint8_t)(CT_SCALE + MIN(o[2], (uint8_t)CT_SHIFT_MAX));
		else if (!syn && *o == OPTION_SACK)
			read_sack(o, len, s);
	}
}

static bool read_segment(const struct pkt *p, struct ct_segment *s)
{
	const uint8_t *l4 = p->l4;
	if (p->flags & PKT_FRAG_LATER)
		return false;
	const uint32_t header = MIN((uint32_t)(l4[12] >> 4) * 4, (uint32_t)p->l4_len);
	*s = (struct ct_segment){ .seq = rd32(l4 + 4),
				  .ack = rd32(l4 + 8),
				  .sack = rd32(l4 + 8),
				  .len = p->l4_len - header,
				  .win = rd16(l4 + 14),
				  .flags = p->tcp_flags,
				  .scale = CT_SCALE_NONE,
				  .more = p->flags & PKT_FRAG };
	read_options(l4 + TCP_HLEN, l4 + header, s);
	return true;
}

void decide_window_begin(const struct decision *d, uint32_t conn)
{
	struct ct_segment s;
	if (ct_strict && d->p->proto == PROTO_TCP && read_segment(d->p, &s))
		ct_window_begin(d->ct, conn, &s);
}

enum step decide_window(struct decision *d, bool *aside)
{
	struct ct_segment s;
	const char *why;
	*aside = false;
	if (!ct_strict || d->p->proto != PROTO_TCP || !read_segment(d->p, &s))
		return STEP_ON;
	switch (ct_window(d->ct, d->record >> 1, d->reply, &s, d->x != NULL, &why)) {
	case CT_WINDOW_FITS:
		return STEP_ON;
	case CT_WINDOW_ASIDE:
		decide_say(d, "ct", "not sure to be the connection's: forwarded, the connection stays as it is");
		*aside = true;
		return STEP_ON;
	default:
		decide_say(d, "ct", "outside the TCP window: %s", why);
		return decide_drop(d, DROP_TCP_WINDOW);
	}
}

static bool has_tag(const struct pkt *p)
{
	return p->proto == PROTO_SCTP && !(p->flags & PKT_FRAG_LATER);
}

void decide_tags_begin(const struct decision *d, uint32_t conn)
{
	const struct pkt *p = d->p;
	const struct ct_tagged none = { .kind = CT_TAG_END }, t = has_tag(p) ? sctp_tags(p->l4, p->l4_len) : none;
	if (p->proto == PROTO_SCTP)
		ct_tags_begin(d->ct, conn, &t);
}

bool decide_tags(const struct decision *d)
{
	const struct pkt *p = d->p;
	if (!has_tag(p))
		return true;
	const struct ct_tagged t = sctp_tags(p->l4, p->l4_len);
	if (ct_tags(d->ct, d->record >> 1, d->reply, &t, d->x != NULL))
		return true;
	decide_say(d, "ct", "verification tag %u is not the association's: forwarded, the connection stays as it is",
		   t.tag);
	return false;
}

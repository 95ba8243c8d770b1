/* SPDX-License-Identifier: BSD-2-Clause */
/* Step mss: the MSS option of a SYN tells the other end how much to put into a segment toward the sender. Where path-MTU
 * discovery is broken, lowering it is what keeps TCP going. SYNs are always decided, never replayed, so this is the only place.
 *
 * The limit is the smaller MTU of the way ahead and the way back, tunnel included, less 40 or 60 bytes of headers: options
 * count against the segment (RFC 9293 3.7.1). An MSS is never raised, nor an option added. Workers only. */
#include "fwd/decide.h"

enum { TCP_SYN = 2, OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, MSS_LEN = 4, MSS_MIN = 88, WORD_ON = 1 };

/* What fits on both ways of the packet's connection as far as this box knows them. */
static uint32_t path_mss(const struct decision *d)
{
	const uint32_t headers = (d->p->flags & PKT_IP6 ? IP6_HLEN : IP4_HLEN) + TCP_HLEN;
	struct route back = d->from;
	if (!d->reply)
		step_route(decide_zone_in(d), &d->osrc, (uint32_t)d->p->hash, d->dst_identity, &back);
	uint32_t mtu = adj_at(d->to.adj)->mtu;
	if (back.adj)
		mtu = MIN(mtu, adj_at(back.adj)->mtu);
	return mtu > headers + MSS_MIN ? mtu - headers : MSS_MIN;
}

/* The two bytes of the MSS in TCP header 'l4', NULL: there is none. */
static uint8_t *find_mss(uint8_t *l4)
{
	const unsigned hl = (l4[12] >> 4) * 4u;
	for (unsigned at = TCP_HLEN; at < hl && l4[at] != OPTION_END;) {
		if (l4[at] == OPTION_NOP) {
			at++;
			continue;
		}
		const unsigned len = at + 1 < hl ? l4[at + 1] : 0;
		if (len < 2 || at + len > hl)
			return NULL;
		if (l4[at] == OPTION_MSS && len == MSS_LEN)
			return l4 + at + 2;
		at += len;
	}
	return NULL;
}

void step_mss(struct decision *d)
{
	struct pkt *p = d->p;
	const uint32_t wanted = LOAD_RELAXED(&settings.mss_clamp);
	if (!wanted || p->proto != PROTO_TCP || !(p->tcp_flags & TCP_SYN) || p->flags & PKT_FRAG)
		return;
	uint8_t *mss = find_mss(p->l4);
	if (!mss)
		return;
	const uint32_t most = wanted == WORD_ON ? path_mss(d) : wanted;
	if (rd16(mss) <= most)
		return;
	/* options need not lie on even offsets; at an odd one each byte counts in the other half of its word */
	const bool odd = (mss - p->l4) & 1;
	const uint16_t was = ld16(mss), now = htons((uint16_t)most);
	st16(mss, now);
	st16(p->l4 + 16,
	     csum_update(ld16(p->l4 + 16), odd ? __builtin_bswap16(was) : was, odd ? __builtin_bswap16(now) : now));
}

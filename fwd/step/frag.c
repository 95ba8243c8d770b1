/* SPDX-License-Identifier: BSD-2-Clause */
/* Step frag: which datagram a fragment belongs to, whether it fits, its ports; then, mostly, straight on by the connection's
 * record (design section 5: "after the frag look-up it rejoins").
 *
 * Only the first fragment has the L4 header, so only there ports and L4 checksum change; the checksum's delta is right however
 * the datagram was cut. Under another source address the identification is a new one: inside hosts behind one pool address
 * know nothing of each other's (RFC 6864 5.3.1). */
#include "fwd/frag.h"

#include "fwd/replay.h"

enum { TCP_DECIDED = 7 /* SYN, FIN, RST: never replayed */ };

struct fragment {
	struct frag_key key;
	uint8_t *header; /* IPv6: the fragment header */
	uint32_t start, len;
	bool more;
};

/* The fragment header of an IPv6 packet that parse found well-formed. */
static uint8_t *header6(uint8_t *l3)
{
	unsigned proto = l3[6];
	uint8_t *h = l3 + IP6_HLEN;
	while (proto != PROTO_FRAGMENT) {
		proto = h[0];
		h += (h[1] + 1u) * 8;
	}
	return h;
}

/* False when no datagram can have such a piece: empty, of a length that nothing can follow, or past 65535 bytes. */
static bool read_fragment(const struct pkt *p, struct fragment *f)
{
	uint32_t most = 65535, word;
	memset(f, 0, sizeof(*f));
	f->key.in = p->in;
	f->key.zone = p->zone;
	if (p->flags & PKT_IP6) {
		f->header = header6(p->l3);
		f->key.src = ip_from6(p->l3 + 8);
		f->key.dst = ip_from6(p->l3 + 24);
		f->key.id = rd32(f->header + 4);
		word = rd16(f->header + 2);
		f->start = word & 0xfff8;
		f->more = word & 1;
		f->len = (uint32_t)(p->l3 + p->l3_len - (f->header + 8));
	} else {
		f->key.src = ip_from4(ld32(p->l3 + 12));
		f->key.dst = ip_from4(ld32(p->l3 + 16));
		f->key.id = rd16(p->l3 + 4);
		f->key.proto = p->proto;
		word = rd16(p->l3 + 6);
		f->start = (word & 0x1fff) * 8;
		f->more = word & 0x2000;
		f->len = p->l4_len;
		most -= (uint32_t)(p->l4 - p->l3);
	}
	return f->len && !(f->more && f->len % 8) && f->start + f->len <= most;
}

/* RFC 1858 3, RFC 3128: a later fragment inside the L4 header could only serve to overwrite it. */
static bool inside_header(const struct pkt *p, const struct fragment *f)
{
	return f->start &&
	       ((p->proto == PROTO_TCP && f->start < TCP_HLEN) || (p->proto == PROTO_SCTP && f->start < 12));
}

static enum step refuse(struct decision *d, uint32_t row, enum drop reason)
{
	frag_ports_set(frag_at(row), &(struct frag_ports){ .state = FRAG_REFUSED, .reason = (uint8_t)reason });
	frag_queue_drop(d->w, row, reason);
	return decide_drop(d, reason);
}

/* What a fragment that was not seen before means for its datagram. STEP_ON: its ports are known. */
static enum step arrive(struct decision *d, uint32_t row, const struct fragment *f)
{
	struct pkt *p = d->p;
	struct frag_value *v = frag_at(row);
	struct frag_ports said;
	if (v->ports.p.state == FRAG_REFUSED)
		return decide_drop(d, v->ports.p.reason);
	if (inside_header(p, f))
		return refuse(d, row, DROP_FRAG_TINY);
	if (f->start == 0) {
		enum drop bad = parse_first(p, &said);
		if (bad != DROP_NONE)
			return refuse(d, row, bad);
	}
	switch (frag_add(v, f->start, f->len, f->more)) {
	case FRAG_AGAIN:
		return decide_drop(d, DROP_FRAG_DUPLICATE);
	case FRAG_CLASH:
		return refuse(d, row, DROP_FRAG_OVERLAP);
	default:
		break;
	}
	if (f->start == 0) {
		frag_ports_set(v, &said);
	} else if (v->ports.p.state == FRAG_WAITS) {
		frag_queue(d->w, row, p, f->start);
		return STEP_DONE;
	}
	return STEP_ON;
}

/* Dry: nothing is noted. */
static enum step explain(struct decision *d, const struct fragment *f)
{
	struct frag_ports said;
	if (inside_header(d->p, f))
		return decide_drop(d, DROP_FRAG_TINY);
	if (f->start == 0) {
		enum drop bad = parse_first(d->p, &said);
		if (bad != DROP_NONE)
			return decide_drop(d, bad);
		decide_say(d, "frag", "the first fragment of datagram %u", f->key.id);
	} else if (frag_ports_find(&f->key, &said)) {
		decide_say(d, "frag", "a later fragment of datagram %u: ports %u > %u from its first one", f->key.id,
			   ntohs(said.sport), ntohs(said.dport));
	} else {
		decide_say(d, "frag", "a later fragment of datagram %u, whose first one was not seen", f->key.id);
		d->wait_frag = true;
		return STEP_HOLD;
	}
	parse_set_ports(d->p, &said);
	tuple_of_pkt(d->p, &d->wire);
	return STEP_ON;
}

/* ---- rejoin ---- */

struct action {
	uint32_t adj, in, gensum;
	const uint16_t *dep;
};

static struct action action_of(const struct ct *c, const union record *now)
{
	if (c->v6)
		return (struct action){ now->v6.adj, now->v6.in, now->v6.gensum, now->v6.dep };
	return (struct action){ now->v4.adj, now->v4.in, now->v4.gensum, now->v4.dep };
}

/* Longer than 'mtu' and not to be cut up further. */
static bool too_long(const struct pkt *p, uint16_t mtu)
{
	return p->l3_len > mtu && (p->flags & PKT_IP6 || p->l3[6] & 0x40);
}

/* The record that may send 'p' without a decision, or 0: the list in replay.h, but for what makes it a fragment. */
static uint32_t live_record(const struct pkt *p, const struct ct *c, uint32_t now_s)
{
	const void *key = c->v6 ? (const void *)&p->k6 : (const void *)&p->k4;
	if (p->ttl <= 1 || p->proto == PROTO_SCTP || (p->proto == PROTO_TCP && p->tcp_flags & TCP_DECIDED))
		return 0;
	uint32_t r = ct_find(c, key, p->hash, now_s);
	union record now = { 0 };
	uint32_t vni;
	if (!r || !record_peek(c, r, &now, &vni))
		return 0;
	const struct action a = action_of(c, &now);
	const struct adj *adj = adj_at(a.adj);
	if (a.gensum != gen_sum(a.dep) || a.in != p->in || adj->kind == ADJ_NONE || too_long(p, adj->mtu))
		return 0;
	return p->flags & PKT_VNI_CLAIM && vni != p->outer_vni ? 0 : r;
}

/* ---- out ---- */

/* As what the packets of record 'r' leave. */
static void tuple_out(const struct ct *c, uint32_t r, struct tuple *out)
{
	struct tuple back;
	tuple_of_key(c->v6, c->v6 ? (const void *)&ct_flow6(r ^ 1)->key : (const void *)&ct_flow4(r ^ 1)->key, &back);
	tuple_reverse(&back, out);
}

/* A datagram of this source gets a new identification, which an error about it is translated back from. */
static uint32_t new_id(const struct tuple *out, uint8_t proto, uint32_t was)
{
	const uint32_t id = frag_new_id(&out->src, &out->dst, proto);
	const bool v6 = !ip_is4(&out->src);
	uint8_t key[40];
	frag_id_note(tuple_key(out, key), v6 ? id : (uint16_t)id, was);
	return id;
}

static void rename_fragment(const struct decision *d, struct frag_value *v, uint32_t was)
{
	struct pkt *p = d->p;
	struct tuple out;
	tuple_out(d->ct, d->record, &out);
	if (ip_eq(&out.src, &d->wire.src))
		return;
	if (!v->renamed) {
		v->out_id = new_id(&out, p->flags & PKT_IP6 ? 0 : p->proto, was);
		v->renamed = 1;
	}
	if (p->flags & PKT_IP6)
		wr32(header6(p->l3) + 4, v->out_id);
	else
		frag_set_id4(p->l3, (uint16_t)v->out_id);
}

void frag_send(struct decision *d)
{
	struct pkt *p = d->p;
	struct frag_value *v = frag_at(d->frag);
	bool first = !(p->flags & PKT_FRAG_LATER);
	rename_fragment(d, v, frag_key_at(d->frag)->id);
	if (!first)
		p->proto = 0; /* what is at l4 is payload: no rewrite there */
	replay_one(d->w, p, d->ct, d->record);
	if (first)
		frag_queue_send(d->w, d->frag);
}

void frag_rename(struct decision *d)
{
	struct tuple out;
	tuple_out(d->ct, d->record, &out);
	if (!ip_eq(&out.src, &d->wire.src))
		frag_set_id4(d->p->l3, (uint16_t)new_id(&out, d->p->proto, rd16(d->p->l3 + 4)));
}

void frag_rename_replayed(const struct ct *c, uint32_t r, uint8_t *l3)
{
	struct tuple out;
	tuple_out(c, r, &out);
	frag_set_id4(l3, (uint16_t)new_id(&out, l3[9], rd16(l3 + 4)));
}

enum step frag_translated(struct decision *d)
{
	if (!(d->p->flags & PKT_FRAG) || d->wire.proto != PROTO_SCTP ||
	    (d->out.sport == d->wire.sport && d->out.dport == d->wire.dport))
		return STEP_ON;
	decide_say(d, "frag",
		   "SCTP under another port: its checksum follows from the length, which no first fragment tells");
	return decide_drop(d, DROP_NAT_PROTO);
}

void frag_dropped(struct decision *d)
{
	refuse(d, d->frag, d->drop);
}

void frag_put_off(struct decision *d)
{
	struct fragment f;
	struct frag_value *v = frag_at(d->frag);
	read_fragment(d->p, &f);
	frag_sub(v, f.start, f.len, f.more);
	if (f.start == 0)
		frag_ports_set(v, &(struct frag_ports){ .state = FRAG_WAITS });
}

/* Finds or makes the row of a fragment's datagram. STEP_ON: its ports are known. */
static enum step datagram(struct decision *d, const struct fragment *f, uint32_t *row)
{
	struct worker *w = d->w;
	if (frag_queue_sending(w)) { /* seen before, when it came */
		*row = table_find(&frag_table, &f->key);
		if (!*row)
			return decide_drop(d, DROP_FRAG_QUEUE_FULL);
		const struct frag_ports *known = &frag_at(*row)->ports.p;
		return known->state == FRAG_OPEN ? STEP_ON : decide_drop(d, known->reason);
	}
	/* without a row, so that a flood of ends without beginnings drives no other datagram out of the table */
	if (f->start && frag_queue_closed(w, &f->key) && !table_find(&frag_table, &f->key))
		return decide_drop(d, DROP_FRAG_QUEUE_FULL);
	*row = frag_row(w->slot, FRAG_CAPACITY / n_workers, &f->key, w->now_s, settings.frag_timeout);
	return *row ? arrive(d, *row, f) : decide_drop(d, DROP_FRAG_QUEUE_FULL);
}

enum step step_frag(struct decision *d)
{
	struct worker *w = d->w;
	struct pkt *p = d->p;
	struct fragment f;
	if (!read_fragment(p, &f))
		return decide_drop(d, DROP_FRAG_HEADER);
	if (d->x)
		return explain(d, &f);
	unsigned owner = frag_owner(&f.key, n_workers);
	if (owner != w->id) {
		worker_hand_over(w, owner, p);
		return STEP_DONE;
	}
	uint32_t row = 0;
	enum step s = datagram(d, &f, &row);
	if (s != STEP_ON)
		return s;
	d->frag = row;
	parse_set_ports(p, &frag_at(row)->ports.p);
	tuple_of_pkt(p, &d->wire);
	d->ct = ct_of(p->flags & PKT_IP6);
	d->record = live_record(p, d->ct, w->now_s);
	if (!d->record)
		return STEP_ON;
	w->replayed++;
	frag_send(d);
	return STEP_DONE;
}

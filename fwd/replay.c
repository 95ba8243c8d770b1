/* SPDX-License-Identifier: BSD-2-Clause */
/* Flow records: how a decision writes them, and the replay of one packet right after its decision. The same for bursts of
 * established packets is burst.c, what both do to a packet is rewrite.h. */
#include "fwd/replay.h"

#include <sched.h>

#include "fwd/export.h"
#include "fwd/fragment.h"
#include "fwd/rewrite.h"
#include "fwd/sctp.h"
#include "fwd/settings.h"

INLINE uint32_t neg(uint64_t words)
{
	return (uint16_t)~csum_fold(words);
}

static uint16_t delta_ports(be16 s0, be16 d0, be16 s1, be16 d1)
{
	return csum_fold((uint64_t)neg((uint64_t)s0 + d0) + s1 + d1);
}

/* Of the two zeroes the one that leaves a checksum as it is. */
static uint16_t delta(uint64_t sum)
{
	uint16_t d = csum_fold(sum);
	return d == 0xffff ? 0 : d;
}

static void translate4(struct flow4 *f, const struct tuple *out, bool no_hop)
{
	const uint16_t pd = delta_ports(f->key.sport, f->key.dport, out->sport, out->dport);
	uint32_t addrs = csum_fold((uint64_t)neg(csum_add(&f->key.src, 8, 0)) + csum_add(&out->src.w[3], 4, 0) +
				   csum_add(&out->dst.w[3], 4, 0));
	struct flow4 v = { .src = out->src.w[3], .dst = out->dst.w[3], .sport = out->sport, .dport = out->dport };
	/* TTL is the low byte of its little-endian word: minus one */
	v.d3 = no_hop ? delta(addrs) : csum_fold((uint64_t)addrs + 0xfffe);
	v.d4 = delta(out->proto == PROTO_ICMP ? pd : (uint64_t)addrs + pd);
	STORE_RELAXED(&f->addrs, v.addrs);
	STORE_RELAXED(&f->ports, v.ports);
	STORE_RELAXED(&f->deltas, v.deltas);
}

static void translate6(struct flow6 *f, const struct tuple *out)
{
	const uint16_t pd = delta_ports(f->key.sport, f->key.dport, out->sport, out->dport);
	uint64_t addrs =
		(uint64_t)neg(csum_add(f->key.src, 32, 0)) + csum_add(out->src.b, 16, 0) + csum_add(out->dst.b, 16, 0);
	struct flow6 v = { .sport = out->sport, .dport = out->dport, .d4 = delta(addrs + pd) };
	memcpy(v.src, out->src.b, 16);
	memcpy(v.dst, out->dst.b, 16);
	for (unsigned i = 0; i < ARRAY_LEN(v.addrs); i++)
		STORE_RELAXED(&f->addrs[i], v.addrs[i]);
	STORE_RELAXED(&f->ports, v.ports);
	STORE_RELAXED(&f->d4, v.d4);
}

/* Far away from what a record's counters add up to, before or after a change of them. */
enum { NEVER = 0x40000000 };

static uint32_t *record_gensum(const struct ct *c, uint32_t r)
{
	return c->v6 ? &ct_flow6(r)->gensum : &ct_flow4(r)->gensum;
}

static uint32_t *record_way(const struct ct *c, uint32_t r)
{
	return c->v6 ? &ct_flow6(r)->way : &ct_flow4(r)->way;
}

static uint16_t *record_dep(const struct ct *c, uint32_t r)
{
	return c->v6 ? ct_flow6(r)->dep : ct_flow4(r)->dep;
}

static void breathe(unsigned *n)
{
	if (++*n % 64 == 0)
		sched_yield(); /* the one waited for may have lost its processor */
	else
		_mm_pause();
}

/* Two workers may decide about one record at once. One after the other writes it: who saw older tables than the other then
 * leaves it invalid, in whichever order they come, and never his fields under the other's sum. */
static void lock(uint16_t *l)
{
	for (unsigned n = 0; __atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE);)
		breathe(&n);
}

void record_write(struct ct *c, uint32_t r, const struct tuple *out, uint32_t adj, const struct flow_from *from,
		  const uint16_t dep[4], uint32_t begin)
{
	uint32_t *gensum = record_gensum(c, r), *way = record_way(c, r), sum = gen_sum(dep);
	struct conn *k = ct_conn(c, r >> 1);
	_Static_assert(ADJS_MAX <= 1 << 16, "an adjacency's index is half a word, 'version' the other");
	const uint32_t version = (LOAD_RELAXED(way) + 0x10000) & 0x7fff0000;
	lock(&k->writing);
	STORE_RELAXED(gensum, sum ^ NEVER);
	STORE_RELEASE(way, version | adj | (from->no_hop ? FLOW_NO_HOP : 0));
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (c->v6)
		translate6(ct_flow6(r), out);
	else
		translate4(ct_flow4(r), out, from->no_hop);
	STORE_RELAXED(c->v6 ? &ct_flow6(r)->in : &ct_flow4(r)->in, from->in);
	STORE_RELAXED(&k->vni[r & 1], from->vni);
	for (unsigned i = 0; i < 4; i++)
		STORE_RELAXED(&record_dep(c, r)[i], dep[i]);
	if (gen_stable(begin) && ct_replayable(k))
		STORE_RELEASE(gensum, sum);
	STORE_RELEASE(&k->writing, 0);
}

void record_stop_both(struct ct *c, uint32_t r)
{
	uint16_t *writing = &ct_conn(c, r >> 1)->writing;
	/* who is writing one of them may have seen the connection as it was before */
	lock(writing);
	for (unsigned i = 0; i < 2; i++, r ^= 1)
		STORE_RELAXED(record_gensum(c, r), gen_sum(record_dep(c, r)) ^ NEVER);
	STORE_RELEASE(writing, 0);
	export_stop(c, r >> 1);
}

bool record_peek(const struct ct *c, uint32_t r, union record *out, uint32_t *vni)
{
	const struct conn *k = ct_conn(c, r >> 1);
	const uint32_t *way = record_way(c, r);
	const flow_word *from = (const void *)(c->flows + (uint64_t)r * c->flow_size);
	flow_word *to = (void *)out;
	const uint32_t was = LOAD_ACQUIRE(way);
	if (LOAD_ACQUIRE(&k->writing)) /* after 'way': whose version this is has written all of it */
		return false;
	for (unsigned i = 0; i < c->flow_size / sizeof(*to); i++)
		to[i] = LOAD_RELAXED(&from[i]);
	*vni = LOAD_RELAXED(&k->vni[r & 1]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(way) == was;
}

void record_read(const struct ct *c, uint32_t r, union record *out)
{
	uint32_t vni;
	for (unsigned n = 0; !record_peek(c, r, out, &vni);)
		breathe(&n);
}

void flow_carry(const struct ct *c, uint32_t r, bool bytes, uint32_t *packets)
{
	struct conn *cn = ct_conn(c, r >> 1);
	const uint32_t dir = r & 1;
	if (packets[0] == 0) { /* the carry of the packets went to the bytes, which lie behind them */
		__atomic_fetch_add(&cn->carry_packets[dir], 1, __ATOMIC_RELAXED);
		bytes = bytes && packets[1] != 0;
		packets[1]--;
	}
	if (bytes)
		__atomic_fetch_add(&cn->carry_bytes[dir], 1, __ATOMIC_RELAXED);
}

/* ---- out ---- */
void emit_l3(struct worker *w, uint8_t *l3, uint32_t l3_len, bool v6, uint32_t adj, uint16_t in_port, uint64_t hash)
{
	const struct adj *a = adj_at(adj);
	const uint8_t kind = LOAD_ACQUIRE(&a->kind);
	if (unlikely(kind == ADJ_NONE)) {
		worker_drop(w, &(struct pkt){ .data = l3, .len = l3_len, .port = in_port }, DROP_NO_NEIGHBOR);
		return;
	}
	uint8_t *o = put_headers(a, kind, l3, l3_len, v6, hash);
	worker_tx(w, a->port, o, l3_len + (uint32_t)(l3 - o), in_port);
}

void emit(struct worker *w, struct pkt *p, uint32_t adj)
{
	const size_t need = adj_at(adj)->kind == ADJ_ETH ? ETH_HLEN_ : TUNNEL6_SIZE;
	if (unlikely(frame_headroom(p->l3) < need)) {
		worker_drop(w, p, DROP_NO_FRAME);
		return;
	}
	emit_l3(w, p->l3, p->l3_len, p->flags & PKT_IP6, adj, p->port, p->hash);
}

static void rewrite(const struct pkt *p, uint16_t d4, be16 sport, be16 dport)
{
	if (p->proto == PROTO_SCTP)
		sctp_set_ports(p->l4, p->l4_len, sport, dport);
	else
		rewrite_l4(p->l4, p->proto, d4, sport, dport);
}

void replay_one(struct worker *w, struct pkt *p, struct ct *c, uint32_t r)
{
	const uint64_t add = settings.ct_accounting ? 1 | (uint64_t)p->l3_len << 32 : 0;
	union record now = { 0 };
	uint32_t adj;
	record_read(c, r, &now);
	STORE_RELAXED(ct_record_seen(c, r), w->now_s);
	if (c->v6) {
		const struct flow6 *f = &now.v6;
		flow_count(c, r, &ct_flow6(r)->packets, add);
		rewrite_ip6(p->l3, addrs6(f), f->way);
		rewrite(p, f->d4, f->sport, f->dport);
		adj = f->adj;
	} else {
		const struct flow4 *f = &now.v4;
		flow_count(c, r, &ct_flow4(r)->packets, add);
		rewrite_ip4(p->l3, f->addrs, f->d3, f->way);
		rewrite(p, f->d4, f->sport, f->dport);
		adj = f->adj;
	}
	if (unlikely(p->l3_len > adj_at(adj)->mtu && adj_at(adj)->kind != ADJ_NONE))
		fragment_and_emit(w, p, adj);
	else
		emit(w, p, adj);
}

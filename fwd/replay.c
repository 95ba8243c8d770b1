/* SPDX-License-Identifier: BSD-2-Clause */
/* Flow records: how a decision writes them, and the replay of one packet right after its decision. The same for bursts of
 * established packets is burst.c, what both do to a packet is rewrite.h. */
#include "fwd/replay.h"

#include <sched.h>

#include "fwd/export.h"
#include "fwd/fragment.h"
#include "fwd/rewrite.h"
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

static void record_write4(struct flow4 *f, const struct tuple *out, uint16_t pd)
{
	uint32_t addrs = csum_fold((uint64_t)neg(csum_add(&f->key.src, 8, 0)) + csum_add(&out->src.w[3], 4, 0) +
				   csum_add(&out->dst.w[3], 4, 0));
	f->src = out->src.w[3];
	f->dst = out->dst.w[3];
	f->sport = out->sport;
	f->dport = out->dport;
	f->d3 = csum_fold((uint64_t)addrs + 0xfffe); /* TTL is the low byte of its little-endian word: minus one */
	f->d4 = delta(out->proto == PROTO_ICMP ? pd : (uint64_t)addrs + pd);
}

static void record_write6(struct flow6 *f, const struct tuple *out, uint16_t pd)
{
	uint64_t addrs =
		(uint64_t)neg(csum_add(f->key.src, 32, 0)) + csum_add(out->src.b, 16, 0) + csum_add(out->dst.b, 16, 0);
	memcpy(f->src, out->src.b, 16);
	memcpy(f->dst, out->dst.b, 16);
	f->sport = out->sport;
	f->dport = out->dport;
	f->d4 = delta(addrs + pd);
}

/* Far away from what a record's counters add up to, before or after a change of them. */
enum { NEVER = 0x40000000 };

static uint32_t *record_gensum(const struct ct *c, uint32_t r)
{
	return c->v6 ? &ct_flow6(r)->gensum : &ct_flow4(r)->gensum;
}

/* Two workers may decide about one record at once. One after the other writes it: who saw older tables than the other then
 * leaves it invalid, in whichever order they come, and never his fields under the other's sum. */
static void lock(uint16_t *l)
{
	for (unsigned n = 0; __atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE); n++)
		if (n % 64 == 63)
			sched_yield(); /* the holder may have lost its processor */
		else
			_mm_pause();
}

void record_write(struct ct *c, uint32_t r, const struct tuple *out, uint32_t adj, uint32_t in, const uint16_t dep[4],
		  uint32_t begin)
{
	uint32_t *gensum = record_gensum(c, r), sum = gen_sum(dep);
	uint16_t *writing = &ct_conn(c, r >> 1)->writing;
	lock(writing);
	STORE_RELEASE(gensum, sum ^ NEVER);
	if (c->v6) {
		struct flow6 *f = ct_flow6(r);
		record_write6(f, out, delta_ports(f->key.sport, f->key.dport, out->sport, out->dport));
		f->adj = adj;
		f->in = in;
		memcpy(f->dep, dep, sizeof(f->dep));
	} else {
		struct flow4 *f = ct_flow4(r);
		record_write4(f, out, delta_ports(f->key.sport, f->key.dport, out->sport, out->dport));
		f->adj = adj;
		f->in = in;
		memcpy(f->dep, dep, sizeof(f->dep));
	}
	if (gen_stable(begin) && !ct_is_strict(ct_conn(c, r >> 1)))
		STORE_RELEASE(gensum, sum);
	STORE_RELEASE(writing, 0);
}

void record_stop_both(struct ct *c, uint32_t r)
{
	for (unsigned i = 0; i < 2; i++, r ^= 1) {
		const uint16_t *dep = c->v6 ? ct_flow6(r)->dep : ct_flow4(r)->dep;
		STORE_RELEASE(record_gensum(c, r), gen_sum(dep) ^ NEVER);
	}
	export_stop(c, r >> 1);
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

void replay_one(struct worker *w, struct pkt *p, struct ct *c, uint32_t r)
{
	const uint64_t add = settings.ct_accounting ? 1 | (uint64_t)p->l3_len << 32 : 0;
	uint32_t adj;
	if (c->v6) {
		struct flow6 *f = ct_flow6(r);
		f->seen = w->now_s;
		flow_count(c, r, &f->packets, add);
		rewrite_ip6(p->l3, f);
		rewrite_l4(p->l4, p->proto, f->d4, f->sport, f->dport);
		adj = f->adj;
	} else {
		struct flow4 *f = ct_flow4(r);
		f->seen = w->now_s;
		flow_count(c, r, &f->packets, add);
		rewrite_ip4(p->l3, f);
		rewrite_l4(p->l4, p->proto, f->d4, f->sport, f->dport);
		adj = f->adj;
	}
	if (unlikely(p->l3_len > adj_at(adj)->mtu && adj_at(adj)->kind != ADJ_NONE))
		fragment_and_emit(w, p, adj);
	else
		emit(w, p, adj);
}

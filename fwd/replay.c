/* SPDX-License-Identifier: BSD-2-Clause */
/* The replay of flow records, one packet at a time (after a decision) and burst-wide (engine_burst): the hot loop.
 *
 * Checksums are updated by deltas stored in the record: d3 for the IPv4 header (addresses and the TTL step), d4 for L4
 * (addresses and ports; ICMP echo: the id). RFC 1624 eqn 3 throughout; a UDP result of 0 is sent as 0xffff, a UDP checksum
 * of 0 over IPv4 stays 0 (RFC 768). */
#include "fwd/replay.h"

#include "fwd/engine.h"
#include "fwd/decide.h"
#include "fwd/fragment.h"
#include "fwd/settings.h"

INLINE uint32_t neg(uint64_t words)
{
	return (uint16_t)~csum_fold(words);
}

static uint16_t delta_ports(be16 s0, be16 d0, be16 s1, be16 d1)
{
	return csum_fold((uint64_t)neg((uint64_t)s0 + d0) + s1 + d1);
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
	f->d4 = out->proto == PROTO_ICMP ? pd : csum_fold((uint64_t)addrs + pd);
}

static void record_write6(struct flow6 *f, const struct tuple *out, uint16_t pd)
{
	uint64_t addrs =
		(uint64_t)neg(csum_add(f->key.src, 32, 0)) + csum_add(out->src.b, 16, 0) + csum_add(out->dst.b, 16, 0);
	memcpy(f->src, out->src.b, 16);
	memcpy(f->dst, out->dst.b, 16);
	f->sport = out->sport;
	f->dport = out->dport;
	f->d4 = csum_fold(addrs + pd);
	f->xlated = memcmp(f->src, f->key.src, 32) != 0 || f->sport != f->key.sport || f->dport != f->key.dport;
}

static uint32_t *record_gensum(const struct ct *c, uint32_t r)
{
	return c->v6 ? &ct_flow6(r)->gensum : &ct_flow4(r)->gensum;
}

void record_write(struct ct *c, uint32_t r, const struct tuple *out, uint32_t adj, uint32_t in, const uint16_t dep[4],
		  uint32_t begin)
{
	uint32_t *gensum = record_gensum(c, r), sum = gen_sum(dep);
	STORE_RELEASE(gensum, sum - 1);
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
	if (gen_stable(begin))
		STORE_RELEASE(gensum, sum);
}

void record_stop_both(struct ct *c, uint32_t r)
{
	for (unsigned i = 0; i < 2; i++, r ^= 1) {
		uint32_t *gensum = record_gensum(c, r);
		STORE_RELEASE(gensum, LOAD_RELAXED(gensum) - 1); /* sums only grow */
	}
}

/* ---- out ---- */

/* What stands in front of the inner IP packet (tables/abi/flow.h). */
enum { TUNNEL4_SIZE = 64, TUNNEL6_SIZE = 84 };

INLINE void put_tunnel(uint8_t *o, const struct adj *a, uint8_t kind, uint32_t inner_len, uint8_t inner_tos,
		       uint64_t hash, bool v6)
{
	uint32_t ecn = inner_tos & 3; /* RFC 6040 normal mode: ECN is copied out, DSCP is not */
	uint32_t udp_len = UDP_HLEN + VXLAN_HLEN + inner_len;
	uint16_t sport = (uint16_t)(hash >> 20) | htons(0xc000); /* 49152-65535: RFC 7348 section 5 */
	memcpy(o, a->tmpl, 64);
	if (kind == ADJ_TUNNEL4) {
		uint16_t total = htons((uint16_t)(udp_len + IP4_HLEN));
		st16(o + 16, total);
		o[15] |= (uint8_t)ecn;
		st16(o + 24, (uint16_t)~csum_fold((uint64_t)a->base3 + total + ((uint32_t)ecn << 8)));
		st16(o + 34, sport);
		wr16(o + 38, (uint16_t)udp_len);
		wr16(o + 62, v6 ? ET_IP6 : ET_IP4);
	} else {
		memcpy(o + 64, a->tmpl + 64, 20);
		o[15] |= (uint8_t)(ecn << 4);
		wr16(o + 18, (uint16_t)udp_len);
		st16(o + 54, sport);
		wr16(o + 58, (uint16_t)udp_len);
		wr16(o + 82, v6 ? ET_IP6 : ET_IP4);
		/* RFC 8200 8.1: UDP over IPv6 has a checksum; a receiver takes zero only where configured to (RFC 6935) */
		uint16_t c = (uint16_t)~csum_fold(
			csum_add(o + 54, udp_len, csum_pseudo(o + 22, o + 38, 16, PROTO_UDP, udp_len)));
		st16(o + 60, c ? c : 0xffff);
	}
}

void emit_l3(struct worker *w, uint8_t *l3, uint32_t l3_len, bool v6, uint32_t adj, uint16_t in_port, uint64_t hash)
{
	const struct adj *a = adj_at(adj);
	const uint8_t kind = LOAD_ACQUIRE(&a->kind); /* once: the control thread may change it meanwhile */
	uint8_t *o = l3 - ETH_HLEN_;
	if (kind == ADJ_ETH) {
		memcpy(o, a->eth, 12);
		wr16(o + 12, v6 ? ET_IP6 : ET_IP4);
	} else if (likely(kind != ADJ_NONE)) {
		o = l3 - (kind == ADJ_TUNNEL4 ? TUNNEL4_SIZE : TUNNEL6_SIZE);
		uint8_t tos = v6 ? (uint8_t)((l3[0] << 4) | (l3[1] >> 4)) : l3[1];
		put_tunnel(o, a, kind, l3_len + ETH_HLEN_, tos, hash, v6);
	} else {
		worker_drop(w, &(struct pkt){ .data = l3, .len = l3_len, .port = in_port }, DROP_NO_NEIGHBOR);
		return;
	}
	worker_tx(w, a->port, o, l3_len + (uint32_t)(l3 - o), in_port);
}

void emit(struct worker *w, struct pkt *p, uint32_t adj)
{
	const struct adj *a = adj_at(adj);
	const size_t need = a->kind == ADJ_ETH ? ETH_HLEN_ : TUNNEL6_SIZE;
	if (unlikely(frame_headroom(p->l3) < need)) {
		worker_drop(w, p, DROP_NO_FRAME);
		return;
	}
	emit_l3(w, p->l3, p->l3_len, p->flags & PKT_IP6, adj, p->port, p->hash);
}

/* ---- rewrite ---- */

INLINE void add_csum(uint8_t *field, uint32_t delta, bool udp)
{
	uint16_t have = ld16(field);
	uint32_t s = (uint16_t)~have + delta;
	s = (uint16_t) ~((s & 0xffff) + (s >> 16));
	if (udp) {
		s = s ? s : 0xffff;
		s = have ? s : 0;
	}
	st16(field, (uint16_t)s);
}

INLINE void rewrite_l4(uint8_t *l4, uint32_t proto, uint16_t d4, be16 sport, be16 dport)
{
	if (proto == PROTO_TCP || proto == PROTO_UDP) {
		add_csum(l4 + (proto == PROTO_TCP ? 16 : 6), d4, proto == PROTO_UDP);
		st16(l4, sport);
		st16(l4 + 2, dport);
	} else if (proto == PROTO_ICMP || proto == PROTO_ICMP6) {
		add_csum(l4 + 2, d4, false);
		st16(l4 + 4, sport | dport); /* the echo id is in one of them, the other is 0 */
	}
}

INLINE void rewrite4(uint8_t *l3, uint8_t *l4, uint32_t proto, const struct flow4 *f)
{
	l3[8]--;
	uint32_t s = (uint16_t)~ld16(l3 + 10) + (uint32_t)f->d3;
	st16(l3 + 10, (uint16_t) ~((s & 0xffff) + (s >> 16)));
	st64(l3 + 12, ld64(&f->src));
	rewrite_l4(l4, proto, f->d4, f->sport, f->dport);
}

INLINE void rewrite6(uint8_t *l3, uint8_t *l4, uint32_t proto, const struct flow6 *f)
{
	l3[7]--;
	if (f->xlated) {
		memcpy(l3 + 8, f->src, 32);
		rewrite_l4(l4, proto, f->d4, f->sport, f->dport);
	}
}

INLINE void count(struct conn *cn, uint32_t dir, uint32_t *seen, uint32_t *packets, uint32_t *bytes, uint32_t now,
		  uint32_t len)
{
	if (unlikely(*seen != now))
		*seen = now;
	uint32_t n = *packets + (len != 0);
	if (unlikely(__builtin_add_overflow(*bytes, len, bytes)))
		__atomic_fetch_add(&cn->carry_bytes[dir], 1, __ATOMIC_RELAXED);
	if (unlikely(n == 0 && len))
		__atomic_fetch_add(&cn->carry_packets[dir], 1, __ATOMIC_RELAXED);
	*packets = n;
}

INLINE uint32_t replay4(struct worker *w, uint8_t *l3, uint8_t *l4, uint32_t proto, uint32_t len, uint32_t r)
{
	struct flow4 *f = ct_flow4(r);
	count(ct_conn(&ct4, r >> 1), r & 1, &f->seen, &f->packets, &f->bytes, w->now_s, len);
	rewrite4(l3, l4, proto, f);
	return f->adj;
}

INLINE uint32_t replay6(struct worker *w, uint8_t *l3, uint8_t *l4, uint32_t proto, uint32_t len, uint32_t r)
{
	struct flow6 *f = ct_flow6(r);
	count(ct_conn(&ct6, r >> 1), r & 1, &f->seen, &f->packets, &f->bytes, w->now_s, len);
	rewrite6(l3, l4, proto, f);
	return f->adj;
}

void replay_one(struct worker *w, struct pkt *p, struct ct *c, uint32_t r)
{
	uint32_t len = settings.ct_accounting ? p->l3_len : 0;
	uint32_t adj = c->v6 ? replay6(w, p->l3, p->l4, p->proto, len, r) : replay4(w, p->l3, p->l4, p->proto, len, r);
	if (unlikely(p->l3_len > adj_at(adj)->mtu && adj_at(adj)->kind != ADJ_NONE))
		fragment_and_emit(w, p, adj);
	else
		emit(w, p, adj);
}

/* ---- the burst ---- */

enum { IDLE_CHECK_S = 8 };

struct lane {
	uint8_t slow;   /* shape does not fit replay */
	uint32_t first; /* guessed record */
};

/* The plain IPv4 shape at 'l3' with 'room' bytes: fills key, hash, lengths. True: may be replayed. */
INLINE bool plain4(struct pkt *p, uint8_t *l3, uint32_t room)
{
	if (unlikely(room < IP4_HLEN + UDP_HLEN))
		return false;
	uint32_t proto = l3[9], total = rd16(l3 + 2), tcp = proto == PROTO_TCP;
	uint32_t bad = (uint32_t)(l3[0] ^ 0x45) | (ld16(l3 + 6) & htons(0x3fff)) | (l3[8] < 2) |
		       !(tcp | (proto == PROTO_UDP)) | (total > room) |
		       (total < IP4_HLEN + (tcp ? TCP_HLEN : UDP_HLEN));
	if (unlikely(bad))
		return false;
	uint64_t s = (uint64_t)ld32(l3) + ld32(l3 + 4) + ld32(l3 + 8) + ld32(l3 + 12) + ld32(l3 + 16);
	uint8_t *l4 = l3 + IP4_HLEN;
	if (tcp)
		bad = (l4[13] & 7) | !(l4[13] & 0x3f) | ((l4[12] >> 4) < 5) | (IP4_HLEN + (l4[12] >> 4) * 4u > total);
	else
		bad = (uint32_t)(rd16(l4 + 4) < UDP_HLEN) | (rd16(l4 + 4) + (uint32_t)IP4_HLEN > total);
	bad |= csum_fold(s) ^ 0xffff;
	p->flags = 0;
	p->l3 = l3;
	p->l4 = l4;
	p->l3_len = (uint16_t)total;
	p->l4_len = (uint16_t)(total - IP4_HLEN);
	p->proto = (uint8_t)proto;
	__m128i k = _mm_insert_epi32(_mm_loadu_si128((const void *)(l3 + 12)), (int)proto, 3);
	_mm_storeu_si128((void *)&p->k4, k);
	p->hash = hash_key16(k);
	return !bad;
}

INLINE bool plain6(struct pkt *p, uint8_t *l3, uint32_t room)
{
	if (unlikely(room < IP6_HLEN + UDP_HLEN))
		return false;
	uint32_t proto = l3[6], payload = rd16(l3 + 4), tcp = proto == PROTO_TCP;
	uint32_t bad = (uint32_t)((l3[0] ^ 0x60) & 0xf0) | (l3[7] < 2) | !(tcp | (proto == PROTO_UDP)) |
		       (payload + IP6_HLEN > room) | (payload < (tcp ? TCP_HLEN : UDP_HLEN)) |
		       (payload > 65535 - IP6_HLEN);
	if (unlikely(bad))
		return false;
	uint8_t *l4 = l3 + IP6_HLEN;
	if (tcp)
		bad = (l4[13] & 7) | !(l4[13] & 0x3f) | ((l4[12] >> 4) < 5) | ((l4[12] >> 4) * 4u > payload);
	else
		bad = (uint32_t)(rd16(l4 + 4) < UDP_HLEN) | (rd16(l4 + 4) > payload);
	p->flags = PKT_IP6;
	p->l3 = l3;
	p->l4 = l4;
	p->l3_len = (uint16_t)(payload + IP6_HLEN);
	p->l4_len = (uint16_t)payload;
	p->proto = (uint8_t)proto;
	memcpy(p->k6.src, l3 + 8, 32);
	st32(&p->k6.sport, ld32(l4));
	p->k6.zp = proto;
	p->hash = hash_key40(&p->k6);
	return !bad;
}

/* Is this plain frame a VXLAN one for us? Then 'in' and the place of the inner packet; 0 = no, or not plainly so. */
INLINE uint32_t plain_vxlan(struct pkt *p, bool v6, bool *claim)
{
	if (likely(p->proto != PROTO_UDP || n_vteps == 0))
		return 0;
	struct tuple t;
	tuple_of_key(v6, v6 ? (const void *)&p->k6 : (const void *)&p->k4, &t);
	int v = vtep_find(&t.dst, ntohs(t.dport));
	if (likely(v < 0))
		return 0;
	const uint8_t *x = p->l4 + UDP_HLEN;
	uint8_t ecn = (v6 ? (uint8_t)(p->l3[1] >> 4) : p->l3[1]) & 3;
	uint32_t inner = rd16(p->l4 + 4) - UDP_HLEN, r = remote_find((uint32_t)v, &t.src);
	if (inner < VXLAN_HLEN + ETH_HLEN_ + IP4_HLEN || !(x[0] & 8) || !r || ecn == 3)
		return UINT32_MAX; /* ours, but not plain: decide */
	p->outer_vni = rd32(x + 4) >> 8;
	*claim = vteps[v].mode == VNI_IDENTITY;
	if (!*claim && !remote_has_vni(remote_at(r), p->outer_vni))
		return UINT32_MAX;
	return FLOW_IN_REMOTE | r;
}

/* What the frame is and who sends it, for the plain cases; false: decide. Tells where the key's packet is in p. */
INLINE bool classify(struct pkt *p)
{
	uint8_t *f = p->data;
	if (unlikely(p->len < ETH_HLEN_ + IP4_HLEN + UDP_HLEN))
		return false;
	uint16_t type = ld16(f + 12);
	bool v6 = type == htons(ET_IP6);
	if (unlikely(!v6 && type != htons(ET_IP4)))
		return false;
	bool ok = v6 ? plain6(p, f + ETH_HLEN_, p->len - ETH_HLEN_) : plain4(p, f + ETH_HLEN_, p->len - ETH_HLEN_);
	if (unlikely(!ok))
		return false;
	if (p->port == PORT_GATE) {
		uint32_t kind = f[7] & 0x1f, id = rd32(f + 8);
		if (unlikely(f[6] != 0x02 || (f[7] & 0xe0) != 0xe0))
			return false;
		p->in = kind == 1 ? FLOW_IN_ENDPOINT | id : kind == 3 ? FLOW_IN_HOST : 0;
		return p->in != 0;
	}
	p->in = FLOW_IN_UPLINK;
	if (f[0] & 1)
		return false;
	bool claim = false;
	uint32_t in = plain_vxlan(p, v6, &claim);
	if (likely(in == 0))
		return true;
	if (in == UINT32_MAX)
		return false;
	uint8_t *e = p->l4 + UDP_HLEN + VXLAN_HLEN;
	uint32_t room = rd16(p->l4 + 4) - UDP_HLEN - VXLAN_HLEN - ETH_HLEN_;
	type = ld16(e + 12);
	if (type == htons(ET_IP4))
		ok = plain4(p, e + ETH_HLEN_, room);
	else if (type == htons(ET_IP6))
		ok = plain6(p, e + ETH_HLEN_, room);
	else
		return false;
	p->flags |= (uint16_t)(PKT_OVERLAY | (claim ? PKT_VNI_CLAIM : 0));
	p->in = in;
	return ok && !(e[0] & 1);
}

INLINE bool key_equal(const struct pkt *p, uint32_t r)
{
	if (p->flags & PKT_IP6)
		return memcmp(&p->k6, &ct_flow6(r)->key, sizeof(p->k6)) == 0;
	return memcmp(&p->k4, &ct_flow4(r)->key, sizeof(p->k4)) == 0;
}

/* The record that may replay 'p' now, or 0. */
INLINE uint32_t valid_record(const struct pkt *p, uint32_t r, uint32_t now_s)
{
	bool v6 = p->flags & PKT_IP6;
	if (unlikely(r == 0 || !key_equal(p, r))) {
		r = hidx_find(v6 ? &ct6.idx : &ct4.idx, v6 ? (const void *)&p->k6 : (const void *)&p->k4, p->hash);
		if (r == 0)
			return 0;
	}
	uint32_t in, adj, sum, have, seen;
	if (v6) {
		const struct flow6 *f = ct_flow6(r);
		have = LOAD_ACQUIRE(&f->gensum);
		sum = gen_sum(f->dep);
		in = f->in;
		adj = f->adj;
		seen = f->seen;
	} else {
		const struct flow4 *f = ct_flow4(r);
		have = LOAD_ACQUIRE(&f->gensum);
		sum = gen_sum(f->dep);
		in = f->in;
		adj = f->adj;
		seen = f->seen;
	}
	/* ageing may be late: a NAT filter must not let in by an expired connection. No time-out is checked for what was idle
	 * for a few seconds only, which saves the connection's line. */
	if (unlikely(now_s - seen > IDLE_CHECK_S) && !ct_remaining(ct_of(v6), r >> 1, now_s))
		return 0;
	/* the VNI is what the sender claims to be: another claim is another decision. The conn line is read in this mode only. */
	if (p->flags & PKT_VNI_CLAIM && ct_conn(ct_of(v6), r >> 1)->vni[r & 1] != p->outer_vni)
		return 0;
	const struct adj *a = adj_at(adj);
	if (unlikely(have != sum || in != p->in || a->kind == ADJ_NONE || p->l3_len > a->mtu))
		return 0;
	return r;
}

/* Passes of the burst: headers, hash and bucket prefetch; tag match and record prefetch; compare, rewrite, send. */
INLINE void pass_classify(struct pkt *p, struct lane *lane, unsigned n)
{
	const uint32_t ahead = 8; /* flow core findings, section 4: flat from 8 to 16 */

	for (unsigned i = 0; i < ahead && i < n; i++)
		__builtin_prefetch(p[i].data);
	for (unsigned i = 0; i < n; i++) {
		if (i + ahead < n)
			__builtin_prefetch(p[i + ahead].data);
		lane[i].slow = !classify(&p[i]);
		if (!lane[i].slow)
			hidx_prefetch(p[i].flags & PKT_IP6 ? &ct6.idx : &ct4.idx, p[i].hash);
	}
}

INLINE void pass_match(const struct pkt *p, struct lane *lane, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		lane[i].first = 0;
		if (lane[i].slow)
			continue;
		bool v6 = p[i].flags & PKT_IP6;
		uint32_t r = lane[i].first = hidx_first(v6 ? &ct6.idx : &ct4.idx, p[i].hash);
		__builtin_prefetch(v6 ? (void *)ct_flow6(r) : (void *)ct_flow4(r));
	}
}

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	struct lane lane[BURST_MAX];
	const uint32_t account = settings.ct_accounting ? ~0u : 0;

	pass_classify(p, lane, n);
	pass_match(p, lane, n);
	for (unsigned i = 0; i < n; i++) {
		struct pkt *q = &p[i];
		uint32_t r = lane[i].slow ? 0 : valid_record(q, lane[i].first, w->now_s);
		if (unlikely(r == 0)) {
			w->decided++;
			decide(w, q);
			continue;
		}
		if (q->csum)
			parse_complete_csum(q);
		w->replayed++;
		uint32_t len = q->l3_len & account;
		uint32_t adj = q->flags & PKT_IP6 ? replay6(w, q->l3, q->l4, q->proto, len, r)
						  : replay4(w, q->l3, q->l4, q->proto, len, r);
		emit(w, q, adj);
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The hot loop: replay of a burst on its worker, in three passes, so that each packet's cache misses overlap with the work on
 * others: headers, hash and bucket prefetch; tag match and record prefetch; compare, rewrite, stage. What does not fit goes
 * to decide(), in its place of the burst.
 *
 * Checks are added up without branches where traffic decides (protocol, direction, translated or not) and tested once. No
 * setting is read per packet. Figures of each step: docs/performance.md. */
#include "fwd/decide.h"
#include "fwd/engine.h"
#include "fwd/frag.h"
#include "fwd/gate.h"
#include "fwd/observe.h"
#include "fwd/rewrite.h"
#include "fwd/settings.h"

enum {
	AHEAD = 8, /* frames prefetched ahead: flat from 8 to 16 */
	IDLE_CHECK_S = 8,
};

/* ---- pass 1: headers ---- */
/* Limits are asked for by subtraction: a negative difference has the sign bit set. Differences are joined by or and tested
 * once, with what must be zero beside them (BAD_SIGN). */
#define BAD_SIGN(differences) ((uint32_t)(differences) >> 31)

/* TCP with ACK and without SYN, FIN, RST, or UDP, with lengths that fit 'room' bytes from l4 on: 0. The bytes of the header
 * are there, whatever 'room' is. */
INLINE uint32_t bad_l4(const uint8_t *l4, uint32_t proto, uint32_t room)
{
	const bool tcp = proto == PROTO_TCP;
	const uint32_t x = ld16(l4 + 4 + 8 * tcp), is_tcp = -(uint32_t)tcp; /* TCP: data offset, flags */
	const uint32_t udp_len = rd16(l4 + 4);
	const uint32_t len = udp_len ^ ((udp_len ^ ((x & 0xf0) >> 2)) & is_tcp), min = UDP_HLEN + 12 * tcp;
	return (((x >> 8 & 0x17) ^ 0x10) & is_tcp) | (((proto ^ PROTO_UDP) & ~is_tcp)) |
	       BAD_SIGN((len - min) | (room - len));
}

/* Sum of 20 bytes that folds to the one of their 16-bit words: end-around carries. */
INLINE uint64_t sum20(const uint8_t *p)
{
	uint64_t s = ld64(p);
	__asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq $0, %0"
		: "+&r"(s)
		: "rm"(ld64(p + 8)), "r"((uint64_t)ld32(p + 16)));
	return s;
}

/* Is it IPv4 without options, no fragment? 'f' is the Ethernet frame: type, version, flags and offset in one compare. */
INLINE bool plain_ip4(const uint8_t *f)
{
	static const uint8_t want[16] = { 8, 0, 0x45 };
	static const uint8_t mask[16] = { 255, 255, 255, 0, 0, 0, 0, 0, 0x3f, 255 };
	__m128i v = _mm_xor_si128(_mm_loadu_si128((const void *)(f + 12)), _mm_load_si128((const void *)want));
	return _mm_testz_si128(v, _mm_load_si128((const void *)mask));
}

/* The rest of IPv4 at 'l3', which has at least 28 bytes, for TCP 40; 'room' = bytes there. */
INLINE uint32_t bad_ip4(struct pkt *p, uint8_t *l3, uint32_t room)
{
	const uint32_t total = rd16(l3 + 2), ttl = l3[8], proto = l3[9];
	p->l3 = l3;
	p->l3_len = (uint16_t)total;
	p->proto = (uint8_t)proto;
	p->flags = 0;
	return BAD_SIGN((room - total) | (total - IP4_HLEN - UDP_HLEN) | (ttl - 2)) | (csum_fold(sum20(l3)) ^ 0xffff) |
	       bad_l4(l3 + IP4_HLEN, proto, total - IP4_HLEN);
}

/* 'zone8': the zone << 8, as in the key. */
INLINE void key_ip4(struct pkt *p, uint32_t zone8)
{
	__m128i k = _mm_insert_epi32(_mm_loadu_si128((const void *)(p->l3 + 12)), (int)(p->proto | zone8), 3);
	_mm_storeu_si128((void *)&p->k4, k);
	p->hash = hash_key16(k);
}

INLINE bool has_headers6(const uint8_t *l3, uint32_t room)
{
	return room >= IP6_HLEN + TCP_HLEN || (room >= IP6_HLEN + UDP_HLEN && l3[6] != PROTO_TCP);
}

/* IPv6 at 'l3', which has its headers. */
INLINE uint32_t bad_ip6(struct pkt *p, uint8_t *l3, uint32_t room)
{
	const uint32_t proto = l3[6], payload = rd16(l3 + 4);
	p->l3 = l3;
	p->l3_len = (uint16_t)(payload + IP6_HLEN);
	p->proto = (uint8_t)proto;
	p->flags = PKT_IP6;
	return (uint32_t)((l3[0] ^ 0x60) & 0xf0) |
	       BAD_SIGN((l3[7] - 2u) | (room - IP6_HLEN - payload) | (65535 - IP6_HLEN - payload)) |
	       bad_l4(l3 + IP6_HLEN, proto, payload);
}

INLINE void key_ip6(struct pkt *p, uint32_t zone8)
{
	memcpy(p->k6.src, p->l3 + 8, 32);
	st32(&p->k6.sport, ld32(p->l3 + IP6_HLEN));
	p->k6.zp = p->proto | zone8;
	p->hash = hash_key40(&p->k6);
}

/* Is the UDP packet at l3 VXLAN for us? FLOW_IN_REMOTE | index, 0: no, or UINT32_MAX: decide. Two look-ups, so their outcome
 * is kept. */
static uint32_t __attribute__((noinline)) find_sender(const struct pkt *p, struct outer *o, uint32_t changes)
{
	struct tuple t = { .proto = PROTO_UDP };
	const uint8_t *l4 = p->l3 + (p->flags & PKT_IP6 ? IP6_HLEN : IP4_HLEN);
	if (p->flags & PKT_IP6) {
		t.src = ip_from6(p->l3 + 8);
		t.dst = ip_from6(p->l3 + 24);
	} else {
		t.src = ip_from4(ld32(p->l3 + 12));
		t.dst = ip_from4(ld32(p->l3 + 16));
	}
	int v = vtep_find(&t.dst, rd16(l4 + 2));
	if (v < 0)
		return 0;
	if (rd16(l4 + 4) < UDP_HLEN + VXLAN_HLEN)
		return UINT32_MAX;
	uint32_t r = remote_find((uint32_t)v, &t.src);
	if (!r)
		return UINT32_MAX;
	o->flags = vteps[v].mode == VNI_IDENTITY ? PKT_VNI_CLAIM : 0;
	uint16_t zone = 0;
	if (!o->flags && !remote_has_vni(remote_at(r), rd32(l4 + UDP_HLEN + 4) >> 8, &zone))
		return UINT32_MAX;
	o->zone8 = (uint32_t)zone << 8;
	o->in = FLOW_IN_REMOTE | r;
	o->changes = changes;
	return o->in;
}

/* The sender of what may be VXLAN; '*o' then points to what is known of it. Values as find_sender. */
INLINE uint32_t overlay_sender(struct worker *w, const struct pkt *p, uint32_t changes, struct outer *scratch,
			       struct outer **o)
{
	const uint8_t *l4 = p->l3 + IP4_HLEN;
	if (unlikely(p->flags & PKT_IP6)) {
		*o = scratch;
		return find_sender(p, scratch, changes);
	}
	if (unlikely(rd16(l4 + 4) < UDP_HLEN + VXLAN_HLEN))
		return find_sender(p, scratch, changes);
	const be32 vni = ld32(l4 + UDP_HLEN + 4) & htonl(0xffffff00);
	__m128i k = _mm_set_epi32((int)vni, ld16(l4 + 2), (int)ld32(p->l3 + 16), (int)ld32(p->l3 + 12));
	struct outer *c = &w->outer[_mm_crc32_u32(_mm_crc32_u32(0, ld32(p->l3 + 12)), vni) % OUTER_CACHE];
	*o = c;
	if (likely(_mm_movemask_epi8(_mm_cmpeq_epi8(k, c->key)) == 0xffff && c->changes == changes))
		return c->in;
	*o = scratch;
	uint32_t in = find_sender(p, scratch, changes);
	if (in != 0 && in != UINT32_MAX) {
		scratch->key = k;
		*c = *scratch;
	}
	return in;
}

/* The inner packet of a VXLAN frame whose sender is known. */
INLINE uint32_t bad_inner(struct pkt *p, const struct outer *o)
{
	uint8_t *x = p->l3 + (p->flags & PKT_IP6 ? IP6_HLEN : IP4_HLEN) + UDP_HLEN, *e = x + VXLAN_HLEN;
	const uint32_t len = rd16(x - UDP_HLEN + 4) - UDP_HLEN;
	const uint32_t ecn = (p->flags & PKT_IP6 ? (uint32_t)p->l3[1] >> 4 : p->l3[1]) & 3;
	if (unlikely(len < VXLAN_HLEN + ETH_HLEN_ + IP4_HLEN + UDP_HLEN))
		return 1;
	const uint32_t room = len - VXLAN_HLEN - ETH_HLEN_;
	uint32_t bad = (uint32_t) !(x[0] & 8) | (ecn == 3) | (e[0] & 1);
	if (unlikely(room < IP4_HLEN + TCP_HLEN) && e[ETH_HLEN_ + 9] == PROTO_TCP)
		return 1;
	if (likely(plain_ip4(e))) {
		bad |= bad_ip4(p, e + ETH_HLEN_, room);
		key_ip4(p, o->zone8);
	} else if (ld16(e + 12) == htons(ET_IP6) && has_headers6(e + ETH_HLEN_, room)) {
		bad |= bad_ip6(p, e + ETH_HLEN_, room);
		key_ip6(p, o->zone8);
	} else {
		return 1;
	}
	const uint32_t inner = (p->flags & PKT_IP6 ? (uint32_t)p->l3[1] >> 4 : p->l3[1]) & 3;
	bad |= (ecn == 1) & (inner == 2); /* RFC 6040 4.2: ECT(1) replaces ECT(0) */
	p->flags |= (uint16_t)(PKT_OVERLAY | o->flags);
	p->in = o->in;
	p->outer_vni = rd32(x + 4) >> 8;
	return bad;
}

/* Who sends? 0: one that cannot be replayed. By the gate the stamp tells (abi/gate.h): 02, e0 | kind, 32-bit id. */
INLINE uint32_t ingress(const uint8_t *f, bool gate)
{
	if (!gate)
		return f[0] & 1 ? 0 : FLOW_IN_UPLINK;
	const uint64_t stamp = __builtin_bswap64(ld64(f + 6));
	const uint32_t kind = (uint32_t)(stamp >> 48);
	if (likely(kind == (GATE_MAC0 << 8 | GATE_MAC1 | GATE_ENDPOINT)))
		return FLOW_IN_ENDPOINT | (uint32_t)(stamp >> 16);
	return kind == (GATE_MAC0 << 8 | GATE_MAC1 | GATE_HOST) ? FLOW_IN_HOST : 0;
}

/* What the burst has in common. */
struct shared {
	uint64_t vxlan_ports, account;
	const uint32_t *counter; /* generations */
	uint32_t extra, changes, now_s;
	uint32_t zone8;    /* of the port */
	uint32_t tx_dirty; /* joins the worker's at the end */
	uint16_t port;
};

/* 0: the plain case; key, hash and ingress are filled in. */
INLINE uint32_t classify(struct worker *w, struct pkt *p, const struct shared *sh, bool gate)
{
	uint8_t *f = p->data, *l3 = f + ETH_HLEN_;
	const uint32_t room = p->len - ETH_HLEN_;
	if (unlikely(p->len < ETH_HLEN_ + IP4_HLEN + TCP_HLEN) &&
	    (p->len < ETH_HLEN_ + IP4_HLEN + UDP_HLEN || l3[9] == PROTO_TCP))
		return 1;
	uint32_t bad, l4_off = IP4_HLEN;
	p->in = ingress(f, gate);
	if (unlikely(!p->in))
		return 1;
	if (likely(plain_ip4(f))) {
		bad = bad_ip4(p, l3, room);
	} else if (ld16(f + 12) == htons(ET_IP6) && has_headers6(l3, room)) {
		bad = bad_ip6(p, l3, room);
		l4_off = IP6_HLEN;
	} else {
		return 1;
	}
	if (unlikely(bad))
		return 1;
	if (!gate && sh->vxlan_ports >> (rd16(l3 + l4_off + 2) % 64) & 1 && p->proto == PROTO_UDP) {
		struct outer scratch, *o = &scratch;
		uint32_t in = overlay_sender(w, p, sh->changes, &scratch, &o);
		if (in)
			return in == UINT32_MAX ? 1 : bad_inner(p, o);
	}
	if (l4_off == IP6_HLEN)
		key_ip6(p, gate ? 0 : sh->zone8);
	else
		key_ip4(p, gate ? 0 : sh->zone8);
	return 0;
}

INLINE void pass_classify(struct worker *w, struct pkt *p, unsigned n, const struct shared *sh, bool gate)
{
	const struct hidx_level i4 = *hidx_lowest(&ct4.idx), i6 = *hidx_lowest(&ct6.idx);
	/* where tunnels end here, inner headers lie in the second line; fetching the line in front, where outer ones go, gained
	 * nothing */
	const uint32_t second = !gate && sh->vxlan_ports ? CACHE_LINE : 0;
	const struct pkt *const end = p + n;

	for (unsigned i = 0; i < AHEAD && i < n; i++) {
		__builtin_prefetch(p[i].data);
		if (!gate)
			__builtin_prefetch(p[i].data + second);
	}
	for (unsigned i = 0; i < n; i++) {
		const struct pkt *next = &p[i + AHEAD];
		next = next < end ? next : p; /* past the end: any */
		__builtin_prefetch(next->data);
		if (!gate)
			__builtin_prefetch(next->data + second);
		p[i].slow = classify(w, &p[i], sh, gate) != 0;
		if (likely(!p[i].slow))
			hidx_level_prefetch(p[i].flags & PKT_IP6 ? &i6 : &i4, p[i].hash);
	}
}

/* ---- pass 2: which record ---- */
INLINE void pass_match(struct pkt *p, unsigned n)
{
	const struct hidx_level i4 = *hidx_lowest(&ct4.idx), i6 = *hidx_lowest(&ct6.idx);

	for (unsigned i = 0; i < n; i++) {
		if (unlikely(p[i].slow))
			continue;
		if (p[i].flags & PKT_IP6) {
			p[i].record = hidx_level_first(&i6, p[i].hash);
			__builtin_prefetch(ct_flow6(p[i].record));
			__builtin_prefetch((uint8_t *)ct_flow6(p[i].record) + CACHE_LINE);
		} else {
			p[i].record = hidx_level_first(&i4, p[i].hash);
			__builtin_prefetch(ct_flow4(p[i].record));
		}
	}
}

/* ---- pass 3: compare, rewrite, stage ---- */
/* Is a record good after all that failed the quick check? Ageing may be late, and a NAT filter must not let in by an expired
 * connection; no time-out is checked for what was idle for a few seconds only, which saves the connection's line. In identity
 * mode the VNI is what the sender claims to be, and another claim is another decision. */
static bool __attribute__((noinline)) good_after_all(const struct pkt *p, uint32_t bad, uint32_t r, uint32_t now_s)
{
	const struct ct *c = ct_of(p->flags & PKT_IP6);
	if (bad || !ct_remaining(c, r >> 1, now_s))
		return false;
	return !(p->flags & PKT_VNI_CLAIM) || LOAD_RELAXED(&ct_conn(c, r >> 1)->vni[r & 1]) == p->outer_vni;
}

static uint32_t __attribute__((noinline)) find_record(const struct pkt *p)
{
	bool v6 = p->flags & PKT_IP6;
	return hidx_find(v6 ? &ct6.idx : &ct4.idx, v6 ? (const void *)&p->k6 : (const void *)&p->k4, p->hash);
}

/* May 'p' be replayed by record 'r'? The fields are the record's, 'mtu' the adjacency's, 0 when it is no longer usable. */
INLINE bool usable(const struct shared *sh, const struct pkt *p, uint32_t r, uint32_t gensum, const uint16_t dep[4],
		   uint32_t in, uint32_t seen, uint32_t mtu)
{
	const uint32_t bad =
		(gensum ^ (gen_sum_dep(sh->counter, dep) + sh->extra)) | (in ^ p->in) | BAD_SIGN(mtu - p->l3_len);
	const uint32_t ask = BAD_SIGN(IDLE_CHECK_S - (sh->now_s - seen)) | (p->flags & PKT_VNI_CLAIM);
	return likely(!(bad | ask)) || good_after_all(p, bad, r, sh->now_s);
}

static void __attribute__((noinline)) finish_csum(struct pkt *p, uint32_t l4_off)
{
	p->l4 = p->l3 + l4_off;
	p->l4_len = (uint16_t)(p->l3_len - l4_off);
	parse_complete_csum(p);
}

INLINE void stage(struct worker *w, struct shared *sh, const struct adj *a, uint8_t kind, uint8_t *l3, uint32_t l3_len,
		  bool v6, uint64_t hash)
{
	uint8_t *o = put_headers(a, kind, l3, l3_len, v6, hash);
	sh->tx_dirty |= 1u << a->port;
	worker_stage(w, a->port, o, l3_len + (uint32_t)(l3 - o), sh->port);
}

/* Rewrites and stages 'p' if its record is there and valid. 'unique': whole packets without DF under another source than their
 * own get another identification. */
INLINE bool replay4(struct worker *w, struct pkt *p, struct shared *sh, bool unique)
{
	uint32_t r = p->record;
	struct flow4 *f = ct_flow4(r);
	__m128i k = _mm_cmpeq_epi8(_mm_load_si128((const void *)&f->key), _mm_load_si128((const void *)&p->k4));
	if (unlikely(_mm_movemask_epi8(k) != 0xffff)) {
		if (!(r = find_record(p)))
			return false;
		f = ct_flow4(r);
	}
	/* in this order: tables/abi/flow.h */
	const uint32_t way = LOAD_RACED(&f->way), gensum = LOAD_ACQUIRE(&f->gensum), len = p->l3_len;
	const struct adj *a = adj_at((uint16_t)way);
	const struct adj_state use = adj_state(a);
	uint8_t *l3 = p->l3;
	if (unlikely(!usable(sh, p, r, gensum, f->dep, LOAD_RACED(&f->in), LOAD_RACED(&f->seen), use.mtu)))
		return false;
	uint64_t addrs = LOAD_RACED(&f->addrs);
	uint32_t both = LOAD_RACED(&f->ports), deltas = LOAD_RACED(&f->deltas);
	if (unlikely(!FLOW_STANDS(f, way, "r", addrs, both, deltas))) /* another worker decides anew */
		return false;
	if (unlikely(p->csum))
		finish_csum(p, IP4_HLEN);
	STORE_RACED(&f->seen, sh->now_s);
	flow_count(&ct4, r, &f->packets, sh->account & (1 | (uint64_t)len << 32));
	rewrite_ip4(l3, addrs, (uint16_t)deltas, way);
	if (unique && unlikely(!(l3[6] & 0x40)) && (uint32_t)addrs != p->k4.src)
		frag_rename_replayed(&ct4, r, l3);
	rewrite_ports(l3 + IP4_HLEN, p->proto, (uint16_t)(deltas >> 16), both);
	stage(w, sh, a, use.kind, l3, len, false, p->hash);
	return true;
}

INLINE bool replay6(struct worker *w, struct pkt *p, struct shared *sh)
{
	uint32_t r = p->record;
	struct flow6 *f = ct_flow6(r);
	__m256i k =
		_mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)&f->key), _mm256_loadu_si256((const void *)&p->k6));
	if (unlikely(_mm256_movemask_epi8(k) != -1 || ld64(&f->key.sport) != ld64(&p->k6.sport))) {
		if (!(r = find_record(p)))
			return false;
		f = ct_flow6(r);
	}
	/* in this order: tables/abi/flow.h */
	const uint32_t way = LOAD_RACED(&f->way), gensum = LOAD_ACQUIRE(&f->gensum), len = p->l3_len;
	const struct adj *a = adj_at((uint16_t)way);
	const struct adj_state use = adj_state(a);
	uint8_t *l3 = p->l3;
	if (unlikely(!usable(sh, p, r, gensum, f->dep, LOAD_RACED(&f->in), LOAD_RACED(&f->seen), use.mtu)))
		return false;
	__m256i addrs = addrs6(f);
	uint32_t both = LOAD_RACED(&f->ports), deltas = LOAD_RACED(&f->d4);
	if (unlikely(!FLOW_STANDS(f, way, "x", addrs, both, deltas))) /* another worker decides anew */
		return false;
	if (unlikely(p->csum))
		finish_csum(p, IP6_HLEN);
	STORE_RACED(&f->seen, sh->now_s);
	flow_count(&ct6, r, &f->packets, sh->account & (1 | (uint64_t)len << 32));
	rewrite_ip6(l3, addrs, way);
	rewrite_ports(l3 + IP6_HLEN, p->proto, (uint16_t)deltas, both);
	stage(w, sh, a, use.kind, l3, len, true, p->hash);
	return true;
}

/* Before the first of them is decided: what the new connections of a burst will need comes while they wait for each other. */
static void __attribute__((noinline)) look_ahead(const struct pkt *p, unsigned n)
{
	const struct pkt *miss[BURST_MAX];
	unsigned n_miss = 0;
	for (unsigned i = 0; i < n; i++)
		if (p[i].slow || !p[i].record)
			miss[n_miss++] = &p[i];
	if (n_miss > 1)
		decide_ahead(miss, n_miss);
}

/* How many had to be decided. */
INLINE unsigned pass_replay(struct worker *w, struct pkt *p, unsigned n, struct shared *sh, bool unique)
{
	unsigned decided = 0;
	for (unsigned i = 0; i < n; i++) {
		struct pkt *q = &p[i];
		if (likely(!q->slow) && likely(q->flags & PKT_IP6 ? replay6(w, q, sh) : replay4(w, q, sh, unique)))
			continue;
		if (decided++ == 0)
			look_ahead(q, n - i);
		pkt_clear(q);
		decide(w, q);
	}
	return decided;
}

/* From another place each time: what comes first in a burst may always be the same one's. */
INLINE void sample(struct worker *w, const struct pkt *p, unsigned n)
{
	unsigned at = (uint64_t)((uint32_t)w->replayed * 0x9e3779b9u) * n >> 32;
	for (unsigned k = MIN(LOAD_RELAXED(&samples_wanted), n); k; k--) {
		const struct pkt *q = &p[at];
		if (q->record && !q->slow)
			worker_sample(w, q->record | (q->flags & PKT_IP6 ? SAMPLE_V6
						      : q->l3[6] & 0x40  ? 0
									 : SAMPLE_NO_DF));
		at = at + 1 == n ? 0 : at + 1;
	}
}

static void burst(struct worker *w, struct pkt *p, unsigned n)
{
	unsigned decided;
	/* what changes from here on meets the next burst, as if it had come a little later */
	struct shared sh = {
		.vxlan_ports = LOAD_RELAXED(&vtep_ports),
		.account = settings.ct_accounting ? ~0ull : 0,
		.counter = gen_area->counter,
		.changes = gen_begin(),
		.extra = LOAD_ACQUIRE(&gen_area->extra),
		.now_s = w->now_s,
		.zone8 = (uint32_t)port_zone(p->port) << 8,
		.port = p->port,
	};

	if (p->port == PORT_GATE)
		pass_classify(w, p, n, &sh, true);
	else
		pass_classify(w, p, n, &sh, false);
	pass_match(p, n);
	sample(w, p, n);
	if (likely(settings.nat_unique_ids))
		decided = pass_replay(w, p, n, &sh, true);
	else
		decided = pass_replay(w, p, n, &sh, false);
	w->tx_dirty |= sh.tx_dirty;
	w->decided += decided;
	w->replayed += n - decided;
}

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	if (observing(OBSERVE_TRACE | OBSERVE_FRAMES))
		observe_burst(w, p, n, burst);
	else
		burst(w, p, n);
}

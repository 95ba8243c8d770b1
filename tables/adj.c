/* SPDX-License-Identifier: BSD-2-Clause */
/* The adjacency array: the bytes in front of a packet, by index. Workers read entries for every packet they send,
 * without a lock; the control thread writes.
 *
 * Changes in place come as single stores. Where only the first line is concerned they are of 16 bytes (eth[14] and port lie in
 * one aligned 16-byte word, which x86 with AVX stores whole). Workers load its first 8 bytes at once, so no packet goes to half
 * a MAC; the rest of the sender's may be older for one packet. A template is longer than one store, but the MAC of the next hop
 * lies in one of its words, and over IPv4 that of the inner one too. Whatever else of a tunnel changes (its ends, port, VNI,
 * the way out) gets another adjacency: the former's bytes stay as they were until nobody can read them. Kernel replay has no
 * grace period, but microseconds, and an index comes round again only when all that were freed before it have. */
#include "tables/neighbor.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "tables/adj.h"

enum { TTL = 64, VXLAN_I = 0x08 };

struct adj *adjs;
static struct arena arena;
/* Free indices, first in, first out: a record that still names a freed adjacency must not send through its next owner. It
 * sees ADJ_NONE until then, and the day an index comes round again every record is decided anew. */
static uint32_t *free_list;
static uint32_t free_head, n_free, n_ripening;
static uint32_t n_fresh; /* first ones of the list, that no valid record names */

int adj_init(struct err *e)
{
	int r = arena_open(&arena, "adj", sizeof(struct adj), ADJS_MAX, sizeof(struct adj) * ADJS_MAX, e);

	if (r)
		return r;
	free_list = malloc(sizeof(*free_list) * ADJS_MAX);
	if (!free_list) {
		arena_close(&arena);
		return err_set(e, -ENOMEM, "adjacencies: out of memory");
	}
	adjs = arena.base;
	n_ripening = 0;
	free_head = n_free = 0;
	for (uint32_t i = 1; i < ADJS_MAX; i++)
		free_list[n_free++] = i;
	n_fresh = n_free;
	return 0;
}

void adj_use(struct adj *mem)
{
	if (mem)
		memset(mem, 0, sizeof(*mem) * ADJS_MAX);
	adjs = mem ? mem : arena.base;
}

void adj_fini(void)
{
	if (!adjs)
		return;
	rcu_wait(); /* what ripens would otherwise come back to a list that is gone */
	free(free_list);
	free_list = NULL;
	adjs = NULL;
	arena_close(&arena);
}

uint32_t adj_alloc(struct err *e)
{
	uint32_t i;

	if (!n_free && n_ripening)
		rcu_wait();
	if (!n_free) {
		err_set(e, -ENOSPC, "all %d adjacencies are in use: fewer next hops, tunnels or VNIs are needed",
			ADJS_MAX - 1);
		return 0;
	}
	i = free_list[free_head];
	free_head = (free_head + 1) % ADJS_MAX;
	n_free--;
	if (n_fresh) {
		n_fresh--;
	} else {
		gen_bump_extra();
		n_fresh = n_free;
	}
	memset(&adjs[i], 0, sizeof(adjs[i]));
	adjs[i].gen = gen_number(GEN_ADJ, i);
	return i;
}

static void ripe(void *p)
{
	n_ripening--;
	free_list[(free_head + n_free++) % ADJS_MAX] = (uint32_t)(uintptr_t)p;
}

/* One store: who sees a kind sees its MTU, and one that is no longer usable has none (adj_state). */
static void set_use(struct adj *a, uint8_t kind, uint16_t mtu, uint8_t tmpl_size)
{
	_Static_assert(offsetof(struct adj, mtu) == 16 && offsetof(struct adj, kind) == 18 &&
			       offsetof(struct adj, tmpl_size) == 19,
		       "one word");
	STORE_RELEASE((uint32_t *)(void *)&a->mtu, (uint32_t)tmpl_size << 24 | (uint32_t)kind << 16 | mtu);
}

void adj_free(uint32_t i)
{
	if (!i)
		return;
	set_use(&adjs[i], ADJ_NONE, 0, 0);
	gen_bump((uint16_t)adjs[i].gen);
	n_ripening++;
	rcu_defer(ripe, (void *)(uintptr_t)i);
}

static void put_eth(uint8_t *p, const struct mac *dst, const struct mac *src, uint16_t type)
{
	memcpy(p, dst->b, 6);
	memcpy(p + 6, src->b, 6);
	wr16(p + 12, type);
}

/* Ethernet header and port with one store. */
static void set_front(struct adj *a, const struct mac *dst, const struct mac *src, uint16_t type, uint16_t port)
{
	uint8_t b[16];

	_Static_assert(offsetof(struct adj, port) == 14, "eth and port are one 16-byte word");
	put_eth(b, dst, src, type);
	st16(b + 14, port);
	_mm_store_si128((__m128i *)a, _mm_loadu_si128((const void *)b));
}

void adj_set_eth(uint32_t i, uint16_t port, const struct mac *src, const struct mac *dst, uint16_t mtu)
{
	struct adj *a = &adjs[i];

	set_front(a, dst, src, ET_IP4, port);
	set_use(a, ADJ_ETH, mtu, 0);
}

static unsigned put_ip4(uint8_t *p, const struct adj_tunnel *t, uint32_t *base3)
{
	p[0] = 0x45;
	wr16(p + 6, 0x4000); /* DF: RFC 7348 4.3 wants no fragments of encapsulated packets, RFC 2003 5.1 allows it */
	p[8] = TTL;
	p[9] = t->ipip ? PROTO_IPIP : PROTO_UDP;
	memcpy(p + 12, t->local.b + 12, 4);
	memcpy(p + 16, t->remote.b + 12, 4);
	*base3 = (uint32_t)csum_add(p, IP4_HLEN, 0);
	return IP4_HLEN;
}

static unsigned put_ip6(uint8_t *p, const struct adj_tunnel *t)
{
	p[0] = 0x60;
	p[6] = t->ipip ? PROTO_IP6IP : PROTO_UDP;
	p[7] = TTL;
	memcpy(p + 8, t->local.b, 16);
	memcpy(p + 24, t->remote.b, 16);
	return IP6_HLEN;
}

/* What a VXLAN packet has behind the outer IP header. */
static unsigned put_vxlan(uint8_t *p, const struct adj_tunnel *t)
{
	wr16(p + 2, t->dport); /* source port, length: per packet; checksum 0 (RFC 6935 for IPv6) */
	p += UDP_HLEN;
	p[0] = VXLAN_I;
	wr32(p + 4, t->vni << 8);
	put_eth(p + VXLAN_HLEN, &t->inner_dst, &t->inner_src, ET_IP4);
	return UDP_HLEN + VXLAN_HLEN + ETH_HLEN_;
}

/* What of the outer checksum over IPv6 is the same for all packets: all but source port, lengths, type and the inner packet. */
static uint32_t tunnel6_base(const uint8_t *tmpl)
{
	const uint8_t *ip = tmpl + ETH_HLEN_, *udp = ip + IP6_HLEN;

	return csum_fold(csum_add(udp, UDP_HLEN + VXLAN_HLEN + 12, csum_pseudo(ip + 8, ip + 24, 16, PROTO_UDP, 0)));
}

static uint8_t kind_of(const struct adj_tunnel *t)
{
	if (t->ipip)
		return ip_is4(&t->local) ? ADJ_IPIP4 : ADJ_IPIP6;
	return ip_is4(&t->local) ? ADJ_TUNNEL4 : ADJ_TUNNEL6;
}

/* What a packet is sent by, as it will stand in the array. 'a' is zeroed. */
static void build(const struct adj_tunnel *t, struct adj *a)
{
	bool v4 = ip_is4(&t->local);
	uint8_t *p = a->tmpl;

	put_eth(p, &t->outer_dst, &t->outer_src, v4 ? ET_IP4 : ET_IP6);
	memcpy(a->eth, p, ETH_HLEN_);
	p += ETH_HLEN_;
	p += v4 ? put_ip4(p, t, &a->base3) : put_ip6(p, t);
	p += t->ipip ? 0 : put_vxlan(p, t);
	a->port = t->port;
	a->kind = kind_of(t);
	if (a->kind == ADJ_TUNNEL6)
		a->base3 = tunnel6_base(a->tmpl);
	a->tmpl_size = (uint8_t)(p - a->tmpl);
	const uint16_t head = (uint16_t)(a->tmpl_size - ETH_HLEN_);
	a->mtu = t->link_mtu > head ? (uint16_t)(t->link_mtu - head) : 0;
}

static void fill(struct adj *a, const struct adj *want)
{
	memcpy(a->eth, want->eth, sizeof(a->eth));
	a->port = want->port;
	a->base3 = want->base3;
	memcpy(a->tmpl, want->tmpl, sizeof(a->tmpl));
	set_use(a, want->kind, want->mtu, want->tmpl_size);
}

void adj_set_tunnel(uint32_t i, const struct adj_tunnel *t)
{
	struct adj want = { 0 };

	build(t, &want);
	fill(&adjs[i], &want);
}

/* False: it is more than one store that differs, or one of a word that some sender reads in pieces: copies of other lengths than
 * 64 bytes may overlap themselves at the end. */
static bool change(struct adj *a, const struct adj *want)
{
	typedef uint64_t __attribute__((may_alias)) word;
	enum { WORDS = sizeof(a->tmpl) / sizeof(word) };
	word *to = (void *)a->tmpl;
	unsigned which = WORDS;

	if (a->kind != want->kind || a->port != want->port || a->base3 != want->base3)
		return false;
	for (unsigned i = 0; i < WORDS; i++) {
		if (to[i] == ld64(want->tmpl + i * sizeof(word)))
			continue;
		if (which != WORDS || (i && want->kind != ADJ_TUNNEL4))
			return false;
		which = i;
	}
	if (which != WORDS)
		STORE_RELEASE(&to[which], ld64(want->tmpl + which * sizeof(word)));
	STORE_RELEASE((word *)(void *)a, ld64(want->eth));
	set_use(a, want->kind, want->mtu, want->tmpl_size);
	return true;
}

uint32_t adj_move_tunnel(uint32_t i, const struct adj_tunnel *t, struct err *e)
{
	struct adj want = { 0 };

	build(t, &want);
	if (i && change(&adjs[i], &want))
		return i;
	i = adj_alloc(e);
	if (i)
		fill(&adjs[i], &want);
	return i;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports of pool addresses. Workers claim and release them with one atomic operation on a bit that XDP steering reads, too.
 *
 * What is preferred, in this order: the inside port itself; a port of its class (below 1024 or not, RFC 4787 REQ-3a) and,
 * for UDP, of its parity (REQ-4); of its class; any. A port that rests is nobody's choice but its last user's, until
 * nothing else is left: then the one that rested longest is given, so that a rest never refuses a connection. */
#include <errno.h>

#include "fwd/base/clock.h"
#include "tables/nat_pool.h"

/* So many resting ports are looked at by one claim: some microseconds. */
enum { CLASS_HI = 1023, RESTING_LOOKS = 4096 };

struct search {
	uint64_t *bits;
	const uint32_t *freed;
	const struct nat_port_wish *wish;
	uint32_t rest;
	unsigned looks; /* at resting ports */
	int oldest;     /* of those, -1 = none */
	uint16_t age;
};

static bool claim_bit(uint64_t *bits, uint32_t port)
{
	const uint64_t bit = 1ull << (port % 64);
	return !(__atomic_fetch_or(&bits[port / 64], bit, __ATOMIC_ACQ_REL) & bit);
}

/* ---- rest ---- */

/* Who had a port, in the upper half, and the second when it came free. 0 = nobody yet. A note of more than 18 hours looks
 * fresh again; it costs preference only. */
static uint32_t freed_note(uint16_t user, uint32_t now_s)
{
	uint32_t note = (uint32_t)user << 16 | (now_s & 0xffff);
	return note ? note : 1u << 16;
}

static bool rests(const struct search *s, uint32_t port, uint16_t *age)
{
	const uint32_t note = LOAD_RELAXED(&s->freed[port]);

	*age = (uint16_t)(s->wish->now_s - note);
	return note && note >> 16 != s->wish->user && *age < s->rest;
}

static bool is_resting(struct search *s, uint32_t port)
{
	uint16_t age;

	if (!s->rest || !rests(s, port, &age))
		return false;
	s->looks++;
	if (s->oldest < 0 || age > s->age) {
		s->oldest = (int)port;
		s->age = age;
	}
	return true;
}

/* ---- claim ---- */

/* First free port of lo..hi that does not rest, -1 when there is none. A bit lost to another thread is only a reason to
 * look again. 'mask': the bits of a word that are wanted. */
static int scan(struct search *s, uint32_t lo, uint32_t hi, uint64_t mask)
{
	for (uint32_t w = lo / 64; w <= hi / 64 && s->looks < RESTING_LOOKS; w++) {
		uint64_t wanted = mask, free_bits;
		if (w == lo / 64)
			wanted &= ~0ull << (lo % 64);
		if (w == hi / 64)
			wanted &= ~0ull >> (63 - hi % 64);
		while ((free_bits = ~LOAD_RELAXED(&s->bits[w]) & wanted)) {
			const unsigned bit = (unsigned)__builtin_ctzll(free_bits);
			const uint32_t port = w * 64 + bit;
			if (is_resting(s, port))
				wanted &= ~(1ull << bit);
			else if (claim_bit(s->bits, port))
				return (int)port;
		}
	}
	return -1;
}

/* The whole of lo..hi from a random place on. */
static int scan_around(struct search *s, uint32_t lo, uint32_t hi, uint64_t mask)
{
	if (lo > hi)
		return -1;
	const uint32_t start = lo + (uint32_t)(s->wish->random % (hi - lo + 1));
	int port = scan(s, start, hi, mask);
	return port < 0 && start > lo ? scan(s, lo, start - 1, mask) : port;
}

static int search(struct search *s, uint32_t lo, uint32_t hi, enum steer_proto which)
{
	static const uint64_t parity[2] = { 0x5555555555555555, 0xaaaaaaaaaaaaaaaa };
	const uint32_t want = s->wish->port;
	const uint32_t class_lo = want > CLASS_HI ? MAX(lo, (uint32_t)CLASS_HI + 1) : lo;
	const uint32_t class_hi = want > CLASS_HI ? hi : MIN(hi, (uint32_t)CLASS_HI);
	int port = -1;

	if (which == STEER_UDP)
		port = scan_around(s, class_lo, class_hi, parity[want % 2]);
	if (port < 0 && which != STEER_ICMP && (which == STEER_UDP || class_lo > lo || class_hi < hi))
		port = scan_around(s, class_lo, class_hi, ~0ull);
	return port < 0 ? scan_around(s, lo, hi, ~0ull) : port;
}

static int claim(struct nat_pool *pool, enum steer_proto which, const struct nat_port_wish *wish, struct nat_range in)
{
	const uint32_t lo = in.lo, hi = in.hi;
	struct search s = { .bits = pool->bits[which], .freed = pool->freed[which], .wish = wish };
	uint16_t age;

	if (lo > hi)
		return -ENOSPC;
	s.rest = LOAD_RELAXED(&pool->rest);
	if (wish->port >= lo && wish->port <= hi && (!s.rest || !rests(&s, wish->port, &age)) &&
	    claim_bit(s.bits, wish->port))
		return wish->port;
	for (;;) {
		const uint32_t released = LOAD_ACQUIRE(&pool->released[which]);
		s.looks = 0;
		s.oldest = -1;
		int port = search(&s, lo, hi, which);
		if (port >= 0 || (s.oldest >= 0 && claim_bit(s.bits, (uint32_t)s.oldest)))
			return port >= 0 ? port : s.oldest;
		/* None came free meanwhile: every port was taken when the search ended. Else one may be free behind it. */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (s.oldest < 0 && LOAD_RELAXED(&pool->released[which]) == released)
			return -ENOSPC;
	}
}

int nat_port_claim(unsigned p, enum steer_proto which, const struct nat_port_wish *wish, struct ipaddr *addr)
{
	return nat_pool_address(p, addr) ? nat_port_claim_in(p, which, wish, nat_port_range(&nat_pools[p])) : -ENOSPC;
}

int nat_port_claim_in(unsigned p, enum steer_proto which, const struct nat_port_wish *wish, struct nat_range in)
{
	struct nat_pool *pool = &nat_pools[p];
	const int port = claim(pool, which, wish, in);

	if (port >= 0)
		__atomic_add_fetch(&pool->in_use[which], 1, __ATOMIC_RELAXED);
	return port;
}

bool nat_port_take(struct nat_pool *pool, enum steer_proto which, uint16_t port)
{
	if (!claim_bit(pool->bits[which], port))
		return false;
	__atomic_add_fetch(&pool->in_use[which], 1, __ATOMIC_RELAXED);
	return true;
}

void nat_port_release(unsigned p, enum steer_proto which, uint16_t port, uint16_t user)
{
	struct nat_pool *pool = &nat_pools[p];

	if (LOAD_RELAXED(&pool->rest))
		STORE_RELAXED(&pool->freed[which][port], freed_note(user, (uint32_t)(clock_ns() / NS_PER_S)));
	STORE_RELAXED(&pool->owner[which][port], 0);
	__atomic_fetch_and(&pool->bits[which][port / 64], ~(1ull << (port % 64)), __ATOMIC_RELEASE);
	__atomic_add_fetch(&pool->released[which], 1, __ATOMIC_RELEASE);
	/* last: a count of 0 means that the slot may be used anew */
	__atomic_sub_fetch(&pool->in_use[which], 1, __ATOMIC_RELEASE);
}

/* ---- how full ---- */

struct nat_range nat_port_range(const struct nat_pool *pool)
{
	return (struct nat_range){ LOAD_RELAXED(&pool->port_lo), LOAD_RELAXED(&pool->port_hi) };
}

uint32_t nat_ports_of(const struct nat_pool *pool)
{
	const struct nat_range r = nat_port_range(pool);
	return r.lo > r.hi ? 0 : r.hi - r.lo + 1;
}

uint32_t nat_ports_taken(const struct nat_pool *pool, enum steer_proto which)
{
	const uint32_t lo = LOAD_RELAXED(&pool->port_lo), hi = LOAD_RELAXED(&pool->port_hi);
	uint32_t n = 0;

	for (uint32_t w = lo / 64; w <= hi / 64 && lo <= hi && !pool->prefix; w++) {
		uint64_t bits = LOAD_RELAXED(&pool->bits[which][w]);
		if (w == lo / 64)
			bits &= ~0ull << (lo % 64);
		if (w == hi / 64)
			bits &= ~0ull >> (63 - hi % 64);
		n += (uint32_t)__builtin_popcountll(bits);
	}
	return n;
}

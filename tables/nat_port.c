/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports of pool addresses. Workers claim and release them with one atomic operation on a bit that XDP steering reads, too. */
#include <errno.h>

#include "tables/nat_pool.h"

static bool claim_bit(uint64_t *bits, uint32_t port)
{
	const uint64_t bit = 1ull << (port % 64);
	return !(__atomic_fetch_or(&bits[port / 64], bit, __ATOMIC_ACQ_REL) & bit);
}

/* First free port of lo..hi, -1 when there is none. A bit lost to another thread is only a reason to look again. */
static int scan(uint64_t *bits, uint32_t lo, uint32_t hi)
{
	for (uint32_t w = lo / 64; w <= hi / 64; w++) {
		uint64_t in_range = ~0ull;
		if (w == lo / 64)
			in_range &= ~0ull << (lo % 64);
		if (w == hi / 64)
			in_range &= ~0ull >> (63 - hi % 64);
		uint64_t free_bits;
		while ((free_bits = ~LOAD_RELAXED(&bits[w]) & in_range)) {
			uint32_t port = w * 64 + (uint32_t)__builtin_ctzll(free_bits);
			if (claim_bit(bits, port))
				return (int)port;
		}
	}
	return -1;
}

/* The whole range from 'start' on. */
static int scan_around(uint64_t *bits, uint32_t lo, uint32_t hi, uint32_t start)
{
	int port = scan(bits, start, hi);
	return port < 0 && start > lo ? scan(bits, lo, start - 1) : port;
}

int nat_port_claim(unsigned p, enum steer_proto which, uint16_t want, uint64_t random, struct ipaddr *addr)
{
	struct nat_pool *pool = &nat_pools[p];
	const uint32_t lo = LOAD_RELAXED(&pool->port_lo), hi = LOAD_RELAXED(&pool->port_hi);
	uint32_t released;
	int port = -1;

	if (!nat_pool_address(p, addr) || lo > hi)
		return -ENOSPC;
	uint64_t *bits = pool->bits[which];
	if (want >= lo && want <= hi && claim_bit(bits, want))
		port = want;
	const uint32_t start = lo + (uint32_t)(random % (hi - lo + 1));
	while (port < 0) {
		released = LOAD_ACQUIRE(&pool->released[which]);
		port = scan_around(bits, lo, hi, start);
		if (port >= 0)
			break;
		/* None came free meanwhile: every port was taken when the scan ended. Else one may be free behind it. */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD_RELAXED(&pool->released[which]) == released)
			return -ENOSPC;
	}
	__atomic_add_fetch(&pool->in_use[which], 1, __ATOMIC_RELAXED);
	return port;
}

void nat_port_release(unsigned p, enum steer_proto which, uint16_t port)
{
	struct nat_pool *pool = &nat_pools[p];

	STORE_RELAXED(&pool->owner[which][port], 0);
	__atomic_fetch_and(&pool->bits[which][port / 64], ~(1ull << (port % 64)), __ATOMIC_RELEASE);
	__atomic_add_fetch(&pool->released[which], 1, __ATOMIC_RELEASE);
	/* last: a count of 0 means that the slot may be used anew */
	__atomic_sub_fetch(&pool->in_use[which], 1, __ATOMIC_RELEASE);
}

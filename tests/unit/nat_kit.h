/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of masquerade state share. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tables/nat.h"

static __attribute__((unused)) uint64_t rnd_state;

static inline uint64_t rnd64(void)
{
	rnd_state = rnd_state * 6364136223846793005 + 1442695040888963407;
	return rnd_state ^ rnd_state >> 29;
}

static inline uint32_t rnd(uint32_t n)
{
	return (uint32_t)(rnd64() >> 33) % n;
}

static inline struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static inline int open_all(void **state)
{
	struct err e;
	(void)state;
	rcu_thread_register();
	hash_init(42);
	rnd_state = 11;
	return nat_init(&e);
}

static inline int close_all(void **state)
{
	(void)state;
	nat_fini();
	nat_set_bits_provider(NULL);
	rcu_thread_unregister();
	return 0;
}

static inline unsigned add_pool(const char *addr, uint16_t lo, uint16_t hi, uint8_t filter)
{
	struct nat_pool conf = { .addr = ip(addr), .port_lo = lo, .port_hi = hi, .port = -1, .filter = filter };
	struct err e = { "" };
	int r = nat_pool_add(&conf, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return (unsigned)r;
}

static inline struct nat_key key_of(unsigned pool, uint8_t proto, uint32_t host, uint16_t port)
{
	return (struct nat_key){
		.inside = ip_from4(htonl(0x0a000000 + host)), .inside_port = port, .proto = proto, .pool = (uint8_t)pool
	};
}

static inline uint32_t map_new(const struct nat_key *k)
{
	uint32_t m;
	bool created;
	if (nat_map(0, k, 100, rnd64(), &m, &created))
		return 0;
	assert_true(created);
	return m;
}

static inline bool bit_set(unsigned pool, uint8_t proto, uint16_t port)
{
	return LOAD_RELAXED(&nat_pools[pool].bits[nat_which(proto)][port / 64]) >> (port % 64) & 1;
}

static inline unsigned bits_in(unsigned pool, enum steer_proto w)
{
	unsigned n = 0;
	for (unsigned i = 0; i < STEER_BITMAP_SIZE / 8; i++)
		n += (unsigned)__builtin_popcountll(LOAD_RELAXED(&nat_pools[pool].bits[w][i]));
	return n;
}

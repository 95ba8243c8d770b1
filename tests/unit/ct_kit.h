/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of connections share: tables on a small or large scale, keys, creation. For one thread at a time, but
 * for create() and find(). */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tables/ct.h"

enum { QUOTA_TCP = 64, QUOTA_OTHER = 32, T0 = 1000 };

static __attribute__((unused)) const bool families[2] = { false, true };
static __attribute__((unused)) unsigned deleted; /* calls of ct_on_delete */
static __attribute__((unused)) uint64_t rnd_state;

static inline uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(rnd_state >> 33) % n;
}

static inline void count_delete(unsigned slot, bool v6, uint32_t conn)
{
	struct ct *c = ct_of(v6);
	(void)slot;
	/* unlinked, but not yet reusable */
	assert_int_equal(pool_state(&c->conns, conn), POOL_LIVE);
	assert_true(LOAD_RELAXED(&ct_conn(c, conn)->flags) & CONN_DEAD);
	__atomic_add_fetch(&deleted, 1, __ATOMIC_RELAXED);
}

static inline int open_with(uint32_t tcp, uint32_t other)
{
	struct err e;
	rcu_thread_register();
	hash_init(42);
	rnd_state = 7;
	deleted = 0;
	ct_on_delete = count_delete;
	return ct_init(tcp, other, &e);
}

static inline int open_small(void **state)
{
	(void)state;
	return open_with(QUOTA_TCP, QUOTA_OTHER);
}

static inline int open_big(void **state)
{
	(void)state;
	return open_with(20000, 20000);
}

static inline int close_all(void **state)
{
	(void)state;
	ct_fini();
	rcu_thread_unregister();
	return 0;
}

/* The key of host 'a' port 'ap' talking to 'b' port 'bp'. */
static inline void make_key(const struct ct *c, void *key, unsigned a, unsigned ap, unsigned b, unsigned bp,
			    uint8_t proto)
{
	memset(key, 0, c->idx.key_len);
	if (c->v6) {
		struct flow_key6 *k = key;
		k->src[0] = k->dst[0] = 0xfd;
		wr32(k->src + 12, a);
		wr32(k->dst + 12, b);
		k->sport = htons((uint16_t)ap);
		k->dport = htons((uint16_t)bp);
		k->zp = proto;
	} else {
		struct flow_key4 *k = key;
		k->src = htonl(0x0a000000 + a);
		k->dst = htonl(0x0a000000 + b);
		k->sport = htons((uint16_t)ap);
		k->dport = htons((uint16_t)bp);
		k->zp = proto;
	}
}

static inline void *record(struct ct *c, uint32_t r)
{
	return c->v6 ? (void *)ct_flow6(r) : (void *)ct_flow4(r);
}

static inline void set_in(struct ct *c, uint32_t r, uint32_t in)
{
	if (c->v6)
		ct_flow6(r)->in = in;
	else
		ct_flow4(r)->in = in;
}

static inline uint32_t get_in(struct ct *c, uint32_t r)
{
	return c->v6 ? ct_flow6(r)->in : ct_flow4(r)->in;
}

static inline void set_seen(struct ct *c, uint32_t r, uint32_t s)
{
	if (c->v6)
		ct_flow6(r)->seen = s;
	else
		ct_flow4(r)->seen = s;
}

static inline uint32_t find(struct ct *c, const void *key, uint32_t now)
{
	return ct_find(c, key, hash_key(key, c->idx.key_len), now);
}

/* A published connection with these keys, or 0 and errno text in *err. */
static inline uint32_t create(struct ct *c, unsigned slot, const void *fwd, const void *rev, uint8_t proto,
			      uint32_t now, int *err, uint32_t *present)
{
	uint32_t i = ct_alloc(c, slot, proto, now);
	if (!i) {
		*err = -ENOSPC;
		return 0;
	}
	memcpy(record(c, 2 * i), fwd, c->idx.key_len);
	memcpy(record(c, 2 * i + 1), rev, c->idx.key_len);
	set_in(c, 2 * i, FLOW_IN_HOST);
	*err = ct_publish(c, slot, i, present);
	if (*err) {
		ct_abort(c, slot, i);
		return 0;
	}
	return i;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What each inside address has of a pool with a quota (RFC 6888 REQ-4, REQ-5) or blocks: ports, connections that use them, and
 * blocks. Written when a connection begins or ends, never by a packet in between. A row lives as long as its address has a port
 * or a block. */
#include <errno.h>

#include "tables/nat_pool.h"

struct source_key {
	struct ipaddr inside;
	uint16_t zone;
	uint8_t pool, zero;
	uint32_t zero2;
};
/* 'held': ports, of which there are fewer than BLOCK, and blocks. 0: being deleted, never taken again. */
enum { BLOCK = 1 << 24, PORTS = BLOCK - 1 };
struct source {
	uint32_t held, sessions; /* atomic */
	uint16_t block[NAT_BLOCKS_OF_ONE];
};
_Static_assert(sizeof(struct source_key) == 24 && sizeof(struct source) == 40, "one line, no padding");
_Static_assert(NAT_BLOCKS_OF_ONE < 256, "they fit above the ports");

static struct table sources;

int nat_source_open(struct err *e)
{
	return table_open(&sources, "nat_source", table_defs[TABLE_NAT_SOURCE].capacity, sizeof(struct source_key),
			  sizeof(struct source), e);
}

void nat_source_close(void)
{
	table_close(&sources);
}

static struct source_key key_of(const struct nat_key *k)
{
	return (struct source_key){ .inside = k->inside, .zone = k->zone, .pool = k->pool };
}

static struct source *source_at(uint32_t i)
{
	return table_value(&sources, i);
}

/* One more of '*n' unless it has 'max' (0: no limit). */
static int count_up(uint32_t *n, uint32_t max)
{
	uint32_t have = LOAD_RELAXED(n);

	do {
		if (max && have >= max)
			return -EDQUOT;
	} while (!__atomic_compare_exchange_n(n, &have, have + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return 0;
}

/* The same for ports among what is held, of which 0 is final: -EAGAIN. */
static int count_up_port(uint32_t *n, uint32_t max)
{
	uint32_t have = LOAD_RELAXED(n);

	do {
		if (!have)
			return -EAGAIN;
		if (max && (have & PORTS) >= max)
			return -EDQUOT;
	} while (!__atomic_compare_exchange_n(n, &have, have + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return 0;
}

int nat_source_take(unsigned slot, const struct nat_key *k, uint32_t max, uint32_t *source)
{
	const struct source_key key = key_of(k);
	const struct source one = { .held = 1 };
	unsigned spins = 0;

	for (;;) {
		int err = table_insert(&sources, slot, &key, &one, source);
		if (err == -EEXIST)
			err = count_up_port(&source_at(*source)->held, max);
		if (err != -EAGAIN)
			return err;
		nat_breathe(&spins); /* the one who deletes it is two steps away from the end */
	}
}

static void give(unsigned slot, uint32_t source, uint32_t n)
{
	if (__atomic_sub_fetch(&source_at(source)->held, n, __ATOMIC_ACQ_REL) == 0)
		table_delete(&sources, slot, table_key(&sources, source));
}

void nat_source_give(unsigned slot, uint32_t source)
{
	if (source)
		give(slot, source, 1);
}

void nat_source_hold(uint32_t source)
{
	__atomic_add_fetch(&source_at(source)->held, BLOCK, __ATOMIC_RELAXED);
}

void nat_source_unhold(unsigned slot, uint32_t source)
{
	give(slot, source, BLOCK);
}

uint16_t *nat_source_blocks(uint32_t source)
{
	return source_at(source)->block;
}

const struct ipaddr *nat_source_inside(uint32_t source)
{
	return &((const struct source_key *)table_key(&sources, source))->inside;
}

uint16_t nat_source_zone(uint32_t source)
{
	return ((const struct source_key *)table_key(&sources, source))->zone;
}

uint32_t nat_source_find(const struct nat_key *k)
{
	const struct source_key key = key_of(k);
	return table_find(&sources, &key);
}

int nat_session_begin(uint32_t source, uint32_t max)
{
	return source ? count_up(&source_at(source)->sessions, max) : 0;
}

void nat_session_end(uint32_t source)
{
	if (source)
		__atomic_sub_fetch(&source_at(source)->sessions, 1, __ATOMIC_RELEASE);
}

int nat_source_try(const struct nat_key *k, bool port, uint32_t max_ports, uint32_t max_sessions)
{
	const uint32_t i = nat_source_find(k);

	if (!i)
		return 0;
	return (port && max_ports && (LOAD_RELAXED(&source_at(i)->held) & PORTS) >= max_ports) ||
			       (max_sessions && LOAD_RELAXED(&source_at(i)->sessions) >= max_sessions)
		       ? -EDQUOT
		       : 0;
}

uint32_t nat_source_count(void)
{
	return table_count(&sources);
}

bool nat_source_full(void)
{
	return table_count(&sources) >= sources.capacity;
}

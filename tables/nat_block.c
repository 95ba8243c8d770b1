/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks of ports (contract in nat_block.h).
 *
 * A block is one word: how many mappings are in it and when it was used last, or FREE, or MOVING while one thread gives it or takes
 * it back. Whose it is changes only while it is MOVING, so who counts himself in and then finds his own row there has it
 * until he leaves. The row has its blocks in NAT_BLOCKS_OF_ONE places; a place is PENDING while a thread looks for a
 * block to put there, and others of the same row wait for that rather than give a second one.
 *
 * Nobody gets a block in which a port is in use: that may be so after blocks were switched on, or became larger with a new
 * process. */
#include "tables/nat_block.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "tables/nat_pool.h"

#define FREE UINT64_MAX
#define MOVING (UINT64_MAX - 1)
#define ONE (1ull << 32) /* mapping; below it the second of last use */
enum { PENDING = 0xffff, NUMBERS = 65536 / NAT_BLOCK_MIN };

struct nat_block {
	uint64_t word;  /* atomic */
	uint32_t row;   /* nat_source.c; written while MOVING */
	uint32_t since; /* second it was given */
};

void (*nat_on_block)(unsigned slot, const struct nat_block_event *e);
static uint64_t events;

/* ---- one block ---- */

static bool is_held(uint64_t word)
{
	return word < MOVING;
}

static bool move(struct nat_block *b, uint64_t from)
{
	return __atomic_compare_exchange_n(&b->word, &from, MOVING, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void leave(struct nat_block *b, uint32_t now_s)
{
	uint64_t w = LOAD_RELAXED(&b->word);

	while (!__atomic_compare_exchange_n(&b->word, &w, ((w - ONE) & ~(ONE - 1)) | now_s, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* True while the block is the row's: then it stays so until leave(). */
static bool enter(struct nat_block *b, uint32_t row, uint32_t now_s)
{
	uint64_t w = LOAD_RELAXED(&b->word);

	if (LOAD_RELAXED(&b->row) != row)
		return false;
	do {
		if (!is_held(w))
			return false;
	} while (!__atomic_compare_exchange_n(&b->word, &w, w + ONE, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	if (LOAD_RELAXED(&b->row) == row)
		return true;
	leave(b, now_s);
	return false;
}

void nat_block_leave(unsigned p, uint16_t block, uint32_t now_s)
{
	leave(&nat_pools[p].block[block - 1], now_s);
}

/* ---- where they are ---- */

struct nat_range nat_block_numbers(struct nat_range ports, uint16_t size)
{
	if (!size || (ports.lo + size - 1) / size >= (ports.hi + 1) / size)
		return (struct nat_range){ 1, 0 };
	return (struct nat_range){ (ports.lo + size - 1) / size, (ports.hi + 1) / size - 1 };
}

static uint16_t size_of(const struct nat_pool *p)
{
	return LOAD_RELAXED(&p->blocks);
}

static struct nat_range numbers_of(const struct nat_pool *p)
{
	return nat_block_numbers(nat_port_range(p), size_of(p));
}

static struct nat_range ports_of(const struct nat_pool *p, uint32_t number)
{
	const uint32_t size = size_of(p);
	return (struct nat_range){ number * size, number * size + size - 1 };
}

/* Is no port of the range in use by any protocol? */
static bool is_clean(const struct nat_pool *p, struct nat_range ports)
{
	uint64_t used = 0;

	for (unsigned which = 0; which < STEER_PROTOS; which++)
		for (uint32_t w = ports.lo / 64; w <= ports.hi / 64; w++)
			used |= LOAD_RELAXED(&p->bits[which][w]) &
				(w == ports.lo / 64 ? ~0ull << (ports.lo % 64) : ~0ull) &
				(w == ports.hi / 64 ? ~0ull >> (63 - ports.hi % 64) : ~0ull);
	return !used;
}

/* ---- given and taken back ---- */

/* 'row': whom it is about, 0 = nobody. */
static void say(unsigned slot, enum nat_block_what what, unsigned p, const struct ipaddr *outside, uint32_t row,
		struct nat_range ports)
{
	struct nat_block_event e = { .seq = __atomic_add_fetch(&events, 1, __ATOMIC_RELAXED),
				     .time_ns = clock_ns(),
				     .outside = *outside,
				     .first = (uint16_t)ports.lo,
				     .last = (uint16_t)ports.hi,
				     .pool = (uint8_t)p,
				     .what = (uint8_t)what };
	if (row) {
		e.inside = *nat_source_inside(row);
		e.zone = nat_source_zone(row);
	}
	if (nat_on_block)
		nat_on_block(slot, &e);
}

/* Of a block that the caller moves. */
static void take_back(unsigned slot, unsigned p, uint32_t number, const struct ipaddr *outside)
{
	struct nat_block *b = &nat_pools[p].block[number];
	const uint32_t row = b->row;
	uint16_t *place = nat_source_blocks(row);

	say(slot, NAT_BLOCK_BACK, p, outside, row, ports_of(&nat_pools[p], number));
	for (unsigned i = 0; i < NAT_BLOCKS_OF_ONE; i++)
		if (LOAD_RELAXED(&place[i]) == number + 1)
			STORE_RELEASE(&place[i], 0);
	STORE_RELAXED(&b->row, 0);
	nat_source_unhold(slot, row);
}

/* Moves a block that is free and has no port in use. */
static bool move_free(const struct nat_pool *pool, uint32_t number)
{
	struct nat_block *b = &pool->block[number];
	const struct nat_range ports = ports_of(pool, number);

	if (!is_clean(pool, ports) || !move(b, FREE))
		return false;
	if (is_clean(pool, ports))
		return true;
	STORE_RELEASE(&b->word, FREE);
	return false;
}

/* Of what is not free: the one that is empty for the longest, -1 = none; does one change hands? */
struct others {
	int oldest;
	uint64_t word;
	bool moving;
};

/* A free one, moved, or -1. */
static int find_free(const struct nat_pool *pool, struct nat_range r, uint32_t start, struct others *o)
{
	const uint32_t n = r.hi - r.lo + 1;

	*o = (struct others){ .oldest = -1 };
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t number = r.lo + (start + i) % n;
		const uint64_t w = LOAD_ACQUIRE(&pool->block[number].word);
		if (w == FREE && move_free(pool, number))
			return (int)number;
		o->moving |= w == MOVING;
		if (w < ONE && (o->oldest < 0 || (int32_t)((uint32_t)w - (uint32_t)o->word) < 0)) {
			o->oldest = (int)number;
			o->word = w;
		}
	}
	return -1;
}

/* Moves a block that is free, from a random one on; else the one that is empty for the longest, which is taken from whoever had
 * it. Its number or -ENOSPC: at one moment each had a mapping, or a port that is in use. One that changes hands is waited for. */
static int find(unsigned slot, unsigned p, const struct nat_port_wish *wish, const struct ipaddr *outside)
{
	struct nat_pool *pool = &nat_pools[p];
	const struct nat_range r = numbers_of(pool);
	const uint32_t n = r.hi - r.lo + 1, start = n ? (uint32_t)(wish->random >> 16) % n : 0;
	struct others o;
	unsigned spins = 0;
	int number;

	while ((number = find_free(pool, r, start, &o)) < 0) {
		if (o.oldest >= 0 && move(&pool->block[o.oldest], o.word)) {
			take_back(slot, p, (uint32_t)o.oldest, outside);
			return o.oldest;
		}
		if (o.oldest < 0 && !o.moving)
			return -ENOSPC;
		nat_breathe(&spins);
	}
	return number;
}

/* A block for the row, in 'place', which is empty; the caller is in it. Its number, -EAGAIN: another thread was first, -ENOSPC. */
static int give(unsigned slot, unsigned p, const struct nat_port_wish *wish, const struct ipaddr *outside,
		uint16_t *place)
{
	uint16_t none = 0;

	if (!__atomic_compare_exchange_n(place, &none, PENDING, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return -EAGAIN;
	const int number = find(slot, p, wish, outside);
	if (number < 0) {
		STORE_RELEASE(place, 0);
		return number;
	}
	struct nat_block *b = &nat_pools[p].block[number];
	nat_source_hold(wish->source);
	STORE_RELAXED(&b->row, wish->source);
	STORE_RELAXED(&b->since, wish->now_s);
	say(slot, NAT_BLOCK_GIVEN, p, outside, wish->source, ports_of(&nat_pools[p], (uint32_t)number));
	STORE_RELEASE(&b->word, ONE | wish->now_s);
	STORE_RELEASE(place, (uint16_t)(number + 1));
	return number;
}

/* ---- ports: workers ---- */

/* Counts in the block when it finds one there. The port, -EEXIST: none, -EAGAIN: not the row's, or not any more, -ENOSPC. */
static int port_in(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish, uint32_t number)
{
	struct nat_block *b = &nat_pools[p].block[number];
	const struct nat_range ports = ports_of(&nat_pools[p], number);

	if (!enter(b, wish->source, wish->now_s))
		return -EAGAIN;
	int port = wish->to ? nat_port_share_in(slot, p, which, wish, ports) : nat_port_claim_in(p, which, wish, ports);
	if (port < 0)
		leave(b, wish->now_s);
	return port == -ENOSPC && !wish->to ? -EEXIST : port;
}

/* What a row has: 'room' is its first empty place, NULL when it may have no more. */
struct places {
	uint16_t *room;
	uint16_t was[NAT_BLOCKS_OF_ONE];
	bool pending;
};

static struct places look(const struct nat_pool *pool, uint32_t row)
{
	const uint32_t limit = LOAD_RELAXED(&pool->block_limit);
	uint16_t *place = nat_source_blocks(row);
	struct places l = { .room = NULL };
	uint32_t n = 0;

	for (unsigned i = 0; i < NAT_BLOCKS_OF_ONE; i++) {
		const uint16_t v = LOAD_ACQUIRE(&place[i]);
		l.was[i] = v;
		l.pending |= v == PENDING;
		n += v != 0;
		if (!v && !l.room)
			l.room = &place[i];
	}
	if (n >= (limit ? limit : NAT_BLOCKS_DEFAULT))
		l.room = NULL;
	return l;
}

/* In the row's blocks: first the one that has the inside port, then in their order, so that later ones become empty. The port,
 * -EEXIST: they are full, -EAGAIN: one is just taken from the row, -ENOSPC. */
static int port_in_own(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		       struct nat_block_got *got)
{
	const struct nat_pool *pool = &nat_pools[p];
	const struct nat_range r = numbers_of(pool);
	const uint16_t *place = nat_source_blocks(wish->source);
	const uint32_t want = wish->port / size_of(pool);
	int port = -EAGAIN;
	bool taken = false;

	got->block = 0;
	if (!wish->to && want >= r.lo && want <= r.hi)
		port = port_in(slot, p, which, wish, want);
	if (port != -EAGAIN)
		got->block = (uint16_t)(want + 1);
	else
		port = -EEXIST; /* another's, most probably */
	for (unsigned i = 0; i < NAT_BLOCKS_OF_ONE && port == -EEXIST; i++) {
		const uint16_t v = LOAD_ACQUIRE(&place[i]);
		if (!v || v == PENDING || v == got->block || v - 1u < r.lo || v - 1u > r.hi)
			continue;
		port = port_in(slot, p, which, wish, v - 1u);
		taken |= port == -EAGAIN;
		if (port == -EAGAIN)
			port = -EEXIST;
		else if (port != -EEXIST)
			got->block = v;
	}
	return port == -EEXIST && taken ? -EAGAIN : port;
}

/* Has the row what it had? If not, it may have what it was refused a moment ago. */
static bool is_as_before(uint32_t row, const struct places *l)
{
	const uint16_t *place = nat_source_blocks(row);

	for (unsigned i = 0; i < NAT_BLOCKS_OF_ONE; i++)
		if (LOAD_ACQUIRE(&place[i]) != l->was[i])
			return false;
	return true;
}

int nat_block_port(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		   struct nat_block_got *got)
{
	struct nat_pool *pool = &nat_pools[p];
	unsigned spins = 0;
	int mine = -1, port; /* a block that was given to us is not taken back while we look for a port in it */

	if (!nat_pool_address(p, &got->addr) || !size_of(pool))
		return -ENOSPC;
	for (;;) {
		/* before the search: a place that was pending when it began is waited for */
		const struct places l = look(pool, wish->source);
		port = port_in_own(slot, p, which, wish, got);
		if (port != -EEXIST && port != -EAGAIN)
			break;
		if (l.pending || port == -EAGAIN) {
			nat_breathe(&spins);
			continue;
		}
		if (l.room)
			port = give(slot, p, wish, &got->addr, l.room);
		else
			port = is_as_before(wish->source, &l) ? -EDQUOT : -EAGAIN;
		if (port == -EAGAIN)
			continue;
		if (port < 0)
			break;
		if (mine >= 0)
			leave(&pool->block[mine], wish->now_s);
		mine = port;
	}
	if (mine >= 0)
		leave(&pool->block[mine], wish->now_s);
	return port;
}

/* ---- what a new connection would meet ---- */

static bool has_port(const struct nat_pool *pool, const struct nat_key *k, const struct nat_remote *to, uint32_t number)
{
	const struct nat_range ports = ports_of(pool, number);
	const enum steer_proto which = nat_which(k->proto);

	if (pool->mapping == NAT_APDM)
		return nat_port_sharable(k->pool, which, to, ports);
	for (uint32_t port = ports.lo; port <= ports.hi; port++)
		if (!(LOAD_RELAXED(&pool->bits[which][port / 64]) >> (port % 64) & 1))
			return true;
	return false;
}

int nat_block_try(const struct nat_key *k, const struct nat_remote *to)
{
	const struct nat_pool *pool = &nat_pools[k->pool];
	const struct nat_range r = numbers_of(pool);
	const uint32_t row = nat_source_find(k);

	for (uint32_t n = r.lo; row && n <= r.hi; n++)
		if (is_held(LOAD_RELAXED(&pool->block[n].word)) && LOAD_RELAXED(&pool->block[n].row) == row &&
		    has_port(pool, k, to, n))
			return 0;
	if (row && !look(pool, row).room)
		return -EDQUOT;
	for (uint32_t n = r.lo; n <= r.hi; n++) {
		const uint64_t w = LOAD_RELAXED(&pool->block[n].word);
		if (w < ONE || (w == FREE && is_clean(pool, ports_of(pool, n))))
			return 0;
	}
	return -ENOSPC;
}

/* ---- control thread ---- */

/* All that have been empty for 'rest' seconds. */
static void expire(unsigned p, uint32_t rest, uint32_t now_s)
{
	struct nat_pool *pool = &nat_pools[p];

	for (uint32_t n = 0; pool->block && n < NUMBERS; n++) {
		struct nat_block *b = &pool->block[n];
		const uint64_t w = LOAD_RELAXED(&b->word);
		/* signed: a worker may be a second ahead */
		if (w >= ONE || (int32_t)(now_s - (uint32_t)w) < (int32_t)rest || !move(b, w))
			continue;
		take_back(SLOT_CONTROL, p, n, nat_pool_slot_address(p));
		STORE_RELEASE(&b->word, FREE);
	}
}

void nat_block_tick(uint32_t now_s)
{
	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		expire(p, ip_is_zero(&nat_pools[p].addr) ? 0 : nat_pools[p].rest, now_s);
}

void nat_block_end(void)
{
	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		for (uint32_t n = 0; nat_pools[p].block && n < NUMBERS; n++)
			if (is_held(nat_pools[p].block[n].word)) {
				take_back(SLOT_CONTROL, p, n, nat_pool_slot_address(p));
				nat_pools[p].block[n].word = FREE;
			}
}

/* Those that rest go whatever their rest: nobody gives blocks now. */
static uint32_t end_resting(unsigned p)
{
	struct nat_pool *pool = &nat_pools[p];
	uint32_t busy = 0;

	for (uint32_t n = 0; pool->block && n < NUMBERS; n++) {
		const uint64_t w = LOAD_ACQUIRE(&pool->block[n].word);
		if (w < ONE) {
			take_back(SLOT_CONTROL, p, n, nat_pool_slot_address(p));
			STORE_RELEASE(&pool->block[n].word, FREE);
		}
		busy += w >= ONE && is_held(w);
	}
	return busy;
}

int nat_block_setup(unsigned p, uint16_t size, struct err *e)
{
	struct nat_pool *pool = &nat_pools[p];
	char b[IP_STRLEN];
	const uint32_t busy = end_resting(p);

	ip_print(nat_pool_slot_address(p), b);
	if (busy)
		return err_set(e, -EBUSY,
			       "nat pool %s: %u blocks of %u ports are in use, their size cannot change; end what uses "
			       "them first: clear ct reply_dst=%s",
			       b, busy, pool->blocks, b);
	if (size && !pool->block) {
		pool->block = malloc(NUMBERS * sizeof(*pool->block));
		if (!pool->block)
			return err_set(e, -ENOMEM, "nat pool %s: no memory for its blocks", b);
		for (uint32_t n = 0; n < NUMBERS; n++)
			pool->block[n] = (struct nat_block){ .word = FREE };
	}
	STORE_RELEASE(&pool->blocks, size);
	return 0;
}

void nat_block_free(struct nat_pool *p)
{
	free(p->block);
	p->block = NULL;
}

void nat_block_started(unsigned p)
{
	say(SLOT_CONTROL, NAT_BLOCK_START, p, &nat_pools[p].addr, 0, nat_port_range(&nat_pools[p]));
}

/* ---- adoption ---- */

static bool put_in_place(uint32_t source, uint32_t number)
{
	uint16_t *place = nat_source_blocks(source);

	for (unsigned i = 0; i < NAT_BLOCKS_OF_ONE; i++)
		if (!place[i]) {
			place[i] = (uint16_t)(number + 1);
			return true;
		}
	return false;
}

/* The same, with the bits still being a former process'. */
static bool is_nobodys(const struct nat_pool *p, struct nat_range ports)
{
	for (unsigned which = 0; which < STEER_PROTOS; which++)
		for (uint32_t port = ports.lo; port <= ports.hi; port++)
			if (p->owner[which][port] || p->sharers[which][port])
				return false;
	return true;
}

/* The block that a port is in, NULL if none. */
static struct nat_block *block_of(unsigned p, uint16_t port, uint32_t *number)
{
	const struct nat_range r = numbers_of(&nat_pools[p]);

	*number = r.lo > r.hi ? 0 : port / size_of(&nat_pools[p]);
	return *number < r.lo || *number > r.hi ? NULL : &nat_pools[p].block[*number];
}

bool nat_block_held(unsigned p, uint16_t port)
{
	uint32_t number;
	const struct nat_block *b = block_of(p, port, &number);

	return b && is_held(b->word);
}

uint16_t nat_block_adopt(unsigned p, uint32_t source, uint16_t port, uint32_t since)
{
	const struct nat_pool *pool = &nat_pools[p];
	uint32_t number;
	struct nat_block *b = block_of(p, port, &number);

	if (!b)
		return 0;
	if (b->word == FREE && is_nobodys(pool, ports_of(pool, number)) && put_in_place(source, number)) {
		nat_source_hold(source);
		*b = (struct nat_block){ .word = since, .row = source, .since = since };
	}
	if (!is_held(b->word) || b->row != source)
		return 0;
	b->word += ONE;
	b->since = MIN(b->since, since);
	return (uint16_t)(number + 1);
}

void nat_block_adopted(void)
{
	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		for (uint32_t n = 0; nat_pools[p].block && n < NUMBERS; n++) {
			struct nat_block *b = &nat_pools[p].block[n];
			if (is_held(b->word))
				say(SLOT_CONTROL, NAT_BLOCK_KEPT, p, &nat_pools[p].addr, b->row,
				    ports_of(&nat_pools[p], n));
		}
}

/* ---- what there is ---- */

uint32_t nat_block_next(uint32_t after, struct nat_block_info *b)
{
	for (uint32_t at = after; at < NAT_POOLS_MAX * NUMBERS; at++) {
		const unsigned p = at / NUMBERS;
		const struct nat_block *block = nat_pools[p].block ? &nat_pools[p].block[at % NUMBERS] : NULL;
		if (!block) {
			at = p * NUMBERS + NUMBERS - 1;
			continue;
		}
		const uint64_t w = LOAD_ACQUIRE(&block->word);
		const uint32_t row = LOAD_RELAXED(&block->row);
		if (!is_held(w) || !row)
			continue;
		const struct nat_range ports = ports_of(&nat_pools[p], at % NUMBERS);
		*b = (struct nat_block_info){ .inside = *nat_source_inside(row),
					      .zone = nat_source_zone(row),
					      .outside = *nat_pool_slot_address(p),
					      .first = (uint16_t)ports.lo,
					      .last = (uint16_t)ports.hi,
					      .mappings = (uint32_t)(w >> 32),
					      .since = LOAD_RELAXED(&block->since) };
		return at + 1;
	}
	return 0;
}

struct nat_block_use nat_blocks_of(unsigned pool)
{
	const struct nat_range r = numbers_of(&nat_pools[pool]);
	struct nat_block_use u = { .all = r.lo > r.hi ? 0 : r.hi - r.lo + 1 };

	for (uint32_t n = 0; nat_pools[pool].block && n < NUMBERS; n++) {
		const uint64_t w = LOAD_RELAXED(&nat_pools[pool].block[n].word);
		u.given += is_held(w);
		u.busy += w >= ONE && is_held(w);
	}
	return u;
}

uint32_t nat_block_count(void)
{
	uint32_t n = 0;

	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		n += nat_blocks_of(p).given;
	return n;
}

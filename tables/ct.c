/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections: birth, look-up, death. Workers call all of it; several may create or delete the same connection at once.
 *
 * A connection is reachable by two keys, so its birth is two index inserts. Three rules keep that whole: keys are
 * linked in the order of their bytes, so two publishers never wait for each other; until both are linked the records
 * carry 'in' 0, which no ingress has, so nobody replays them; and what was linked for a moment goes back through limbo
 * like a deleted one. */
#include "tables/ct_tags.h"
#include "tables/ct_window.h"

#include <errno.h>
#include <sched.h>

enum { MAX_CONNS = 1 << 30 };
uint32_t ct_max_tcp = 1024 * 1024, ct_max_other = 256 * 1024;
/* Entries beyond the quota, for those in limbo: a grace period is about 2 ms, a worker makes up to 1 M connections a
 * second. */
enum { SLACK_MIN = 1024, SLACK_MAX = 64 * 1024 };

struct ct ct4, ct6 = { .v6 = true };
void (*ct_on_delete)(unsigned slot, bool v6, uint32_t conn);
bool (*ct_may_evict)(bool v6, uint32_t conn);

INLINE void *record(const struct ct *c, uint32_t r)
{
	return c->flows + (uint64_t)r * c->flow_size;
}

INLINE uint32_t *record_in(const struct ct *c, uint32_t r)
{
	void *f = record(c, r);
	return c->v6 ? &((struct flow6 *)f)->in : &((struct flow4 *)f)->in;
}

static int open_family(struct ct *c, bool v6, uint32_t max_tcp, uint32_t max_other, struct err *e)
{
	const uint32_t quota = max_tcp + max_other;
	const uint32_t capacity = quota + MIN(MAX(quota / 16, (uint32_t)SLACK_MIN), (uint32_t)SLACK_MAX);
	const uint64_t records = 2 * ((uint64_t)capacity + 1);

	*c = (struct ct){ .v6 = v6, .max_tcp = max_tcp, .max_other = max_other };
	c->flow_size = v6 ? sizeof(struct flow6) : sizeof(struct flow4);
	int r = pool_open(&c->conns, v6 ? "ct6" : "ct4", sizeof(struct conn), capacity, e);
	if (r)
		return r;
	r = arena_open(&c->arena, v6 ? "flow6" : "flow4", c->flow_size, capacity, records * c->flow_size, e);
	if (r)
		return r;
	c->flows = c->arena.base;
	/* records 0 and 1 match no key: entry 0 stands for "none" in guesses (hidx_first) */
	memset(c->flows, 0xff, 2 * (size_t)c->flow_size);
	r = ct_fifo_open(c, e);
	if (!r)
		r = ct_tags_open(c, e);
	if (r)
		return r;
	return hidx_open_growing(&c->idx, (uint32_t)records, c->flows, c->flow_size,
				 v6 ? sizeof(struct flow_key6) : sizeof(struct flow_key4), e);
}

static void close_family(struct ct *c)
{
	hidx_close(&c->idx);
	ct_fifo_close(c);
	arena_close(&c->tags);
	arena_close(&c->arena);
	pool_close(&c->conns);
	*c = (struct ct){ .v6 = c == &ct6 };
}

int ct_init(uint32_t max_tcp, uint32_t max_other, struct err *e)
{
	if (!max_tcp)
		max_tcp = ct_max_tcp;
	if (!max_other)
		max_other = ct_max_other;
	if ((uint64_t)max_tcp + max_other > MAX_CONNS)
		return err_set(e, -EINVAL, "ct: %u TCP and %u other connections: more than %u together; lower one",
			       max_tcp, max_other, (unsigned)MAX_CONNS);
	int r = open_family(&ct4, false, max_tcp, max_other, e);
	if (!r)
		r = open_family(&ct6, true, max_tcp, max_other, e);
	if (r)
		ct_fini();
	return r;
}

void ct_fini(void)
{
	ct_window_close();
	close_family(&ct4);
	close_family(&ct6);
}

uint32_t ct_find(const struct ct *c, const void *key, uint64_t hash, uint32_t now_s)
{
	uint32_t r = hidx_find(&c->idx, key, hash);
	return r && ct_is_live(c, r >> 1) && ct_remaining(c, r >> 1, now_s) ? r : 0;
}

static uint32_t *quota_counter(struct ct *c, uint8_t proto)
{
	return proto == PROTO_TCP ? &c->n_tcp : &c->n_other;
}

static void quota_give(struct ct *c, uint8_t proto)
{
	__atomic_sub_fetch(quota_counter(c, proto), 1, __ATOMIC_RELAXED);
}

static bool quota_take(struct ct *c, unsigned slot, uint8_t proto, uint32_t now_s)
{
	const bool tcp = proto == PROTO_TCP;

	if (__atomic_add_fetch(quota_counter(c, proto), 1, __ATOMIC_RELAXED) <= (tcp ? c->max_tcp : c->max_other))
		return true;
	/* The victim gives one back: the count is within the quota again. */
	if (ct_evict(c, slot, tcp, now_s))
		return true;
	quota_give(c, proto);
	return false;
}

static void clean_records(struct ct *c, uint32_t conn)
{
	/* With all four numbers 0 the sum is 'extra' alone. Counters only grow, so one less never matches again. */
	const uint32_t never = LOAD_RELAXED(&gen_area->extra) - 1;

	memset(record(c, 2 * conn), 0, 2 * (size_t)c->flow_size);
	for (unsigned d = 0; d < 2; d++) {
		void *f = record(c, 2 * conn + d);
		if (c->v6)
			((struct flow6 *)f)->gensum = never;
		else
			((struct flow4 *)f)->gensum = never;
	}
}

/* What the next call will probably write. */
static void prefetch_next(const struct ct *c, uint32_t i)
{
	uint32_t n = c->conns.next[i];

	pool_prefetch_next(&c->conns, i);
	n = MIN(n ? n : i + 1, c->conns.capacity);
	for (unsigned at = 0; at < 2 * c->flow_size; at += CACHE_LINE)
		__builtin_prefetch((uint8_t *)record(c, 2 * n) + at, 1);
}

uint32_t ct_alloc(struct ct *c, unsigned slot, uint8_t proto, uint32_t now_s)
{
	if (!quota_take(c, slot, proto, now_s))
		return 0;
	uint32_t i = pool_alloc(&c->conns, slot);
	if (!i) {
		quota_give(c, proto);
		return 0;
	}
	prefetch_next(c, i);
	*ct_conn(c, i) = (struct conn){ .proto = proto, .created = now_s };
	clean_records(c, i);
	return i;
}

static void breathe(unsigned *spins)
{
	/* The one waited for may share this core. */
	if (++*spins % 256 == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}

/* Links record 'r'. Whoever holds the key is alive (-EEXIST), expired (goes), or in the middle of being published or
 * deleted: then its thread is at most two index writes away from telling. */
static int link_record(struct ct *c, unsigned slot, uint32_t r, uint32_t *present)
{
	const uint32_t now_s = ct_conn(c, r >> 1)->created;
	unsigned spins = 0;

	for (;;) {
		int err = hidx_insert(&c->idx, ct_record_hash(c, r), r, present);
		if (err != -EEXIST)
			return err;
		if (!ct_is_live(c, *present >> 1))
			breathe(&spins);
		else if (ct_remaining(c, *present >> 1, now_s))
			return -EEXIST;
		else
			ct_delete(c, slot, *present >> 1);
	}
}

static int link_both(struct ct *c, unsigned slot, uint32_t conn, uint32_t *present)
{
	uint32_t first = 2 * conn, second = 2 * conn + 1;
	int order = memcmp(record(c, first), record(c, second), c->idx.key_len);

	if (order == 0)
		return link_record(c, slot, first, present);
	if (order > 0) {
		first ^= 1;
		second ^= 1;
	}
	int err = link_record(c, slot, first, present);
	if (err)
		return err;
	err = link_record(c, slot, second, present);
	if (err) {
		hidx_remove(&c->idx, ct_record_hash(c, first), first);
		__atomic_fetch_or(&ct_conn(c, conn)->flags, CONN_LINKED, __ATOMIC_RELAXED);
	}
	return err;
}

int ct_publish(struct ct *c, unsigned slot, uint32_t conn, uint32_t *present)
{
	uint32_t *in[2] = { record_in(c, 2 * conn), record_in(c, 2 * conn + 1) };
	const uint32_t want[2] = { *in[0], *in[1] };

	*in[0] = *in[1] = 0;
	int err = link_both(c, slot, conn, present);
	if (err)
		return err;
	STORE_RELEASE(in[0], want[0]);
	STORE_RELEASE(in[1], want[1]);
	pool_publish(&c->conns, conn);
	ct_fifo_push(c, slot, conn);
	return 0;
}

void ct_abort(struct ct *c, unsigned slot, uint32_t conn)
{
	struct conn *k = ct_conn(c, conn);

	quota_give(c, k->proto);
	if (!(k->flags & CONN_LINKED)) {
		pool_abort(&c->conns, slot, conn);
		return;
	}
	/* another thread may hold its index */
	pool_retire(&c->conns, slot, conn);
}

bool ct_delete(struct ct *c, unsigned slot, uint32_t conn)
{
	struct conn *k = ct_conn(c, conn);

	if (pool_state(&c->conns, conn) != POOL_LIVE ||
	    (__atomic_fetch_or(&k->flags, CONN_DEAD, __ATOMIC_ACQ_REL) & CONN_DEAD))
		return false;
	for (unsigned d = 0; d < 2; d++)
		hidx_remove(&c->idx, ct_record_hash(c, 2 * conn + d), 2 * conn + d);
	quota_give(c, k->proto);
	if (ct_on_delete)
		ct_on_delete(slot, c->v6, conn);
	pool_retire(&c->conns, slot, conn);
	return true;
}

uint32_t ct_next(const struct ct *c, uint32_t after)
{
	do
		after = pool_next(&c->conns, after);
	while (after && !ct_is_live(c, after));
	return after;
}

uint32_t ct_count(const struct ct *c)
{
	return LOAD_RELAXED(&c->n_tcp) + LOAD_RELAXED(&c->n_other);
}

double ct_bytes_each(const struct ct *c)
{
	/* the pool: free stack, list links, states */
	const uint64_t pool = (uint64_t)c->conns.capacity * (2 * sizeof(uint32_t) + 1);
	const uint64_t all = (uint64_t)c->conns.capacity * (sizeof(struct conn) + 2 * c->flow_size) + pool +
			     c->idx.n_buckets * sizeof(struct bucket) + ct_fifo_bytes(c) + c->windows.size;
	return (double)all / ((double)c->max_tcp + c->max_other);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Writing the kernel's replay table (contract in export_table.h; the writer's rules in tables/abi/replay.h).
 *
 * Free numbers wait in one queue per family, oldest first, each with the time from which it may be used: what was removed
 * goes to the end, so the head is always the first that is ripe. */
#include "fwd/export_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fwd/base/clock.h"
#include "fwd/settings.h"
#include "tables/gen.h"

enum { FILTER_BITS = 64 };

struct waiting {
	uint32_t number;
	uint32_t ripe_s; /* second of CLOCK_MONOTONIC */
};
static struct loader_replay area;
static uint8_t *sharers; /* of each bit of the filter: records that have it; 255: that many or more, it stays */
static uint32_t linked;  /* records in the index */
static bool switched_on;
static struct queue {
	struct waiting *w;
	uint32_t head, n, size;
	uint32_t fresh; /* of the head: never used, or known to be ripe */
} queues[2];
_Static_assert(sizeof(struct replay_flow4) == 128 && sizeof(struct replay_flow6) == 192, "as indexed here");

static int queue_open(struct queue *q, uint32_t flows)
{
	*q = (struct queue){ .size = flows };
	q->w = calloc(flows, sizeof(*q->w));
	if (!q->w)
		return -ENOMEM;
	for (uint32_t i = 1; i < flows; i++)
		q->w[q->n++] = (struct waiting){ .number = i };
	q->fresh = q->n;
	return 0;
}

int export_table_open(const struct loader_replay *a)
{
	struct replay_conf *c = a->conf;
	STORE_RELEASE(&c->flags, 0);
	for (uint32_t b = 0; b < c->buckets; b++)
		for (unsigned w = 0; w < REPLAY_WAYS; w++)
			STORE_RELEASE(&a->index[b].tag[w], 0);
	for (uint32_t b = 0; b < c->buckets / 2; b++)
		STORE_RELEASE(&a->filter[b], 0);
	if (getrandom(c->seed, sizeof(c->seed), 0) != sizeof(c->seed))
		return -errno;
	area = *a;
	linked = 0;
	switched_on = false;
	sharers = calloc(c->buckets / 2, FILTER_BITS);
	if (!sharers || queue_open(&queues[0], c->flows) || queue_open(&queues[1], c->flows)) {
		export_table_close();
		return -ENOMEM;
	}
	return 0;
}

void export_table_close(void)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		free(queues[v6].w);
		queues[v6] = (struct queue){ 0 };
	}
	free(sharers);
	sharers = NULL;
	if (area.conf)
		STORE_RELEASE(&area.conf->flags, 0);
	area = (struct loader_replay){ 0 };
}

static void set_flags(void)
{
	const uint32_t flags =
		REPLAY_ON | (linked ? REPLAY_SOME : 0) | (settings.nat_unique_ids ? REPLAY_UNIQUE_IDS : 0);
	STORE_RELEASE(&area.conf->flags, switched_on ? flags : 0);
}

void export_table_switch(bool on)
{
	switched_on = on;
	if (area.conf)
		set_flags();
}

/* ---- numbers ---- */

static void ripen(struct queue *q, uint32_t now_s)
{
	while (q->fresh < q->n && q->w[(q->head + q->fresh) % q->size].ripe_s <= now_s)
		q->fresh++;
}

static uint32_t take(struct queue *q, uint64_t now_ns)
{
	ripen(q, (uint32_t)(now_ns / NS_PER_S));
	if (!q->fresh)
		return 0;
	uint32_t n = q->w[q->head].number;
	q->head = (q->head + 1) % q->size;
	q->n--;
	q->fresh--;
	return n;
}

static void give(struct queue *q, uint32_t number, uint64_t now_ns)
{
	/* seconds are cut off: one more */
	q->w[(q->head + q->n++) % q->size] =
		(struct waiting){ number, (uint32_t)(now_ns / NS_PER_S) + REPLAY_REST_S + 1 };
}

uint32_t export_table_free(bool v6, uint64_t now_ns)
{
	ripen(&queues[v6], (uint32_t)(now_ns / NS_PER_S));
	return queues[v6].fresh;
}

uint32_t export_table_resting(bool v6)
{
	return queues[v6].n - queues[v6].fresh;
}

uint32_t export_table_capacity(bool v6)
{
	return queues[v6].size ? queues[v6].size - 1 : 0;
}

/* ---- records ---- */

static void *at(bool v6, uint32_t n)
{
	return v6 ? (void *)&area.flow6[n] : (void *)&area.flow4[n];
}

const void *export_table_at(bool v6, uint32_t n)
{
	return at(v6, n);
}

struct replay_use *export_table_use(bool v6, uint32_t n)
{
	return v6 ? &area.flow6[n].use : &area.flow4[n].use;
}

static uint64_t hash_of(bool v6, uint32_t n)
{
	return v6 ? replay_hash6(area.conf->seed, &area.flow6[n].key)
		  : replay_hash4(area.conf->seed, &area.flow4[n].key);
}

/* The free way of bucket 'b', -1 when there is none or the tag is there already. */
static int free_way(const struct replay_bucket *b, uint32_t tag)
{
	int way = -1;
	for (int w = REPLAY_WAYS - 1; w >= 0; w--) {
		if (b->tag[w] == tag)
			return -1;
		if (!b->tag[w])
			way = w;
	}
	return way;
}

/* The way that names record 'idx'. */
static uint32_t *tag_of(uint64_t hash, uint32_t idx)
{
	for (unsigned i = 0; i < 2; i++) {
		struct replay_bucket *b = &area.index[replay_bucket(hash, area.conf->buckets, i)];
		for (unsigned w = 0; w < REPLAY_WAYS; w++)
			if (b->tag[w] == replay_tag(hash) && b->idx[w] == idx)
				return &b->tag[w];
	}
	return NULL;
}

/* Counts record by record who has the bit of 'hash'. */
static void filter_add(uint64_t hash)
{
	const uint32_t word = replay_filter_word(hash, area.conf->buckets);
	const uint64_t bit = replay_filter_bit(hash);
	uint8_t *n = &sharers[(size_t)word * FILTER_BITS + (unsigned)__builtin_ctzll(bit)];
	*n += *n < UINT8_MAX;
	STORE_RELEASE(&area.filter[word], area.filter[word] | bit);
}

static void filter_remove(uint64_t hash)
{
	const uint32_t word = replay_filter_word(hash, area.conf->buckets);
	const uint64_t bit = replay_filter_bit(hash);
	uint8_t *n = &sharers[(size_t)word * FILTER_BITS + (unsigned)__builtin_ctzll(bit)];
	if (*n < UINT8_MAX && --*n == 0)
		STORE_RELEASE(&area.filter[word], area.filter[word] & ~bit);
}

static bool link(bool v6, uint32_t n)
{
	const uint64_t hash = hash_of(v6, n);
	for (unsigned i = 0; i < 2; i++) {
		struct replay_bucket *b = &area.index[replay_bucket(hash, area.conf->buckets, i)];
		int w = free_way(b, replay_tag(hash));
		if (w < 0)
			continue;
		filter_add(hash);
		STORE_RELEASE(&b->idx[w], n | (v6 ? REPLAY_V6 : 0));
		STORE_RELEASE(&b->tag[w], replay_tag(hash));
		if (!linked++)
			set_flags();
		return true;
	}
	return false;
}

uint32_t export_table_insert(bool v6, const void *record, uint32_t owner, uint64_t now_ns)
{
	struct queue *q = &queues[v6];
	uint32_t n = take(q, now_ns);
	if (!n)
		return 0;
	const size_t use = v6 ? offsetof(struct replay_flow6, use) : offsetof(struct replay_flow4, use);
	struct replay_use *u = export_table_use(v6, n);
	memcpy(at(v6, n), record, use);
	*u = (struct replay_use){ .seen = REPLAY_SEEN_NOW(now_ns), .owner = owner, .stamp = u->stamp + 1 };
	if (link(v6, n))
		return n;
	/* nobody saw it: it goes back to the head, as ripe as it was */
	q->head = (q->head + q->size - 1) % q->size;
	q->w[q->head].number = n;
	q->n++;
	q->fresh++;
	return 0;
}

void export_table_stop(bool v6, uint32_t n)
{
	/* by the sum of now and not by what is stored, so that a second time does not undo the first */
	const uint16_t *dep = v6 ? area.flow6[n].dep : area.flow4[n].dep;
	STORE_RELEASE(v6 ? &area.flow6[n].gensum : &area.flow4[n].gensum, gen_sum(dep) ^ REPLAY_NEVER);
}

void export_table_remove(bool v6, uint32_t n, uint64_t now_ns)
{
	const uint64_t hash = hash_of(v6, n);
	uint32_t *tag = tag_of(hash, n | (v6 ? REPLAY_V6 : 0));
	export_table_stop(v6, n);
	if (tag) {
		STORE_RELEASE(tag, 0);
		filter_remove(hash);
		if (!--linked)
			set_flags();
	}
	give(&queues[v6], n, now_ns);
}

void export_table_set_flags(bool v6, uint32_t n, uint16_t flags)
{
	STORE_RELAXED(v6 ? &area.flow6[n].flags : &area.flow4[n].flags, flags);
}

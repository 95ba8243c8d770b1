/* SPDX-License-Identifier: BSD-2-Clause */
/* The hash engine, in three parts that can be used apart:
 *
 *  pool   fixed number of fixed-size entries named by index (0 is never used), in an arena. A state word per entry:
 *         FREE -> BUSY (taken by one thread) -> LIVE (published, stored last) -> DEAD (unlinked) -> FREE after a grace period.
 *         Free indices sit in per-thread caches over a shared stack; dead ones in per-thread limbo lists stamped with
 *         rcu_epoch(), so no worker ever waits for a grace period.
 *  index  one-line buckets of 10 16-bit tags + 10 32-bit entry indices; an alternate bucket is read only when the home
 *         bucket overflowed (layout and figures: flow core findings, docs/performance.md). Readers take no lock and never miss
 *         a present entry: displacement moves only from home to alternate, copy first. Every writer that inserts looks again
 *         under the bucket locks. Sized so that a full pool means 30-60 % load. Locks live in the buckets only.
 *  table  a pool + an index + the declared row (tables.def): key first in the entry, value behind it.
 *
 * Threads: 'slot' is the caller's thread slot, 0..THREADS-1; a slot is used by one thread at a time. Readers must be RCU
 * online; an index or pointer found stays good until the thread's next quiescent state. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/hash.h"
#include "tables/arena.h"

enum { WORKERS_MAX = 32, SLOT_CONTROL = WORKERS_MAX, THREADS = WORKERS_MAX + 1 };

/* ---- pool ---- */
enum pool_state { POOL_FREE = 0, POOL_BUSY = 1, POOL_LIVE = 2, POOL_DEAD = 3 };

struct pool_slot; /* per-thread cache and limbo */
struct pool {
	uint8_t *base;             /* entry i at base + i * entry_size */
	uint32_t entry_size;       /* bytes, multiple of 8 */
	uint32_t capacity;         /* usable entries; indices 1..capacity */
	uint8_t *state;            /* one byte an entry, in the arena */
	struct arena arena, lists; /* entries and states; stack and next */
	struct pool_slot *slots;
	uint32_t *stack; /* shared free stack, under a lock taken once per batch */
	uint32_t *next;  /* links of limbo lists: entry -> entry */
	uint32_t n_stack;
	uint32_t n_fresh; /* highest index ever taken: the rest needs no stack */
	uint32_t batch;   /* entries a thread keeps for itself, small for small pools */
	uint32_t lock;
};

int pool_open(struct pool *p, const char *name, uint32_t entry_size, uint32_t capacity, struct err *e);
void pool_close(struct pool *p);
/* A BUSY entry, its bytes as they were left (clear what you use); 0 when none is free. Ripe limbo entries are reused first. */
uint32_t pool_alloc(struct pool *p, unsigned slot);
/* BUSY -> LIVE, release: everything written before is visible to who finds it. */
void pool_publish(struct pool *p, uint32_t i);
/* BUSY -> FREE at once: nobody else ever saw it. */
void pool_abort(struct pool *p, unsigned slot, uint32_t i);
/* LIVE -> DEAD; free for reuse after a grace period. Unlink it from every index first. Once per entry: of several threads
 * that delete it, the one whose hidx_remove succeeded. May overtake the creator's pool_publish (then the entry stays DEAD). */
void pool_retire(struct pool *p, unsigned slot, uint32_t i);
/* Entries in use (LIVE or BUSY or in limbo): exact when threads are quiet. */
uint32_t pool_used(const struct pool *p);
/* Walk of LIVE entries in index order: for (i = pool_next(p, 0); i; i = pool_next(p, i)). Safe while others write. */
uint32_t pool_next(const struct pool *p, uint32_t after);
/* How a pool lies in its arena, for who reads a former process' one (tables/former.h): the layout hash, and where the
 * states begin, capacity + 1 bytes. */
uint64_t pool_layout(const char *name, uint32_t entry_size);
size_t pool_states_at(uint32_t entry_size, uint32_t capacity);
INLINE void *pool_at(const struct pool *p, uint32_t i)
{
	return p->base + (uint64_t)i * p->entry_size;
}
/* After entry 'i' was allocated: asks for the lines of the one that the thread will probably get next. A locked instruction
 * waits for every store before it, so a decision would otherwise pay for each fresh line in turn. */
INLINE void pool_prefetch_next(const struct pool *p, uint32_t i)
{
	uint32_t n = p->next[i]; /* of the reuse list; 0 for entries that were never used, which go upward */
	n = n ? n : i + 1;
	if (n <= p->capacity)
		__builtin_prefetch(pool_at(p, n), 1);
}
INLINE enum pool_state pool_state(const struct pool *p, uint32_t i)
{
	return (enum pool_state)LOAD_ACQUIRE(&p->state[i]);
}

/* ---- index ---- */
enum { BUCKET_SLOTS = 10 };
struct bucket {
	uint16_t tag[BUCKET_SLOTS]; /* 0 = free slot */
	uint32_t idx[BUCKET_SLOTS];
	uint8_t lock;
	uint8_t ovf; /* entries whose home is here that live in their alternate bucket (saturating at 255: then never cleared) */
	uint16_t alt; /* which slots hold a guest */
};
_Static_assert(sizeof(struct bucket) == 64, "one line");

/* A growing index starts with 1/64 of its buckets, so that few entries lie in few pages and lines, and takes more when one
 * does not find room at once: HIDX_LEVELS arrays, each HIDX_STEP times the one before. What lies in the lower ones is moved
 * up by hidx_grow(). A look-up goes upward from the lowest that may hold something to the highest; an entry is copied up
 * before it goes below, so it is never missed. It does not shrink. */
enum { HIDX_LEVELS = 3, HIDX_STEP = 8 };
struct hidx_level {
	struct bucket *b;
	uint64_t mask;
};
struct hidx {
	struct bucket *b; /* of all levels, the largest first */
	uint64_t mask;    /* of the largest */
	uint64_t n_buckets;
	struct hidx_level level[HIDX_LEVELS];
	uint32_t n_levels;
	uint32_t state;         /* lowest level in use | highest << 8; only grows */
	uint32_t moving;        /* lock of who moves, over the next three */
	uint32_t known;         /* state that he saw last, */
	uint64_t known_since;   /* and rcu_epoch() when he saw it first */
	uint64_t cursor;        /* buckets of the lowest level that are done */
	const uint8_t *entries; /* keys are the first key_len bytes of each entry */
	uint32_t entry_size, key_len;
	struct arena arena; /* always anonymous: rebuilt on adoption */
};

/* 'n' entries at most will be indexed. key_len is a multiple of 8. */
int hidx_open(struct hidx *h, uint32_t n, const void *entries, uint32_t entry_size, uint32_t key_len, struct err *e);
/* The same, growing. Its hashes must be hash_key() of the keys; writers must be RCU online. */
int hidx_open_growing(struct hidx *h, uint32_t n, const void *entries, uint32_t entry_size, uint32_t key_len,
		      struct err *e);
/* Moves what lies in the next 'n' buckets of the lowest level up, once a grace period after growth has passed. Any thread,
 * now and then; one at a time does it. True: there is more to do. */
bool hidx_grow(struct hidx *h, unsigned n);
void hidx_close(struct hidx *h);
/* Entry index or 0. 'hash' = hash_key(key, key_len). */
uint32_t hidx_find(const struct hidx *h, const void *key, uint64_t hash);
/* Links entry 'idx' under the key it holds. 0, -EEXIST with the present entry in '*present', -ENOSPC. */
int hidx_insert(struct hidx *h, uint64_t hash, uint32_t idx, uint32_t *present);
/* The entry 'old' is replaced by 'idx' (same key) with one store. -ENOENT when old is not linked. Not for an index that grows:
 * hidx_grow() would leave behind what is replaced between its look at a slot and the lock. */
int hidx_replace(struct hidx *h, uint64_t hash, uint32_t old, uint32_t idx);
int hidx_remove(struct hidx *h, uint64_t hash, uint32_t idx); /* 0 or -ENOENT */

/* The tags in lanes 0-9; the others are of no meaning. */
INLINE __m256i bucket_tags(const struct bucket *b)
{
#if WITH_TSAN /* it knows no atomic vectors and would call each one a race */
	uint16_t t[16] = { 0 };
	for (unsigned i = 0; i < BUCKET_SLOTS; i++)
		t[i] = LOAD_ACQUIRE(&b->tag[i]);
	return _mm256_loadu_si256((const void *)t);
#else
	return _mm256_load_si256((const void *)b->tag);
#endif
}
INLINE uint16_t hidx_tag(uint64_t hash)
{
	return (uint16_t)(hash >> 48) | 1;
}
/* Where to look first: good for a burst, as a guess. */
INLINE const struct hidx_level *hidx_lowest(const struct hidx *h)
{
	return &h->level[LOAD_ACQUIRE(&h->state) & 0xff];
}
INLINE void hidx_level_prefetch(const struct hidx_level *l, uint64_t hash)
{
	__builtin_prefetch(&l->b[hash & l->mask]);
}
INLINE void hidx_prefetch(const struct hidx *h, uint64_t hash)
{
	hidx_level_prefetch(hidx_lowest(h), hash);
}
/* First tag match of the home bucket, 0 if none: a guess that the caller confirms by comparing the key, falling back to
 * hidx_find. Entry 0 exists in every pool and matches no key: it is filled with 0xff. */
INLINE uint32_t hidx_level_first(const struct hidx_level *l, uint64_t hash)
{
	const struct bucket *b = &l->b[hash & l->mask];
	const __m256i want = _mm256_set1_epi16((short)hidx_tag(hash));
	uint32_t m = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(bucket_tags(b), want)) & 0xfffff;
	return m ? LOAD_ACQUIRE(&b->idx[(unsigned)__builtin_ctz(m) / 2]) : 0;
}
INLINE uint32_t hidx_first(const struct hidx *h, uint64_t hash)
{
	return hidx_level_first(hidx_lowest(h), hash);
}

/* ---- table ---- */
enum table_kind { TABLE_HASH, TABLE_LPM };
enum table_full { FULL_REFUSE, FULL_EVICT };
struct table_def {
	const char *name, *scope, *key_text, *value_text, *full_text, *help;
	enum table_kind kind;
	uint32_t capacity, key_size, value_size;
};
/* One enumerator a row of tables.def: TABLE_CT, TABLE_NAT ... and table_defs[]. */
enum table_id {
#define TABLE(sym, ...) TABLE_##sym,
#include "tables/tables.def"
#undef TABLE
	TABLES
};
extern const struct table_def table_defs[TABLES];
/* NULL when there is no table of that name. */
const struct table_def *table_def_by_name(const char *name);

struct table {
	const char *name;
	struct pool pool;
	struct hidx idx;
	uint32_t key_size, value_size;
	uint32_t
		capacity; /* entries accepted; the pool has some more, so that a full table can replace and delete + insert */
	uint32_t count; /* atomic */
};

/* 'capacity' 0: the row's default. key_size and value_size are rounded up to 8 by the caller's struct (asserted). */
int table_open(struct table *t, const char *name, uint32_t capacity, uint32_t key_size, uint32_t value_size,
	       struct err *e);
void table_close(struct table *t);
uint32_t table_find(const struct table *t, const void *key); /* index or 0 */
INLINE void *table_key(const struct table *t, uint32_t i)
{
	return pool_at(&t->pool, i);
}
INLINE void *table_value(const struct table *t, uint32_t i)
{
	return (uint8_t *)pool_at(&t->pool, i) + t->key_size;
}
/* 'value' NULL: zeroes.
 * Insert if absent. 0 with the new index, -EEXIST with the present one, -ENOSPC. 'index' may be NULL. */
int table_insert(struct table *t, unsigned slot, const void *key, const void *value, uint32_t *index);
/* Insert or replace the whole value: readers see the old or the new entry, never a mix. */
int table_set(struct table *t, unsigned slot, const void *key, const void *value, uint32_t *index);
int table_delete(struct table *t, unsigned slot, const void *key); /* 0 or -ENOENT */
uint32_t table_count(const struct table *t);
/* LIVE entries from index 'from' on: for (i = table_next(t, 0); i; i = table_next(t, i)). Safe while others write. */
uint32_t table_next(const struct table *t, uint32_t after);

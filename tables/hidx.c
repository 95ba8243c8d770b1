/* SPDX-License-Identifier: BSD-2-Clause */
/* The bucket index: keys to entry numbers. Any thread reads without a lock, any thread writes.
 *
 * Every change of a key happens under the lock of its home bucket; a slot of a bucket changes under that bucket's lock.
 * So the holder of the home lock may read the alternate bucket as a reader does and knows that its key stays put.
 * Two locks are taken in address order, further ones (displacement) only by try-lock.
 * Displacement moves an entry only from its home to its alternate bucket, the copy first and the mark 'ovf' before it:
 * a reader, who looks in that order, cannot miss it. Moving guests back as well would gain less than 1 % of load (first
 * refusal at 97.5 % instead of 98.3 %), but a reader would now and then miss a present entry, and a longest prefix
 * match, which takes a miss for an answer, could not repair that. */
#include <errno.h>
#include <sched.h>

#include "fwd/base/rcu.h"
#include "tables/table.h"

enum {
	FILL_NUM = 6,     /* entries a bucket when full: 60 % of its slots at most */
	OVF_MAX = 255,    /* saturated */
	SPINS = 200,      /* then the lock holder is not running: yield */
	PUT_RETRIES = 100 /* after a lost try-lock */
};

/* ---- levels ---- */
INLINE unsigned lowest(uint32_t state)
{
	return state & 0xff;
}
INLINE unsigned highest(uint32_t state)
{
	return state >> 8;
}
INLINE bool is_state(const struct hidx *h, uint32_t state)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(&h->state) == state;
}

/* Slots as a bit mask: bit 2 * slot, as movemask of 16-bit lanes leaves it. */
INLINE uint32_t match(const struct bucket *b, uint16_t tag)
{
	__m256i v = bucket_tags(b);
	uint32_t m = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(v, _mm256_set1_epi16((short)tag)));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return m & 0x55555;
}

INLINE unsigned slot_of(uint32_t m)
{
	return (unsigned)__builtin_ctz(m) / 2;
}

INLINE uint64_t other(const struct hidx_level *l, uint64_t bucket, uint16_t tag)
{
	return bucket ^ (((uint64_t)(tag >> 1) * 0x5bd1e995 | 1) & l->mask);
}

INLINE bool key_eq(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint64_t d = ld64(a) ^ ld64(b);
	for (uint32_t i = 8; i < len; i += 8) {
		d |= ld64(a + i) ^ ld64(b + i);
		__asm__("" : "+r"(d)); /* two to five words: not worth the vectors that gcc would make of it */
	}
	return d == 0;
}

INLINE const uint8_t *entry_key(const struct hidx *h, uint32_t i)
{
	return h->entries + (uint64_t)i * h->entry_size;
}

/* Entry of bucket 'b' with this key, or 0. */
INLINE uint32_t search(const struct hidx *h, const struct bucket *b, uint16_t tag, const uint8_t *key)
{
	for (uint32_t m = match(b, tag); m; m &= m - 1) {
		uint32_t i = LOAD_ACQUIRE(&b->idx[slot_of(m)]);
		if (i && key_eq(entry_key(h, i), key, h->key_len))
			return i;
	}
	return 0;
}

INLINE uint32_t find_in(const struct hidx *h, const struct hidx_level *l, const void *key, uint64_t hash)
{
	uint64_t home = hash & l->mask;
	uint16_t tag = hidx_tag(hash);
	uint32_t i = search(h, &l->b[home], tag, key);

	/* 'ovf' after the tags: see the head of this file */
	if (likely(i || !LOAD_ACQUIRE(&l->b[home].ovf)))
		return i;
	return search(h, &l->b[other(l, home, tag)], tag, key);
}

static uint32_t __attribute__((noinline)) find_in_all(const struct hidx *h, const void *key, uint64_t hash)
{
	for (;;) {
		const uint32_t s = LOAD_ACQUIRE(&h->state);
		for (unsigned k = lowest(s); k <= highest(s); k++) {
			uint32_t i = find_in(h, &h->level[k], key, hash);
			if (i)
				return i;
		}
		/* what was moved up meanwhile may have been missed only if there is a level more than we saw */
		if (likely(is_state(h, s)))
			return 0;
	}
}

/* A present key is mostly the first match of its home bucket on the lowest level; else all is looked at. */
uint32_t hidx_find(const struct hidx *h, const void *key, uint64_t hash)
{
	const uint32_t s = LOAD_ACQUIRE(&h->state);
	const struct hidx_level *l = &h->level[lowest(s)];
	const struct bucket *b = &l->b[hash & l->mask];
	const uint32_t m = match(b, hidx_tag(hash));

	if (likely(m)) {
		uint32_t i = LOAD_ACQUIRE(&b->idx[slot_of(m)]);
		if (likely(i && key_eq(entry_key(h, i), key, h->key_len)))
			return i;
	} else if (likely(lowest(s) == highest(s) && !LOAD_ACQUIRE(&b->ovf) && is_state(h, s))) {
		return 0;
	}
	return find_in_all(h, key, hash);
}

static bool trylock(struct bucket *b)
{
	return !LOAD_RELAXED(&b->lock) && !__atomic_exchange_n(&b->lock, 1, __ATOMIC_ACQUIRE);
}

static void lock(struct bucket *b)
{
	for (unsigned n = 0; !trylock(b); n++) {
		if (n < SPINS)
			_mm_pause();
		else
			sched_yield();
	}
}

static void unlock(struct bucket *b)
{
	STORE_RELEASE(&b->lock, 0);
}

/* Holds both on return; 'home' is held on entry and may be let go for a moment. */
static void lock_other(struct bucket *home, struct bucket *alt)
{
	if (alt > home) {
		lock(alt);
		return;
	}
	unlock(home);
	lock(alt);
	lock(home);
}

/* The slot that holds (tag, idx), or -1. */
static int slot_find(const struct bucket *b, uint16_t tag, uint32_t idx)
{
	for (uint32_t m = match(b, tag); m; m &= m - 1)
		if (LOAD_RELAXED(&b->idx[slot_of(m)]) == idx)
			return (int)slot_of(m);
	return -1;
}

static int slot_free(const struct bucket *b)
{
	uint32_t m = match(b, 0);
	return m ? (int)slot_of(m) : -1;
}

static void slot_put(struct bucket *b, int slot, uint16_t tag, uint32_t idx, bool guest)
{
	b->alt = (uint16_t)((b->alt & ~(1u << slot)) | (unsigned)guest << slot);
	STORE_RELEASE(&b->idx[slot], idx); /* a reader may come by the tag that was here before */
	STORE_RELEASE(&b->tag[slot], tag);
}

static void slot_clear(struct bucket *b, int slot)
{
	b->alt = (uint16_t)(b->alt & ~(1u << slot));
	STORE_RELEASE(&b->tag[slot], 0);
}

static void ovf_add(struct bucket *home)
{
	if (home->ovf < OVF_MAX)
		STORE_RELEASE(&home->ovf, (uint8_t)(home->ovf + 1));
}

static void ovf_sub(struct bucket *home)
{
	if (home->ovf < OVF_MAX)
		STORE_RELEASE(&home->ovf, (uint8_t)(home->ovf - 1));
}

struct held {
	struct bucket *b[3]; /* locked by this insertion */
	unsigned n;
	bool contended; /* a try-lock was lost */
};

static bool is_held(const struct held *k, const struct bucket *b)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->b[i] == b)
			return true;
	return false;
}

/* Frees a slot of the locked bucket 'x' by moving one of its home entries to that one's alternate bucket, which may
 * make room in the same way 'depth' levels deep. The slot, or -1. */
static int make_room(const struct hidx_level *l, struct bucket *x, struct held *held, unsigned depth)
{
	for (int i = 0; i < BUCKET_SLOTS; i++) {
		if (x->alt >> i & 1)
			continue;
		struct bucket *y = &l->b[other(l, (uint64_t)(x - l->b), x->tag[i])];
		if (is_held(held, y))
			continue; /* full, else the caller had used it */
		if (!trylock(y)) {
			held->contended = true;
			continue;
		}
		int f = slot_free(y);
		if (f < 0 && depth) {
			held->b[held->n++] = y;
			f = make_room(l, y, held, depth - 1);
			held->n--;
		}
		if (f >= 0) {
			ovf_add(x);
			slot_put(y, f, x->tag[i], x->idx[i], true);
			slot_clear(x, i);
		}
		unlock(y);
		if (f >= 0)
			return i;
	}
	return -1;
}

/* Both buckets are locked and the home bucket is full. */
static int put_crowded(const struct hidx_level *l, struct bucket *home, struct bucket *alt, uint16_t tag, uint32_t idx)
{
	struct held held = { .b = { home, alt }, .n = 2 };
	int s = slot_free(alt);

	for (unsigned depth = 0; s < 0 && depth < 2; depth++) {
		s = make_room(l, home, &held, depth);
		if (s >= 0) {
			slot_put(home, s, tag, idx, false);
			return 0;
		}
		s = make_room(l, alt, &held, depth);
	}
	if (s < 0)
		return held.contended ? -EAGAIN : -ENOSPC;
	ovf_add(home);
	slot_put(alt, s, tag, idx, true);
	return 0;
}

/* One more level for what comes from now on. */
static void start_growing(struct hidx *h, uint32_t state)
{
	__atomic_compare_exchange_n(&h->state, &state, state + 0x100, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* One attempt on level 'k': -EAGAIN when another writer was in the way, -ESTALE when the state is not 's' any more. */
static int put(struct hidx *h, uint32_t s, unsigned k, uint64_t hash, uint32_t idx, uint32_t *present)
{
	const struct hidx_level *l = &h->level[k];
	const uint8_t *key = entry_key(h, idx);
	uint16_t tag = hidx_tag(hash);
	struct bucket *home = &l->b[hash & l->mask];
	struct bucket *alt = &l->b[other(l, hash & l->mask, tag)];
	bool both = false;
	int r, slot;

	lock(home);
	for (;;) {
		if (!is_state(h, s)) {
			r = -ESTALE;
			break;
		}
		uint32_t i = search(h, home, tag, key);
		if (!i && home->ovf)
			i = search(h, alt, tag, key);
		if (i) {
			*present = i;
			r = -EEXIST;
			break;
		}
		slot = slot_free(home);
		if (slot >= 0) {
			slot_put(home, slot, tag, idx, false);
			r = 0;
			break;
		}
		if (both && k + 1 < h->n_levels && slot_free(alt) < 0) {
			start_growing(h, s);
			r = -ESTALE;
			break;
		}
		if (both) {
			r = put_crowded(l, home, alt, tag, idx);
			break;
		}
		lock_other(home, alt); /* the home lock may have been let go: look again */
		both = true;
	}
	if (both)
		unlock(alt);
	unlock(home);
	return r;
}

/* Holder of the key in level 'k', which gets no new ones: absent once is absent for good. */
static uint32_t present_below(const struct hidx *h, unsigned k, uint64_t hash, const uint8_t *key)
{
	const struct hidx_level *l = &h->level[k];
	struct bucket *home = &l->b[hash & l->mask];

	lock(home);
	uint32_t i = find_in(h, l, key, hash);
	unlock(home);
	return i;
}

/* Into the highest level, if the key is in none. */
static int put_new(struct hidx *h, uint64_t hash, uint32_t idx, uint32_t *present)
{
	const uint32_t s = LOAD_ACQUIRE(&h->state);

	for (unsigned k = lowest(s); k < highest(s); k++)
		if ((*present = present_below(h, k, hash, entry_key(h, idx))))
			return -EEXIST;
	return put(h, s, highest(s), hash, idx, present);
}

int hidx_insert(struct hidx *h, uint64_t hash, uint32_t idx, uint32_t *present)
{
	uint32_t dummy;
	for (unsigned n = 0; n < PUT_RETRIES;) {
		int r = put_new(h, hash, idx, present ? present : &dummy);
		if (r == -ESTALE)
			continue;
		if (r != -EAGAIN)
			return r;
		n++;
		_mm_pause();
	}
	return -ENOSPC;
}

static int replace_in(struct hidx *h, unsigned k, uint64_t hash, uint32_t old, uint32_t idx)
{
	const struct hidx_level *l = &h->level[k];
	uint16_t tag = hidx_tag(hash);
	struct bucket *b = &l->b[hash & l->mask], *home = b;

	lock(home);
	int s = slot_find(b, tag, old);
	if (s < 0 && home->ovf) {
		/* a guest stays where it is while its home is locked */
		b = &l->b[other(l, hash & l->mask, tag)];
		s = slot_find(b, tag, old);
	}
	if (s >= 0)
		STORE_RELEASE(&b->idx[s], idx);
	unlock(home);
	return s >= 0 ? 0 : -ENOENT;
}

/* Takes it out of level 'k'; with 'up' it is linked in the highest level of 's' first, whose error is the result. */
static int take_out(struct hidx *h, unsigned k, uint64_t hash, uint32_t idx, bool up, uint32_t s)
{
	const struct hidx_level *l = &h->level[k];
	uint16_t tag = hidx_tag(hash);
	struct bucket *home = &l->b[hash & l->mask];
	struct bucket *alt = &l->b[other(l, hash & l->mask, tag)], *at = home;
	uint32_t present;
	bool both = false;
	int r = -ENOENT;

	lock(home);
	int slot = slot_find(home, tag, idx);
	if (slot < 0 && home->ovf) {
		lock_other(home, alt);
		both = true;
		slot = slot_find(home, tag, idx);
		if (slot < 0) {
			at = alt;
			slot = slot_find(alt, tag, idx);
		}
	}
	if (slot >= 0)
		r = up ? put(h, s, highest(s), hash, idx, &present) : 0;
	if (slot >= 0 && !r) {
		slot_clear(at, slot);
		if (at == alt)
			ovf_sub(home);
	}
	if (both)
		unlock(alt);
	unlock(home);
	return r;
}

/* The two below go upward, as entries do: what was moved meanwhile is met on a higher level, or there is one more. */
int hidx_replace(struct hidx *h, uint64_t hash, uint32_t old, uint32_t idx)
{
	for (;;) {
		const uint32_t s = LOAD_ACQUIRE(&h->state);
		for (unsigned k = lowest(s); k <= highest(s); k++)
			if (!replace_in(h, k, hash, old, idx))
				return 0;
		if (is_state(h, s))
			return -ENOENT;
	}
}

int hidx_remove(struct hidx *h, uint64_t hash, uint32_t idx)
{
	for (;;) {
		const uint32_t s = LOAD_ACQUIRE(&h->state);
		for (unsigned k = lowest(s); k <= highest(s); k++)
			if (!take_out(h, k, hash, idx, false, s))
				return 0;
		if (is_state(h, s))
			return -ENOENT;
	}
}

/* All entries in bucket 'b' of the lowest level, guests too. False: not now. */
static bool move_up(struct hidx *h, uint32_t s, const struct bucket *b)
{
	for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
		if (!LOAD_ACQUIRE(&b->tag[i]))
			continue;
		/* an entry that was unlinked meanwhile keeps its key for a grace period */
		const uint32_t idx = LOAD_ACQUIRE(&b->idx[i]);
		int r = take_out(h, lowest(s), hash_key(entry_key(h, idx), h->key_len), idx, true, s);
		if (r && r != -ENOENT)
			return false;
	}
	return true;
}

/* Nothing is moved before all are done who do not know the state yet: they may still put entries into a lower level, or
 * displace some there. */
static bool may_move(struct hidx *h, uint32_t s)
{
	const uint64_t now = rcu_epoch();

	if (h->known != s) {
		h->known = s;
		h->known_since = now;
	}
	if (now >= h->known_since + 2)
		return true;
	rcu_request();
	return false;
}

bool hidx_grow(struct hidx *h, unsigned n)
{
	uint32_t s = LOAD_ACQUIRE(&h->state);

	if (likely(lowest(s) == highest(s)))
		return false;
	if (__atomic_exchange_n(&h->moving, 1, __ATOMIC_ACQUIRE))
		return true;
	const struct hidx_level *l = &h->level[lowest(s)];
	/* the state is as it was: the last who held the lock may have gone on to the next level */
	if (is_state(h, s) && may_move(h, s)) {
		for (; n && h->cursor <= l->mask && move_up(h, s, &l->b[h->cursor]); n--)
			h->cursor++;
		if (h->cursor > l->mask &&
		    __atomic_compare_exchange_n(&h->state, &s, s + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			h->cursor = 0;
	}
	STORE_RELEASE(&h->moving, 0);
	return true;
}

static int open_levels(struct hidx *h, uint32_t n, unsigned levels, const void *entries, uint32_t entry_size,
		       uint32_t key_len, struct err *e)
{
	uint64_t buckets = 2; /* alternate and home differ */

	while (buckets * FILL_NUM < n)
		buckets *= 2;
	*h = (struct hidx){ .mask = buckets - 1, .entries = entries, .entry_size = entry_size, .key_len = key_len };
	for (uint64_t k = buckets; h->n_levels < levels && k >= 2; k /= HIDX_STEP) {
		h->n_levels++;
		h->n_buckets += k;
	}
	int r = arena_open(&h->arena, NULL, 0, buckets, h->n_buckets * sizeof(struct bucket), e);
	struct bucket *b = h->b = r ? NULL : h->arena.base;
	for (unsigned k = h->n_levels; k-- > 0 && b; buckets /= HIDX_STEP) {
		h->level[k] = (struct hidx_level){ b, buckets - 1 };
		b += buckets;
	}
	return r;
}

int hidx_open(struct hidx *h, uint32_t n, const void *entries, uint32_t entry_size, uint32_t key_len, struct err *e)
{
	return open_levels(h, n, 1, entries, entry_size, key_len, e);
}

int hidx_open_growing(struct hidx *h, uint32_t n, const void *entries, uint32_t entry_size, uint32_t key_len,
		      struct err *e)
{
	return open_levels(h, n, HIDX_LEVELS, entries, entry_size, key_len, e);
}

void hidx_close(struct hidx *h)
{
	if (!h || !h->b)
		return;
	arena_close(&h->arena);
	h->b = NULL;
}

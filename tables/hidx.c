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

#include "tables/table.h"

enum {
	FILL_NUM = 6,     /* entries a bucket when full: 60 % of its slots at most */
	OVF_MAX = 255,    /* saturated */
	SPINS = 200,      /* then the lock holder is not running: yield */
	PUT_RETRIES = 100 /* after a lost try-lock */
};

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

INLINE uint64_t other(const struct hidx *h, uint64_t bucket, uint16_t tag)
{
	return bucket ^ (((uint64_t)(tag >> 1) * 0x5bd1e995 | 1) & h->mask);
}

INLINE bool key_eq(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint64_t d = 0;
	if (len == 16)
		return ((ld64(a) ^ ld64(b)) | (ld64(a + 8) ^ ld64(b + 8))) == 0;
	for (; len; len -= 8, a += 8, b += 8)
		d |= ld64(a) ^ ld64(b);
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

uint32_t hidx_find(const struct hidx *h, const void *key, uint64_t hash)
{
	uint64_t home = hash & h->mask;
	uint16_t tag = hidx_tag(hash);
	uint32_t i = search(h, &h->b[home], tag, key);

	/* 'ovf' after the tags: see the head of this file */
	if (likely(i || !LOAD_ACQUIRE(&h->b[home].ovf)))
		return i;
	return search(h, &h->b[other(h, home, tag)], tag, key);
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
static int make_room(const struct hidx *h, struct bucket *x, struct held *held, unsigned depth)
{
	for (int i = 0; i < BUCKET_SLOTS; i++) {
		if (x->alt >> i & 1)
			continue;
		struct bucket *y = &h->b[other(h, (uint64_t)(x - h->b), x->tag[i])];
		if (is_held(held, y))
			continue; /* full, else the caller had used it */
		if (!trylock(y)) {
			held->contended = true;
			continue;
		}
		int f = slot_free(y);
		if (f < 0 && depth) {
			held->b[held->n++] = y;
			f = make_room(h, y, held, depth - 1);
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
static int put_crowded(const struct hidx *h, struct bucket *home, struct bucket *alt, uint16_t tag, uint32_t idx)
{
	struct held held = { .b = { home, alt }, .n = 2 };
	int s = slot_free(alt);

	for (unsigned depth = 0; s < 0 && depth < 2; depth++) {
		s = make_room(h, home, &held, depth);
		if (s >= 0) {
			slot_put(home, s, tag, idx, false);
			return 0;
		}
		s = make_room(h, alt, &held, depth);
	}
	if (s < 0)
		return held.contended ? -EAGAIN : -ENOSPC;
	ovf_add(home);
	slot_put(alt, s, tag, idx, true);
	return 0;
}

/* One attempt: -EAGAIN when another writer was in the way. */
static int put(const struct hidx *h, uint64_t hash, uint32_t idx, uint32_t *present)
{
	const uint8_t *key = entry_key(h, idx);
	uint16_t tag = hidx_tag(hash);
	struct bucket *home = &h->b[hash & h->mask];
	struct bucket *alt = &h->b[other(h, hash & h->mask, tag)];
	bool both = false;
	int r, s;

	lock(home);
	for (;;) {
		uint32_t i = search(h, home, tag, key);
		if (!i && home->ovf)
			i = search(h, alt, tag, key);
		if (i) {
			*present = i;
			r = -EEXIST;
			break;
		}
		s = slot_free(home);
		if (s >= 0) {
			slot_put(home, s, tag, idx, false);
			r = 0;
			break;
		}
		if (both) {
			r = put_crowded(h, home, alt, tag, idx);
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

int hidx_insert(struct hidx *h, uint64_t hash, uint32_t idx, uint32_t *present)
{
	uint32_t dummy;
	for (unsigned n = 0; n < PUT_RETRIES; n++) {
		int r = put(h, hash, idx, present ? present : &dummy);
		if (r != -EAGAIN)
			return r;
		_mm_pause();
	}
	return -ENOSPC;
}

int hidx_replace(struct hidx *h, uint64_t hash, uint32_t old, uint32_t idx)
{
	uint16_t tag = hidx_tag(hash);
	struct bucket *b = &h->b[hash & h->mask], *home = b;

	lock(home);
	int s = slot_find(b, tag, old);
	if (s < 0 && home->ovf) {
		/* a guest stays where it is while its home is locked */
		b = &h->b[other(h, hash & h->mask, tag)];
		s = slot_find(b, tag, old);
	}
	if (s >= 0)
		STORE_RELEASE(&b->idx[s], idx);
	unlock(home);
	return s >= 0 ? 0 : -ENOENT;
}

int hidx_remove(struct hidx *h, uint64_t hash, uint32_t idx)
{
	uint16_t tag = hidx_tag(hash);
	struct bucket *home = &h->b[hash & h->mask];
	struct bucket *alt = &h->b[other(h, hash & h->mask, tag)];
	bool both = false, found;

	lock(home);
	int s = slot_find(home, tag, idx);
	if (s < 0 && home->ovf) {
		lock_other(home, alt);
		both = true;
		s = slot_find(home, tag, idx);
	}
	found = s >= 0;
	if (found)
		slot_clear(home, s);
	if (both) {
		s = found ? -1 : slot_find(alt, tag, idx);
		if (s >= 0) {
			slot_clear(alt, s);
			ovf_sub(home);
			found = true;
		}
		unlock(alt);
	}
	unlock(home);
	return found ? 0 : -ENOENT;
}

int hidx_open(struct hidx *h, uint32_t n, const void *entries, uint32_t entry_size, uint32_t key_len, struct err *e)
{
	uint64_t buckets = 2; /* alternate and home differ */

	while (buckets * FILL_NUM < n)
		buckets *= 2;
	*h = (struct hidx){ .mask = buckets - 1, .entries = entries, .entry_size = entry_size, .key_len = key_len };
	int r = arena_open(&h->arena, NULL, 0, buckets, buckets * sizeof(struct bucket), e);
	h->b = r ? NULL : h->arena.base;
	return r;
}

void hidx_close(struct hidx *h)
{
	if (!h || !h->b)
		return;
	arena_close(&h->arena);
	h->b = NULL;
}

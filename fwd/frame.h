/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames: one area of 2048-byte chunks for the whole process, the UMEM of every AF_XDP socket; behind it fewer big frames of
 * 16 KiB, ordinary memory, for packets that no chunk holds. A frame is named by any pointer into it. Each thread has a cache;
 * caches trade slabs with shared, locked stacks. No allocation after start. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/util.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif

enum { FRAME_SIZE = 2048, FRAME_HEADROOM = 256, FRAME_ROOM = FRAME_SIZE - FRAME_HEADROOM, FRAME_CACHE = 512 };
enum {
	BIG_SIZE = 16384,
	BIG_ROOM = BIG_SIZE - FRAME_HEADROOM,
	BIG_CACHE = 16,
	BIG_SHARE = 64 /* chunks a big frame */
};

struct frame_area {
	uint8_t *base;
	size_t size;
	uint32_t n, n_big;
};
extern struct frame_area frame_area; /* 'base' and 'size' are of the chunks; big frames follow */

struct frame_cache {
	uint32_t n;
	uint8_t *f[FRAME_CACHE];
	uint32_t n_big;
	uint8_t *big[BIG_CACHE];
};

/* 'n' chunks, on huge pages when there are some, and n / BIG_SHARE big frames, 16 at least. */
int frames_init(uint32_t n, struct err *e);
void frames_fini(void);
INLINE bool frame_is_big(const void *p)
{
	return (size_t)((const uint8_t *)p - frame_area.base) >= frame_area.size;
}
INLINE size_t frame_size(const void *p)
{
	return frame_is_big(p) ? BIG_SIZE : FRAME_SIZE;
}
INLINE uint8_t *frame_start(const void *p)
{
	size_t off = (size_t)((const uint8_t *)p - frame_area.base);
	return frame_area.base + (off & ~(frame_size(p) - 1));
}
/* Under ASan the bytes behind a received frame are poisoned (mem ports), so that a read past its end is seen. */
INLINE void frame_poison_tail(uint8_t *data, uint32_t len)
{
	uint8_t *end = frame_start(data) + frame_size(data);
	(void)end, (void)len;
#ifdef ASAN_POISON_MEMORY_REGION
	ASAN_POISON_MEMORY_REGION(data + len, (size_t)(end - (data + len)));
#endif
}
INLINE void frame_unpoison(uint8_t *p)
{
	(void)p;
#ifdef ASAN_UNPOISON_MEMORY_REGION
	ASAN_UNPOISON_MEMORY_REGION(frame_start(p), frame_size(p));
#endif
}
/* First byte of a chunk's payload room (chunk start + FRAME_HEADROOM), or NULL when none is free. */
uint8_t *frame_get_slow(struct frame_cache *c);
INLINE uint8_t *frame_get(struct frame_cache *c)
{
	uint8_t *f = likely(c->n) ? c->f[--c->n] : frame_get_slow(c);
	if (f)
		frame_unpoison(f);
	return f;
}
/* The same for a big frame, of BIG_ROOM bytes. */
uint8_t *frame_get_big(struct frame_cache *c);
/* One that holds 'len' bytes; 'len' <= BIG_ROOM. */
INLINE uint8_t *frame_get_for(struct frame_cache *c, uint32_t len)
{
	return likely(len <= FRAME_ROOM) ? frame_get(c) : frame_get_big(c);
}
void frame_put_big(struct frame_cache *c, const void *p);
void frame_cache_spill(struct frame_cache *c); /* a full cache gives back its older half */
INLINE void frame_put(struct frame_cache *c, const void *p)
{
	if (unlikely(frame_is_big(p))) {
		frame_put_big(c, p);
		return;
	}
	if (unlikely(c->n == FRAME_CACHE))
		frame_cache_spill(c);
	c->f[c->n++] = frame_start(p) + FRAME_HEADROOM;
}
/* Gives everything back to the shared stack (a thread ends). */
void frame_cache_flush(struct frame_cache *c);
/* In the shared stacks; exact when threads are quiet. */
uint32_t frames_free(void);
uint32_t frames_big_free(void);
/* Room in front of 'p' inside its chunk. */
INLINE size_t frame_headroom(const void *p)
{
	return (size_t)((const uint8_t *)p - frame_start(p));
}
INLINE size_t frame_tailroom(const void *end)
{
	const uint8_t *last = (const uint8_t *)end - 1;
	return (size_t)(frame_start(last) + frame_size(last) - (const uint8_t *)end);
}

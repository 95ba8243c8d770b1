/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames: one area of 2048-byte chunks for the whole process, the UMEM of every AF_XDP socket. A chunk is named by any
 * pointer into it. Each thread has a cache; caches trade slabs with a shared, locked stack. No allocation after start. */
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

struct frame_area {
	uint8_t *base;
	size_t size;
	uint32_t n;
};
extern struct frame_area frame_area;

struct frame_cache {
	uint32_t n;
	uint8_t *f[FRAME_CACHE];
};

/* 'n' chunks, on huge pages when there are some. */
int frames_init(uint32_t n, struct err *e);
void frames_fini(void);
INLINE uint8_t *frame_start(const void *p)
{
	size_t off = (size_t)((const uint8_t *)p - frame_area.base);
	return frame_area.base + (off & ~(size_t)(FRAME_SIZE - 1));
}
/* Under ASan the bytes behind a received frame are poisoned (mem ports), so that a read past its end is seen. */
INLINE void frame_poison_tail(uint8_t *data, uint32_t len)
{
	uint8_t *end = frame_start(data) + FRAME_SIZE;
	(void)end, (void)len;
#ifdef ASAN_POISON_MEMORY_REGION
	ASAN_POISON_MEMORY_REGION(data + len, (size_t)(end - (data + len)));
#endif
}
INLINE void frame_unpoison(uint8_t *p)
{
	(void)p;
#ifdef ASAN_UNPOISON_MEMORY_REGION
	ASAN_UNPOISON_MEMORY_REGION(frame_start(p), FRAME_SIZE);
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
void frame_cache_spill(struct frame_cache *c); /* a full cache gives back its older half */
INLINE void frame_put(struct frame_cache *c, const void *p)
{
	if (unlikely(c->n == FRAME_CACHE))
		frame_cache_spill(c);
	c->f[c->n++] = frame_start(p) + FRAME_HEADROOM;
}
/* Gives everything back to the shared stack (a thread ends). */
void frame_cache_flush(struct frame_cache *c);
uint32_t frames_free(void); /* in the shared stack; exact when threads are quiet */
/* Room in front of 'p' inside its chunk. */
INLINE size_t frame_headroom(const void *p)
{
	return (size_t)((const uint8_t *)p - frame_start(p));
}
INLINE size_t frame_tailroom(const void *end)
{
	return (size_t)(frame_start((const uint8_t *)end - 1) + FRAME_SIZE - (const uint8_t *)end);
}

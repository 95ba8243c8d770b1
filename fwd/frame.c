/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame area and the shared stacks of free frames. Any thread, through its own cache; the lock is taken once per half
 * cache. Everything is a stack: the chunk freed last is used next, while its lines are still warm. */
#include "fwd/frame.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_SIZE = 2 * 1024 * 1024, TRADE = FRAME_CACHE / 2, BIG_TRADE = BIG_CACHE / 2, BIG_LEAST = 16 };

struct frame_area frame_area;

static struct {
	pthread_mutex_t lock;
	uint8_t **f, **big;
	uint32_t n, n_big;
	void *map;
	size_t map_size;
} stack = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Huge pages that somebody set aside, else memory aligned so that the kernel may back it with transparent ones. The first
 * 'ready' bytes are backed at once, the rest when it is used. */
static uint8_t *map_area(size_t size, size_t ready)
{
	stack.map_size = size;
	stack.map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
			 -1, 0);
	if (stack.map != MAP_FAILED)
		return stack.map;
	stack.map_size = size + HUGE_SIZE;
	stack.map = mmap(NULL, stack.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack.map == MAP_FAILED)
		return NULL;
	uint8_t *base = (uint8_t *)ALIGN_UP((uintptr_t)stack.map, HUGE_SIZE);
	madvise(base, ready, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
	madvise(base, ready, MADV_POPULATE_WRITE);
#endif
	return base;
}

static uint8_t *chunk(uint32_t i)
{
	return frame_area.base + (size_t)i * FRAME_SIZE + FRAME_HEADROOM;
}

static uint8_t *big(uint32_t i)
{
	return frame_area.base + frame_area.size + (size_t)i * BIG_SIZE + FRAME_HEADROOM;
}

int frames_init(uint32_t n, struct err *e)
{
	const uint32_t n_big = n / BIG_SHARE > BIG_LEAST ? n / BIG_SHARE : BIG_LEAST;
	const size_t size = ALIGN_UP((size_t)n * FRAME_SIZE, HUGE_SIZE);
	const size_t all = ALIGN_UP(size + (size_t)n_big * BIG_SIZE, HUGE_SIZE);
	stack.f = calloc(n, sizeof(*stack.f));
	stack.big = calloc(n_big, sizeof(*stack.big));
	uint8_t *base = stack.f && stack.big ? map_area(all, size) : NULL;
	if (!base) {
		free(stack.f);
		free(stack.big);
		stack.f = stack.big = NULL;
		return err_set(e, -ENOMEM, "no memory for %u frames (%zu MiB): fewer ports or queues, or more memory",
			       n, all >> 20);
	}
	frame_area = (struct frame_area){ .base = base, .size = size, .n = n, .n_big = n_big };
	for (uint32_t i = n; i-- > 0;)
		stack.f[stack.n++] = chunk(i);
	for (uint32_t i = n_big; i-- > 0;)
		stack.big[stack.n_big++] = big(i);
	return 0;
}

void frames_fini(void)
{
	if (!frame_area.base)
		return;
	for (uint32_t i = 0; i < frame_area.n; i++)
		frame_unpoison(chunk(i));
	for (uint32_t i = 0; i < frame_area.n_big; i++)
		frame_unpoison(big(i));
	munmap(stack.map, stack.map_size);
	free(stack.f);
	free(stack.big);
	stack.f = stack.big = NULL;
	stack.n = stack.n_big = 0;
	frame_area = (struct frame_area){ 0 };
}

uint8_t *frame_get_slow(struct frame_cache *c)
{
	pthread_mutex_lock(&stack.lock);
	uint32_t n = MIN((uint32_t)TRADE, stack.n);
	stack.n -= n;
	if (n)
		memcpy(c->f, stack.f + stack.n, n * sizeof(*c->f));
	pthread_mutex_unlock(&stack.lock);
	c->n = n;
	return n ? c->f[--c->n] : NULL;
}

uint8_t *frame_get_big(struct frame_cache *c)
{
	if (!c->n_big) {
		pthread_mutex_lock(&stack.lock);
		while (c->n_big < BIG_TRADE && stack.n_big)
			c->big[c->n_big++] = stack.big[--stack.n_big];
		pthread_mutex_unlock(&stack.lock);
	}
	if (!c->n_big)
		return NULL;
	uint8_t *f = c->big[--c->n_big];
	frame_unpoison(f);
	return f;
}

static void give_big(struct frame_cache *c, uint32_t n)
{
	pthread_mutex_lock(&stack.lock);
	while (n-- && c->n_big)
		stack.big[stack.n_big++] = c->big[--c->n_big];
	pthread_mutex_unlock(&stack.lock);
}

void frame_put_big(struct frame_cache *c, const void *p)
{
	if (c->n_big == BIG_CACHE)
		give_big(c, BIG_TRADE);
	c->big[c->n_big++] = frame_start(p) + FRAME_HEADROOM;
}

/* Gives back the 'n' oldest of a cache. */
static void give(struct frame_cache *c, uint32_t n)
{
	pthread_mutex_lock(&stack.lock);
	if (n)
		memcpy(stack.f + stack.n, c->f, n * sizeof(*c->f));
	stack.n += n;
	pthread_mutex_unlock(&stack.lock);
	c->n -= n;
	memmove(c->f, c->f + n, c->n * sizeof(*c->f));
}

void frame_cache_spill(struct frame_cache *c)
{
	give(c, TRADE);
}

void frame_cache_flush(struct frame_cache *c)
{
	give(c, c->n);
	give_big(c, c->n_big);
}

uint32_t frames_free(void)
{
	pthread_mutex_lock(&stack.lock);
	uint32_t n = stack.n;
	pthread_mutex_unlock(&stack.lock);
	return n;
}

uint32_t frames_big_free(void)
{
	pthread_mutex_lock(&stack.lock);
	uint32_t n = stack.n_big;
	pthread_mutex_unlock(&stack.lock);
	return n;
}

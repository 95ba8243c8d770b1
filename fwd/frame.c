/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame area and the shared stack of free chunks. Any thread, through its own cache; the lock is taken once per half
 * cache. Everything is a stack: the chunk freed last is used next, while its lines are still warm. */
#include "fwd/frame.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_SIZE = 2 * 1024 * 1024, TRADE = FRAME_CACHE / 2 };

struct frame_area frame_area;

static struct {
	pthread_mutex_t lock;
	uint8_t **f;
	uint32_t n;
	void *map;
	size_t map_size;
} stack = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Huge pages that somebody set aside, else memory aligned so that the kernel may back it with transparent ones. */
static uint8_t *map_area(size_t size)
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
	madvise(base, size, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
	madvise(base, size, MADV_POPULATE_WRITE);
#endif
	return base;
}

int frames_init(uint32_t n, struct err *e)
{
	size_t size = ALIGN_UP((size_t)n * FRAME_SIZE, HUGE_SIZE);
	stack.f = calloc(n, sizeof(*stack.f));
	uint8_t *base = stack.f ? map_area(size) : NULL;
	if (!base) {
		free(stack.f);
		stack.f = NULL;
		return err_set(e, -ENOMEM, "no memory for %u frames (%zu MiB): fewer ports or queues, or more memory",
			       n, size >> 20);
	}
	frame_area = (struct frame_area){ .base = base, .size = size, .n = n };
	for (uint32_t i = n; i-- > 0;)
		stack.f[stack.n++] = base + (size_t)i * FRAME_SIZE + FRAME_HEADROOM;
	return 0;
}

void frames_fini(void)
{
	if (!frame_area.base)
		return;
	for (uint32_t i = 0; i < frame_area.n; i++)
		frame_unpoison(frame_area.base + (size_t)i * FRAME_SIZE);
	munmap(stack.map, stack.map_size);
	free(stack.f);
	stack.f = NULL;
	stack.n = 0;
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
}

uint32_t frames_free(void)
{
	pthread_mutex_lock(&stack.lock);
	uint32_t n = stack.n;
	pthread_mutex_unlock(&stack.lock);
	return n;
}

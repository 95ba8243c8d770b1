/* SPDX-License-Identifier: BSD-2-Clause */
/* Bounded ring, one producer thread, one consumer thread, fixed-size elements copied in and out. 'size' is always the
 * compile-time size of the element, so the copies are a few moves. Each side keeps a stale copy of the other's counter and
 * reads the real one only when the copy says full or empty: the shared line moves once per lap, not once per element. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/util.h"

struct ring {
	uint32_t mask;
	uint8_t *mem;
	uint32_t head __attribute__((aligned(64))); /* producer writes */
	uint32_t tail_seen;
	uint32_t tail __attribute__((aligned(64))); /* consumer writes */
	uint32_t head_seen;
};

/* 'n': a power of two. 0 or -ENOMEM. */
static inline int ring_init(struct ring *r, uint32_t n, uint32_t size)
{
	memset(r, 0, sizeof(*r));
	r->mask = n - 1;
	r->mem = calloc(n, size);
	return r->mem ? 0 : -ENOMEM;
}
static inline void ring_fini(struct ring *r)
{
	free(r->mem);
	r->mem = NULL;
}
/* Producer: room for how many elements, exact only when it is less than 'want'. */
INLINE uint32_t ring_room(struct ring *r, uint32_t want)
{
	uint32_t room = r->mask + 1 - (r->head - r->tail_seen);
	if (room < want) {
		r->tail_seen = LOAD_ACQUIRE(&r->tail);
		room = r->mask + 1 - (r->head - r->tail_seen);
	}
	return room;
}
/* Copies in the first of 'n' elements that fit; returns how many. */
INLINE uint32_t ring_push_n(struct ring *r, const void *from, uint32_t n, size_t size)
{
	uint32_t room = ring_room(r, n), head = r->head;
	n = MIN(n, room);
	for (uint32_t i = 0; i < n; i++)
		memcpy(r->mem + (size_t)((head + i) & r->mask) * size, (const uint8_t *)from + (size_t)i * size, size);
	STORE_RELEASE(&r->head, head + n);
	return n;
}
INLINE bool ring_push(struct ring *r, const void *from, size_t size)
{
	return ring_push_n(r, from, 1, size) == 1;
}
/* Consumer: copies out up to 'max' elements; returns how many. */
INLINE uint32_t ring_pop_n(struct ring *r, void *to, uint32_t max, size_t size)
{
	uint32_t tail = r->tail, n = r->head_seen - tail;
	if (n < max) {
		r->head_seen = LOAD_ACQUIRE(&r->head);
		n = r->head_seen - tail;
	}
	n = MIN(n, max);
	for (uint32_t i = 0; i < n; i++)
		memcpy((uint8_t *)to + (size_t)i * size, r->mem + (size_t)((tail + i) & r->mask) * size, size);
	if (n)
		STORE_RELEASE(&r->tail, tail + n);
	return n;
}
INLINE bool ring_pop(struct ring *r, void *to, size_t size)
{
	return ring_pop_n(r, to, 1, size) == 1;
}
/* Either side or a bystander; a snapshot. */
INLINE bool ring_empty(const struct ring *r)
{
	return LOAD_ACQUIRE(&r->tail) == LOAD_ACQUIRE(&r->head);
}

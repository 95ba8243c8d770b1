/* SPDX-License-Identifier: BSD-2-Clause */
/* Maglev: each node has a permutation of the slots, and in turns they take the next one of theirs that is free. */
#include "tables/maglev.h"

#include <errno.h>
#include <stdlib.h>

static const uint32_t sizes[] = { 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071 };
enum { EMPTY = 0xffff };

bool maglev_size_ok(uint32_t size)
{
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
		if (sizes[i] == size)
			return true;
	return false;
}

/* The finalizer of splitmix64: every bit of the input changes half of the output. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t maglev_hash(const struct ipaddr *addr, uint16_t port, uint8_t proto, uint32_t seed)
{
	const uint64_t rest = (uint64_t)seed << 32 | (uint32_t)port << 8 | proto;
	return mix(mix(mix(addr->d[0] + 0x9e3779b97f4a7c15u) ^ addr->d[1]) + rest);
}

uint64_t maglev_name(const struct ipaddr *addr, uint16_t port)
{
	return maglev_hash(addr, port, 0, 0x6d61676c);
}

/* A node's walk: at, at + step, ...; step and size have no common divisor. */
struct walk {
	uint64_t name;
	uint32_t at, step, weight;
	uint32_t credit; /* a turn costs the largest weight */
	uint16_t node;
};

static int by_name(const void *a, const void *b)
{
	const uint64_t x = ((const struct walk *)a)->name, y = ((const struct walk *)b)->name;
	return (x > y) - (x < y);
}

static void fill(uint16_t *slot, uint32_t size, struct walk *w, uint32_t n, uint32_t most)
{
	uint32_t left = size;

	for (uint32_t i = 0; left; i = i + 1 < n ? i + 1 : 0) {
		w[i].credit += w[i].weight;
		if (w[i].credit < most)
			continue;
		w[i].credit -= most;
		while (slot[w[i].at] != EMPTY)
			w[i].at = w[i].at + w[i].step < size ? w[i].at + w[i].step : w[i].at + w[i].step - size;
		slot[w[i].at] = w[i].node;
		left--;
	}
}

int maglev_fill(uint16_t *slot, uint32_t size, const struct maglev_node *node, uint32_t n)
{
	uint32_t used = 0, most = 0;

	if (!maglev_size_ok(size) || n > MAGLEV_NODES)
		return -EINVAL;
	struct walk *w = calloc(n ? n : 1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t h = mix(node[i].name);
		if (!node[i].weight)
			continue;
		w[used++] = (struct walk){ .name = node[i].name,
					   .at = (uint32_t)(((h >> 32) * size) >> 32),
					   .step = 1 + (uint32_t)((h & 0xffffffff) * (size - 1) >> 32),
					   .weight = node[i].weight,
					   .node = (uint16_t)i };
		most = MAX(most, node[i].weight);
	}
	/* whose turn is first must not depend on the order of the configuration */
	qsort(w, used, sizeof(*w), by_name);
	for (uint32_t i = 0; i < size; i++)
		slot[i] = EMPTY;
	if (used)
		fill(slot, size, w, used, most);
	free(w);
	return used ? 0 : -EINVAL;
}

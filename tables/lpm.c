/* SPDX-License-Identifier: BSD-2-Clause */
/* Longest prefix match: one hash probe per length in use, longest first. Workers look up; the control thread writes.
 *
 * The bit of a length is set before its first entry is linked and cleared after its last one is unlinked, so a reader
 * who sees an entry's length absent looked before the entry existed; the bump that follows tells it so. */
#include "tables/lpm.h"

#include <assert.h>
#include <errno.h>

_Static_assert(sizeof(struct lpm_key) == 24, "no padding");

/* Netmasks: one load instead of two shifts and their branches. The key is stored as it will be loaded, 16 + 8 bytes:
 * pieces of another size would stall the loads of the hash (75 cycles a probe against 45). Filled in by the first
 * lpm_open. */
static struct ipaddr netmask[129];

static void fill_netmasks(void)
{
	struct ipaddr ones;
	if (!ip_is_zero(&netmask[128]))
		return;
	memset(&ones, 0xff, sizeof(ones));
	for (unsigned len = 0; len <= 128; len++)
		netmask[len] = ip_mask(&ones, len);
}

INLINE void masked_key(struct lpm_key *k, const struct ipaddr *a, unsigned len, uint32_t set)
{
	__m128i m = _mm_loadu_si128((const void *)&netmask[len]);
	_mm_storeu_si128((void *)&k->addr, _mm_and_si128(_mm_loadu_si128((const void *)a), m));
	st64(&k->len, (uint64_t)set << 32 | len);
}

/* Answers of short prefixes, and "no match", hold for many addresses. They depend on the counter of the address's block, so
 * that a host route below a default route makes the flows of one block decide again and not of the whole world: with a
 * million flows that is the difference between a few and all of them (docs/performance.md). */
enum { BLOCK4 = 96 + 24, BLOCK6 = 48 };

static unsigned block_len(bool v4)
{
	return v4 ? BLOCK4 : BLOCK6;
}

/* Blocks side by side have counters side by side; they start in the middle of the family's range, away from the entries' own. */
static uint32_t block_index(uint32_t set, const struct ipaddr *a, bool v4)
{
	const uint32_t high = rd32(a->b), low = v4 ? rd32(a->b + 12) >> 8 : rd16(a->b + 4);
	return 5461 + low + 257 * set + (v4 ? 0 : 0x8000 + high * 0x9e3779b1u);
}

/* The counter of the answer 'i', 0 = no match, for 'a'. */
static uint16_t number(const struct lpm *l, uint32_t set, const struct ipaddr *a, bool v4, uint32_t i)
{
	if (i && lpm_key(l, i)->len >= block_len(v4))
		return gen_number(l->family, i);
	return gen_number(l->family, block_index(set, a, v4));
}

static bool net_is4(const struct ipnet *n)
{
	return n->len >= 96 && ip_is4(&n->addr);
}

static struct lpm_key make_key(uint32_t set, const struct ipnet *n)
{
	return (struct lpm_key){ .addr = ip_mask(&n->addr, n->len), .len = n->len, .set = set };
}

int lpm_open(struct lpm *l, const char *name, uint32_t capacity, uint32_t value_size, enum gen_family f, struct err *e)
{
	fill_netmasks();
	memset(l, 0, sizeof(*l));
	l->family = f;
	return table_open(&l->t, name, capacity, sizeof(struct lpm_key), value_size, e);
}

void lpm_close(struct lpm *l)
{
	if (!l)
		return;
	table_close(&l->t);
	memset(l->count_by_len, 0, sizeof(l->count_by_len));
	memset(l->lens, 0, sizeof(l->lens));
}

/* Longest match of at most 'max' bits. */
static uint32_t match(const struct lpm *l, uint32_t set, const struct ipaddr *a, bool v4, int max)
{
	for (int w = max / 64; w >= 0; w--) {
		uint64_t bits = LOAD_ACQUIRE(&l->lens[v4][w]);
		if (w == max / 64)
			bits &= ~0ull >> (63 - max % 64);
		while (bits) {
			unsigned len = (unsigned)w * 64 + 63 - (unsigned)__builtin_clzll(bits);
			struct lpm_key k;
			masked_key(&k, a, len, set);
			uint32_t i = table_find(&l->t, &k);
			if (i)
				return i;
			bits &= ~(1ull << len % 64);
		}
	}
	return 0;
}

uint32_t lpm_lookup(const struct lpm *l, uint32_t set, const struct ipaddr *a, uint16_t *dep)
{
	bool v4 = ip_is4(a);
	uint32_t i = match(l, set, a, v4, 128);

	if (dep)
		*dep = number(l, set, a, v4, i);
	return i;
}

uint32_t lpm_exact(const struct lpm *l, uint32_t set, const struct ipnet *n)
{
	const struct lpm_key k = make_key(set, n);
	return table_find(&l->t, &k);
}

/* All that depends on the answers inside 'n', whose own entry is 'i', and on the one that covers it. */
static void bump(const struct lpm *l, uint32_t set, const struct ipnet *n, uint32_t i)
{
	const bool v4 = net_is4(n);
	const unsigned block = block_len(v4);
	gen_bump(gen_number(l->family,
			    i)); /* also where it depends on blocks: the index may have been another entry's */
	if (n->len >= block) {
		uint32_t cover = n->len ? match(l, set, &n->addr, v4, n->len - 1) : 0;
		gen_bump(number(l, set, &n->addr, v4, cover));
		return;
	}
	const uint32_t first = block_index(set, &n->addr, v4);
	if (block - n->len > 12) {
		gen_bump_extra();
		return;
	}
	for (uint32_t k = 0; k < 1u << (block - n->len); k++)
		gen_bump(gen_number(l->family, first + k));
}

static void length_used(struct lpm *l, const struct ipnet *n)
{
	bool v4 = net_is4(n);
	if (l->count_by_len[v4][n->len]++ == 0)
		STORE_RELEASE(&l->lens[v4][n->len / 64], l->lens[v4][n->len / 64] | 1ull << n->len % 64);
}

static void length_unused(struct lpm *l, const struct ipnet *n)
{
	bool v4 = net_is4(n);
	assert(l->count_by_len[v4][n->len]);
	if (--l->count_by_len[v4][n->len] == 0)
		STORE_RELEASE(&l->lens[v4][n->len / 64], l->lens[v4][n->len / 64] & ~(1ull << n->len % 64));
}

int lpm_insert(struct lpm *l, uint32_t set, const struct ipnet *n, const void *value)
{
	const struct lpm_key k = make_key(set, n);
	uint32_t i;

	assert(n->len <= 128);
	length_used(l, n);
	int r = table_insert(&l->t, SLOT_CONTROL, &k, value, &i);
	if (r) {
		length_unused(l, n);
		return r;
	}
	bump(l, set, n, i);
	return 0;
}

int lpm_set(struct lpm *l, uint32_t set, const struct ipnet *n, const void *value)
{
	const struct lpm_key k = make_key(set, n);
	uint32_t old = table_find(&l->t, &k), i;

	if (!old)
		return lpm_insert(l, set, n, value);
	int r = table_set(&l->t, SLOT_CONTROL, &k, value, &i);
	if (r)
		return r;
	gen_bump(gen_number(l->family, old));
	bump(l, set, n, i);
	return 0;
}

int lpm_delete(struct lpm *l, uint32_t set, const struct ipnet *n)
{
	const struct lpm_key k = make_key(set, n);
	uint32_t i = table_find(&l->t, &k);

	if (!i || table_delete(&l->t, SLOT_CONTROL, &k))
		return -ENOENT;
	length_unused(l, n);
	bump(l, set, n, i);
	return 0;
}

uint32_t lpm_next(const struct lpm *l, uint32_t after)
{
	return table_next(&l->t, after);
}

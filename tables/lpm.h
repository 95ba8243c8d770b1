/* SPDX-License-Identifier: BSD-2-Clause */
/* Longest prefix match over 128-bit addresses (IPv4 as ::ffff:a.b.c.d, matched at 96 bits and up only, so ::/0 never
 * covers IPv4): a hash of (prefix, length, set) and the lengths in use, longest first. Host routes cost one probe.
 *
 * One lpm holds many independent sets (policy CIDRs per set, for instance); set 0 is the usual one.
 * Workers look up lock-free; only the control thread writes. An answer depends on the counter of its entry, or
 * where that is shorter than /24 (IPv6: /48), and for "no match", on the counter of the address's block of that length. A
 * change bumps what it may concern *after* it is visible: the entry's counter and the one of what covers it, or the blocks it
 * spans, or beyond 4096 of them the extra counter. */
#pragma once

#include "tables/gen.h"
#include "tables/table.h"

struct lpm_key {
	struct ipaddr addr;
	uint32_t len; /* 0..128 */
	uint32_t set;
};

struct lpm {
	struct table t;
	enum gen_family family;
	uint32_t count_by_len[2][129]; /* [is IPv4][len], control thread */
	uint64_t lens[2][3];           /* bit set of lengths in use, read by workers */
};

int lpm_open(struct lpm *l, const char *name, uint32_t capacity, uint32_t value_size, enum gen_family f, struct err *e);
void lpm_close(struct lpm *l);
/* Index of the longest match, 0 if none. '*dep' (may be NULL) gets the generation counter the answer depends on. */
uint32_t lpm_lookup(const struct lpm *l, uint32_t set, const struct ipaddr *a, uint16_t *dep);
uint32_t lpm_exact(const struct lpm *l, uint32_t set, const struct ipnet *n);
int lpm_insert(struct lpm *l, uint32_t set, const struct ipnet *n, const void *value); /* 0, -EEXIST, -ENOSPC */
int lpm_set(struct lpm *l, uint32_t set, const struct ipnet *n, const void *value);    /* insert or replace */
int lpm_delete(struct lpm *l, uint32_t set, const struct ipnet *n);                    /* 0, -ENOENT */
INLINE const struct lpm_key *lpm_key(const struct lpm *l, uint32_t i)
{
	return table_key(&l->t, i);
}
INLINE void *lpm_value(const struct lpm *l, uint32_t i)
{
	return table_value(&l->t, i);
}
uint32_t lpm_next(const struct lpm *l, uint32_t after); /* walk, as table_next */

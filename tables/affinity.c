/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that stick to a backend (contract in affinity.h). */
#include "tables/affinity.h"

#include <errno.h>

enum { SAMPLE = 16 };

static struct table rows;
static uint32_t hand; /* where the next sample begins; any worker */

_Static_assert(sizeof(struct affinity_key) == 24 && sizeof(struct affinity) == 16, "as in tables.def");

int affinity_init(struct err *e)
{
	hand = 0;
	return table_open(&rows, "affinity", 0, sizeof(struct affinity_key), sizeof(struct affinity), e);
}

void affinity_fini(void)
{
	table_close(&rows);
}

static struct affinity *find(const struct affinity_key *k)
{
	const uint32_t i = table_find(&rows, k);
	return i ? table_value(&rows, i) : NULL;
}

uint32_t affinity_find(const struct ipaddr *client, uint32_t service, uint32_t timeout, uint32_t now_s)
{
	const struct affinity_key k = { .client = *client, .service = service };
	const struct affinity *a = find(&k);

	if (!a)
		return 0;
	const uint32_t used = LOAD_RELAXED(&a->used);
	return LOAD_RELAXED(&a->live) || now_s - used < timeout || (int32_t)(now_s - used) < 0 ? a->backend : 0;
}

static void evict(unsigned slot)
{
	uint32_t i = LOAD_RELAXED(&hand), oldest = 0;

	for (unsigned n = 0; n < SAMPLE; n++) {
		i = table_next(&rows, i);
		if (!i && !(i = table_next(&rows, 0)))
			return;
		const struct affinity *a = table_value(&rows, i), *b = oldest ? table_value(&rows, oldest) : NULL;
		if (!b || (int32_t)(LOAD_RELAXED(&a->used) - LOAD_RELAXED(&b->used)) < 0)
			oldest = i;
	}
	STORE_RELAXED(&hand, i);
	const struct affinity_key k = *(const struct affinity_key *)table_key(&rows, oldest);
	table_delete(&rows, slot, &k);
}

void affinity_take(unsigned slot, const struct ipaddr *client, uint32_t service, uint32_t backend, uint32_t now_s)
{
	const struct affinity_key k = { .client = *client, .service = service };
	const struct affinity fresh = { .backend = backend, .used = now_s, .live = 1 };
	struct affinity *a = find(&k);

	if (a && a->backend == backend) {
		STORE_RELAXED(&a->used, now_s);
		__atomic_fetch_add(&a->live, 1, __ATOMIC_RELAXED);
		return;
	}
	if (table_set(&rows, slot, &k, &fresh, NULL) != -ENOSPC)
		return;
	evict(slot);
	table_set(&rows, slot, &k, &fresh, NULL); /* no room yet: it sticks from the next connection on */
}

void affinity_give(const struct ipaddr *client, uint32_t service, uint32_t backend, uint32_t seen)
{
	const struct affinity_key k = { .client = *client, .service = service };
	struct affinity *a = find(&k);

	if (!a || a->backend != backend) /* it sticks to another one since */
		return;
	if ((int32_t)(seen - LOAD_RELAXED(&a->used)) > 0)
		STORE_RELAXED(&a->used, seen);
	uint32_t live = LOAD_RELAXED(&a->live);
	while (live &&
	       !__atomic_compare_exchange_n(&a->live, &live, live - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void affinity_again(const struct ipaddr *client, uint32_t service, uint32_t backend)
{
	const struct affinity_key k = { .client = *client, .service = service };
	struct affinity *a = find(&k);

	if (a && a->backend == backend)
		__atomic_fetch_add(&a->live, 1, __ATOMIC_RELAXED);
}

uint32_t affinity_count(void)
{
	return table_count(&rows);
}

uint32_t affinity_next(uint32_t after, struct affinity_key *k, struct affinity *v)
{
	const uint32_t i = table_next(&rows, after);

	if (i) {
		*k = *(const struct affinity_key *)table_key(&rows, i);
		*v = *(const struct affinity *)table_value(&rows, i);
	}
	return i;
}

int affinity_put(const struct affinity_key *k, uint32_t backend, uint32_t used)
{
	const struct affinity v = { .backend = backend, .used = used };

	return table_insert(&rows, SLOT_CONTROL, k, &v, NULL);
}

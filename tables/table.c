/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables: a pool and an index under one name, and the declared rows. Any thread.
 *
 * An entry is complete before it is linked and never changes its key; a new value is a new entry that takes the place
 * of the old one in the index with one store. */
#include "tables/table.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define TABLE(sym, table_name, scope_text, table_kind_, cap, key_bytes, value_bytes, key_, value_, full_, help_)       \
	[TABLE_##sym] = {                                                                                              \
		.name = table_name,                                                                                    \
		.scope = scope_text,                                                                                   \
		.kind = table_kind_,                                                                                   \
		.capacity = cap,                                                                                       \
		.key_size = key_bytes,                                                                                 \
		.value_size = value_bytes,                                                                             \
		.key_text = key_,                                                                                      \
		.value_text = value_,                                                                                  \
		.full_text = full_,                                                                                    \
		.help = help_,                                                                                         \
	},
const struct table_def table_defs[TABLES] = {
#include "tables/tables.def"
};
#undef TABLE

const struct table_def *table_def_by_name(const char *name)
{
	for (unsigned i = 0; i < TABLES; i++)
		if (strcmp(table_defs[i].name, name) == 0)
			return &table_defs[i];
	return NULL;
}

int table_open(struct table *t, const char *name, uint32_t capacity, uint32_t key_size, uint32_t value_size,
	       struct err *e)
{
	assert(key_size && key_size % 8 == 0 && value_size % 8 == 0);
	memset(t, 0, sizeof(*t));
	if (!capacity) {
		const struct table_def *d = table_def_by_name(name);
		if (!d)
			return err_set(e, -EINVAL, "table %s has no default capacity", name);
		capacity = d->capacity;
	}
	t->name = name;
	t->key_size = key_size;
	t->value_size = value_size;
	t->capacity = capacity;
	/* Replaced and deleted entries wait for a grace period. Without spare ones a full table would refuse both a
	 * replacement and the insertion after a deletion. */
	int r = pool_open(&t->pool, name, key_size + value_size, capacity + capacity / 16 + 64, e);
	if (r)
		return r;
	r = hidx_open(&t->idx, t->pool.capacity, t->pool.base, t->pool.entry_size, key_size, e);
	if (r)
		pool_close(&t->pool);
	return r;
}

void table_close(struct table *t)
{
	if (!t)
		return;
	hidx_close(&t->idx);
	pool_close(&t->pool);
}

uint32_t table_find(const struct table *t, const void *key)
{
	return hidx_find(&t->idx, key, hash_key(key, t->key_size));
}

/* Room for one more entry, counted before it exists so that threads together do not exceed the capacity. */
static bool reserve(struct table *t)
{
	if (__atomic_add_fetch(&t->count, 1, __ATOMIC_RELAXED) <= t->capacity)
		return true;
	__atomic_sub_fetch(&t->count, 1, __ATOMIC_RELAXED);
	return false;
}

static void unreserve(struct table *t)
{
	__atomic_sub_fetch(&t->count, 1, __ATOMIC_RELAXED);
}

static uint32_t make_entry(struct table *t, unsigned slot, const void *key, const void *value)
{
	uint32_t i = pool_alloc(&t->pool, slot);
	if (!i)
		return 0;
	memcpy(table_key(t, i), key, t->key_size);
	if (value)
		memcpy(table_value(t, i), value, t->value_size);
	else
		memset(table_value(t, i), 0, t->value_size);
	return i;
}

int table_insert(struct table *t, unsigned slot, const void *key, const void *value, uint32_t *index)
{
	const uint64_t hash = hash_key(key, t->key_size);
	uint32_t dummy = 0, *out = index ? index : &dummy;

	*out = hidx_find(&t->idx, key, hash);
	if (*out)
		return -EEXIST;
	if (!reserve(t))
		return -ENOSPC;
	uint32_t i = make_entry(t, slot, key, value);
	int r = i ? hidx_insert(&t->idx, hash, i, out) : -ENOSPC;
	if (r) {
		if (i)
			pool_abort(&t->pool, slot, i);
		unreserve(t);
		return r;
	}
	pool_publish(&t->pool, i);
	*out = i;
	return 0;
}

int table_set(struct table *t, unsigned slot, const void *key, const void *value, uint32_t *index)
{
	const uint64_t hash = hash_key(key, t->key_size);
	uint32_t i = make_entry(t, slot, key, value);
	int r;

	if (!i)
		return -ENOSPC;
	do {
		uint32_t old = hidx_find(&t->idx, key, hash);
		if (old) {
			r = hidx_replace(&t->idx, hash, old, i);
			if (r == 0)
				pool_retire(&t->pool, slot, old);
			continue; /* -ENOENT: somebody deleted or replaced it first */
		}
		if (!reserve(t)) {
			r = -ENOSPC;
			break;
		}
		r = hidx_insert(&t->idx, hash, i, &old);
		if (r)
			unreserve(t);
	} while (r == -ENOENT || r == -EEXIST);
	if (r) {
		pool_abort(&t->pool, slot, i);
		return r;
	}
	pool_publish(&t->pool, i);
	if (index)
		*index = i;
	return 0;
}

int table_delete(struct table *t, unsigned slot, const void *key)
{
	const uint64_t hash = hash_key(key, t->key_size);
	uint32_t i;

	while ((i = hidx_find(&t->idx, key, hash))) {
		if (hidx_remove(&t->idx, hash, i))
			continue; /* replaced under our hands: the new one goes; deleted: nothing is found next time */
		pool_retire(&t->pool, slot, i);
		unreserve(t);
		return 0;
	}
	return -ENOENT;
}

uint32_t table_count(const struct table *t)
{
	return LOAD_RELAXED(&t->count);
}

uint32_t table_next(const struct table *t, uint32_t after)
{
	return pool_next(&t->pool, after);
}

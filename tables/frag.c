/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of fragmented datagrams (frag.h). Workers; each only its own rows.
 *
 * The pool has twice the documented capacity: under a flood of first fragments thousands of rows wait for their grace
 * period at once. */
#include "tables/frag.h"

#include <errno.h>
#include <string.h>

enum { ID_COUNTERS = 4096, ID_BLOCK = 16, NOTES = 8192, NOTERS = 64 };

struct table frag_table;
void (*frag_on_delete)(unsigned slot, uint32_t row);

/* Rows of each owner in the order they were made. Links are touched by the owner only. */
static struct {
	uint32_t head, tail, n;
} __attribute__((aligned(CACHE_LINE))) order[THREADS];
static struct {
	uint32_t prev, next;
} link[FRAG_ROWS];
static uint32_t ids[ID_COUNTERS];
/* Of each counter a thread has a block to itself: a line that others write is written once in ID_BLOCK datagrams. */
static _Thread_local struct {
	uint32_t next, end;
} mine[ID_COUNTERS];
/* Upper half: of which datagram, as it left; lower half: identification that it came with. A table for each thread that writes, so
 * that no line is written by two. */
static uint64_t notes[NOTERS][NOTES];
static unsigned n_noters;
static _Thread_local uint64_t *my_notes;

int frag_init(struct err *e)
{
	int err = table_open(&frag_table, "frag", 2 * FRAG_CAPACITY, sizeof(struct frag_key), sizeof(struct frag_value),
			     e);
	if (err)
		return err;
	if (frag_table.pool.capacity >= FRAG_ROWS)
		return err_set(e, -EINVAL, "table frag: %u rows, more than %d", frag_table.pool.capacity, FRAG_ROWS);
	memset(order, 0, sizeof(order));
	memset(notes, 0, MIN(LOAD_RELAXED(&n_noters), (unsigned)NOTERS) * sizeof(notes[0]));
	for (uint64_t i = 0; i < ID_COUNTERS; i++) {
		const uint64_t k[2] = { i, 0x66726167 };
		ids[i] = (uint32_t)hash_key(k, sizeof(k));
	}
	return 0;
}

void frag_fini(void)
{
	table_close(&frag_table);
}

unsigned frag_owner(const struct frag_key *k, unsigned n)
{
	return (unsigned)((hash_key(k, 32) >> 32) * n >> 32);
}

void frag_join(unsigned slot, uint32_t row)
{
	link[row].next = 0;
	link[row].prev = order[slot].tail;
	if (order[slot].tail)
		link[order[slot].tail].next = row;
	else
		order[slot].head = row;
	order[slot].tail = row;
	order[slot].n++;
}

static void unlink_row(unsigned slot, uint32_t row)
{
	uint32_t prev = link[row].prev, next = link[row].next;
	if (prev)
		link[prev].next = next;
	else
		order[slot].head = next;
	if (next)
		link[next].prev = prev;
	else
		order[slot].tail = prev;
	order[slot].n--;
}

void frag_delete(unsigned slot, uint32_t row)
{
	if (frag_on_delete)
		frag_on_delete(slot, row);
	unlink_row(slot, row);
	table_delete(&frag_table, slot, frag_key_at(row));
}

void frag_clear(unsigned slot)
{
	while (order[slot].head)
		frag_delete(slot, order[slot].head);
}

void frag_ports_set(struct frag_value *v, const struct frag_ports *p)
{
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	STORE_RELEASE(&v->ports.word, word);
}

static void begin(struct frag_value *v, uint32_t now_s)
{
	frag_ports_set(v, &(struct frag_ports){ .state = FRAG_WAITS });
	v->created = now_s;
	v->out_id = v->got = v->end = 0;
	v->renamed = v->n = 0;
}

uint32_t frag_row(unsigned slot, uint32_t share, const struct frag_key *k, uint32_t now_s, uint32_t timeout)
{
	uint32_t row = table_find(&frag_table, k);
	if (row) {
		struct frag_value *v = frag_at(row);
		if (!frag_complete(v) && now_s - v->created < timeout)
			return row;
		if (frag_on_delete)
			frag_on_delete(slot, row);
		unlink_row(slot, row);
		frag_join(slot, row);
		begin(v, now_s);
		return row;
	}
	/* two at most, so that a burst of expired rows is no long pause */
	for (unsigned i = 0; i < 2 && order[slot].head; i++)
		if (order[slot].n >= share || now_s - frag_at(order[slot].head)->created >= timeout)
			frag_delete(slot, order[slot].head);
	struct frag_value v;
	memset(&v, 0, sizeof(v));
	begin(&v, now_s);
	if (table_insert(&frag_table, slot, k, &v, &row))
		return 0;
	frag_join(slot, row);
	return row;
}

bool frag_ports_find(const struct frag_key *k, struct frag_ports *p)
{
	uint32_t row = table_find(&frag_table, k);
	uint64_t word = row ? LOAD_ACQUIRE(&frag_at(row)->ports.word) : 0;
	memcpy(p, &word, sizeof(*p));
	return row && p->state == FRAG_OPEN;
}

/* ---- what was seen ---- */

/* Neighbours that touch become one. From then on a fragment that comes again counts as a clash. */
static void compact(struct frag_value *v)
{
	unsigned n = 0;
	for (unsigned i = 1; i < v->n; i++) {
		if (v->range[n].end == v->range[i].start)
			v->range[n].end = v->range[i].end;
		else
			v->range[++n] = v->range[i];
	}
	v->n = (uint16_t)(v->n ? n + 1 : 0);
}

/* Place of the first range that does not begin before 's'. From behind: fragments mostly come in order. */
static unsigned place(const struct frag_value *v, uint32_t s)
{
	unsigned i = v->n;
	while (i && v->range[i - 1].start >= s)
		i--;
	return i;
}

enum frag_fit frag_add(struct frag_value *v, uint32_t start, uint32_t len, bool more)
{
	const uint32_t s = start / 8, e = (start + len + 7) / 8, end = start + len;
	unsigned i = place(v, s);
	if (v->end && (more ? end >= v->end : end != v->end))
		return FRAG_CLASH;
	if (i < v->n && v->range[i].start == s && v->range[i].end == e && (more || v->end))
		return FRAG_AGAIN;
	if ((i && v->range[i - 1].end > s) || (i < v->n && (v->range[i].start < e || !more)))
		return FRAG_CLASH;
	if (v->n == FRAG_RANGES) {
		compact(v);
		i = place(v, s);
		if (v->n == FRAG_RANGES)
			return FRAG_CLASH;
	}
	memmove(&v->range[i + 1], &v->range[i], (v->n - i) * sizeof(v->range[0]));
	v->range[i] = (struct frag_range){ (uint16_t)s, (uint16_t)e };
	v->n++;
	v->got += len;
	if (!more)
		v->end = end;
	return FRAG_FITS;
}

void frag_sub(struct frag_value *v, uint32_t start, uint32_t len, bool more)
{
	const uint32_t s = start / 8, e = (start + len + 7) / 8;
	unsigned i = place(v, s);
	if (i == v->n || v->range[i].start != s || v->range[i].end != e)
		return; /* joined with a neighbour: it stays seen, and the datagram is lost */
	v->n--;
	memmove(&v->range[i], &v->range[i + 1], (v->n - i) * sizeof(v->range[0]));
	v->got -= len;
	if (!more)
		v->end = 0;
}

/* ---- identifications ---- */

uint32_t frag_new_id(const struct ipaddr *src, const struct ipaddr *dst, uint8_t proto)
{
	const struct frag_key k = { .src = *src, .dst = *dst, .proto = proto };
	const uint64_t i = hash_key(&k, sizeof(k)) % ID_COUNTERS;
	if (mine[i].next == mine[i].end) {
		mine[i].next = __atomic_fetch_add(&ids[i], ID_BLOCK, __ATOMIC_RELAXED);
		mine[i].end = mine[i].next + ID_BLOCK;
	}
	return mine[i].next++;
}

/* Its place is in the lower bits, what tells it from others there in the upper half, which is never 0. */
static uint64_t note_hash(uint64_t flow, uint32_t id)
{
	const uint64_t h = (flow ^ id) * 0x9e3779b97f4a7c15;
	return (h ^ h >> 29) | 1ull << 63;
}

void frag_id_note(uint64_t flow, uint32_t id, uint32_t was)
{
	const uint64_t h = note_hash(flow, id);
	if (unlikely(!my_notes))
		my_notes = notes[__atomic_fetch_add(&n_noters, 1, __ATOMIC_RELAXED) % NOTERS];
	STORE_RELAXED(&my_notes[h % NOTES], (h >> 32 << 32) | was);
}

bool frag_id_was(uint64_t flow, uint32_t id, uint32_t *was)
{
	const uint64_t h = note_hash(flow, id);
	const unsigned n = MIN(LOAD_RELAXED(&n_noters), (unsigned)NOTERS);
	for (unsigned i = 0; i < n; i++) {
		const uint64_t note = LOAD_RELAXED(&notes[i][h % NOTES]);
		*was = (uint32_t)note;
		if (note >> 32 == h >> 32)
			return true;
	}
	return false;
}

uint32_t frag_count(void)
{
	return table_count(&frag_table);
}

uint32_t frag_next(uint32_t after)
{
	return table_next(&frag_table, after);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* New connections that a pool refuses: workers count them, each in lines of its own, and note one for the operator (RFC 6888 REQ-11)
 * when the control thread is waiting for one. While it is not, a refusal only reads the note's state. */
#include <errno.h>

#include "tables/nat_pool.h"

static struct refusals {
	uint64_t n[NAT_POOLS_MAX][2];
} refusals[THREADS] __attribute__((aligned(CACHE_LINE)));

/* OPEN: the next worker that comes takes it. The control thread opens and closes it, when no worker is at it. */
enum note_state { NOTE_OPEN, NOTE_TAKEN, NOTE_WRITTEN, NOTE_CLOSED };
static struct note {
	uint32_t state;
	struct nat_refusal r;
} notes[NAT_POOLS_MAX][2];

static struct note *note_of(unsigned p, int err)
{
	return &notes[p][err == -EDQUOT];
}

/* Found out a moment later, so another may have come between. Sessions first: they also limit a port that is there. */
static enum nat_refusal_why why(const struct nat_key *k, int err)
{
	const struct nat_pool *p = &nat_pools[k->pool];

	if (err != -EDQUOT)
		return nat_tables_full() ? NAT_TABLE_FULL : LOAD_RELAXED(&p->blocks) ? NAT_NO_BLOCK : NAT_NO_PORT;
	if (nat_source_try(k, false, 0, LOAD_RELAXED(&p->max_sessions)))
		return NAT_MAX_SESSIONS;
	return nat_source_try(k, true, LOAD_RELAXED(&p->max_ports), 0) ? NAT_MAX_PORTS : NAT_BLOCK_LIMIT;
}

void nat_pool_refused(unsigned slot, const struct nat_key *k, int err)
{
	uint64_t *n = &refusals[slot].n[k->pool][err == -EDQUOT];
	struct note *note = note_of(k->pool, err);
	uint32_t open = NOTE_OPEN;

	STORE_RELAXED(n, *n + 1);
	if (LOAD_RELAXED(&note->state) != NOTE_OPEN || ip_is_zero(&nat_pools[k->pool].addr) /* removed */ ||
	    !__atomic_compare_exchange_n(&note->state, &open, NOTE_TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	note->r = (struct nat_refusal){ .inside = k->inside, .zone = k->zone, .proto = k->proto, .why = why(k, err) };
	STORE_RELEASE(&note->state, NOTE_WRITTEN);
}

uint64_t nat_refused(unsigned p, int err)
{
	uint64_t n = 0;

	for (unsigned t = 0; t < THREADS; t++)
		n += LOAD_RELAXED(&refusals[t].n[p][err == -EDQUOT]);
	return n;
}

bool nat_refusal_take(unsigned p, int err, struct nat_refusal *r)
{
	struct note *note = note_of(p, err);

	if (LOAD_ACQUIRE(&note->state) != NOTE_WRITTEN)
		return false;
	*r = note->r;
	STORE_RELEASE(&note->state, NOTE_CLOSED);
	return true;
}

void nat_refusal_open(unsigned p, int err)
{
	struct note *note = note_of(p, err);

	if (LOAD_RELAXED(&note->state) == NOTE_CLOSED)
		STORE_RELEASE(&note->state, NOTE_OPEN);
}

void nat_refusals_forget(unsigned p)
{
	for (unsigned t = 0; t < THREADS; t++)
		refusals[t].n[p][0] = refusals[t].n[p][1] = 0;
	STORE_RELAXED(&notes[p][0].state, NOTE_OPEN);
	STORE_RELAXED(&notes[p][1].state, NOTE_OPEN);
}

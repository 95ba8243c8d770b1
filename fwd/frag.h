/* SPDX-License-Identifier: BSD-2-Clause */
/* Fragments on their way (design section 6, step 3): forwarded one by one, never put together.
 *
 * All fragments between two addresses go to one worker, their owner: what others receive is handed over as it came. There a
 * fragment gets its ports from the first of its datagram (tables/frag.h) and rejoins: the connection's record rewrites it
 * without a decision. One that comes before the first waits, within three limits (set frag queue-...). A datagram with an
 * overlap, a first fragment too short for its L4 header, or a piece that was dropped is refused as a whole: nobody could use
 * the rest. Workers only, but for frag_held and frag_release_all. */
#pragma once

#include "fwd/decide.h"

/* Step frag. STEP_ON for a fragment whose ports are known now ('d->frag' is its row) and that no record can send. */
enum step step_frag(struct decision *d);
/* Of a packet whose way out is known, fragment or not: can its translation be done? SCTP's checksum follows the ports only with
 * the length of the whole packet. */
enum step frag_translated(struct decision *d);
/* Instead of replay_one for a fragment: gives it its identification, sends it, and what waited for it. */
void frag_send(struct decision *d);
/* A fragment past step_frag was dropped for d->drop: so will be the rest of its datagram. */
void frag_dropped(struct decision *d);
/* It is held for a neighbour, to be decided anew: as if it had not come. */
void frag_put_off(struct decision *d);
/* A new identification for a whole packet that will be cut up, if that is under another source than its own. */
void frag_rename(struct decision *d);
/* The same for a whole IPv4 packet without options, which record 'r' has rewritten already; its header is at 'l3'. */
void frag_rename_replayed(const struct ct *c, uint32_t r, uint8_t *l3);
INLINE void frag_set_id4(uint8_t *l3, uint16_t id)
{
	const uint16_t old = ld16(l3 + 4);
	wr16(l3 + 4, id);
	st16(l3 + 10, csum_update(ld16(l3 + 10), old, ld16(l3 + 4)));
}
/* ---- fragments that wait (fwd/frag_queue.c) ---- */
/* Later fragments of a datagram that is not known yet have no place: too many of its source wait. */
bool frag_queue_closed(const struct worker *w, const struct frag_key *k);
/* Holds 'p', piece 'start' of datagram 'row'. Owns the frame. */
void frag_queue(struct worker *w, uint32_t row, const struct pkt *p, uint32_t start);
/* The first has gone: decides what waited, in order. */
void frag_queue_send(struct worker *w, uint32_t row);
void frag_queue_drop(struct worker *w, uint32_t row, enum drop reason);
bool frag_queue_sending(const struct worker *w); /* inside frag_queue_send */
/* Drops what waited too long. Once per loop when w->n_frags. */
void frag_expire(struct worker *w);
/* Any thread: fragments of datagram 'row' that wait. */
unsigned frag_held(uint32_t row);
/* Forgets all datagrams and frees what waits (workers stand still: the end of the process, tests). */
void frag_release_all(void);
/* Once, after frag_init. */
void frag_queue_init(void);

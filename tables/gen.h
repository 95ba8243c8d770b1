/* SPDX-License-Identifier: BSD-2-Clause */
/* Generation counters: how a table change reaches flow records without touching them (design section 1).
 *
 * Writer: publish the change, then gen_bump (release). Decision: sample before the first look-up (acquire), store the sum
 * in the record. Replay: one compare. Only the control thread bumps. */
#pragma once

#include "fwd/base/util.h"
#include "tables/abi/gen.h"

extern struct gen_area *gen_area; /* plain memory until gen_use() */

/* Lays the counters over 'area' (a mapped BPF array, zeroed or adopted); NULL: back to plain memory. Before workers start. */
void gen_use(struct gen_area *area);
/* Counter number for object 'index' of a family; families are spread by a multiplier. Never 0. */
enum gen_family { GEN_ENDPOINT, GEN_POLICY, GEN_IPCACHE, GEN_TUNNEL, GEN_ROUTE, GEN_ADJ };
uint16_t gen_number(enum gen_family f, uint32_t index);
void gen_bump(uint16_t number);
void gen_bump_extra(void);

/* A decision learns from its look-ups which counters it depends on, so it cannot sample those before the first look-up.
 * It reads gen_begin() first, looks up, takes gen_sum(), and stores that sum only while gen_stable(): else a change between
 * look-up and sum would leave an old answer with a new sum. Not stable: decide again, or store a sum that cannot match. */
extern uint32_t gen_changes; /* written by the control thread, before each counter it bumps */
INLINE uint32_t gen_begin(void)
{
	return LOAD_ACQUIRE(&gen_changes);
}
INLINE bool gen_stable(uint32_t begin)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(&gen_changes) == begin;
}
INLINE uint32_t gen_load(uint16_t number)
{
	return LOAD_ACQUIRE(&gen_area->counter[number]);
}
/* Without the extra counter: a burst reads that one once. */
INLINE uint32_t gen_sum_dep(const uint32_t *counter, const uint16_t dep[4])
{
	return LOAD_RACED(&counter[LOAD_RACED(&dep[0])]) + LOAD_RACED(&counter[LOAD_RACED(&dep[1])]) +
	       LOAD_RACED(&counter[LOAD_RACED(&dep[2])]) + LOAD_RACED(&counter[LOAD_RACED(&dep[3])]);
}
INLINE uint32_t gen_sum(const uint16_t dep[4])
{
	return gen_sum_dep(gen_area->counter, dep) + LOAD_RELAXED(&gen_area->extra);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Generation counters. Written by the control thread only, read by workers and by the kernel programs.
 *
 * Numbers of one family are consecutive, so that the counters of few objects share few cache lines; families start
 * 65536 / 6 apart, so that small tables do not share counters at all. */
#include "tables/gen.h"

enum { FAMILY_STRIDE = GEN_COUNTERS / 6 };

static struct gen_area plain __attribute__((aligned(4096)));
struct gen_area *gen_area = &plain;
uint32_t gen_changes;

void gen_use(struct gen_area *area)
{
	gen_area = area ? area : &plain;
}

uint16_t gen_number(enum gen_family f, uint32_t index)
{
	uint16_t n = (uint16_t)(index + (uint32_t)f * FAMILY_STRIDE);
	return n ? n : 1;
}

static void bump(uint32_t *counter)
{
	/* gen_changes first: who samples the new counter must also see that something changed (gen_begin) */
	STORE_RELEASE(&gen_changes, gen_changes + 1);
	STORE_RELEASE(counter, *counter + 1);
}

void gen_bump(uint16_t number)
{
	if (number)
		bump(&gen_area->counter[number]);
}

void gen_bump_extra(void)
{
	bump(&gen_area->extra);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time. Tests set it. */
#pragma once

#include "fwd/base/util.h"

#define NS_PER_S 1000000000ull

/* Nanoseconds of CLOCK_MONOTONIC, or the value last given to clock_set(). */
uint64_t clock_ns(void);
/* Stops real time: from now on clock_ns() returns 'ns' until changed. 0 returns to real time. */
void clock_set(uint64_t ns);
/* Time stamp counter, for cycles per packet. */
INLINE uint64_t clock_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time with a stop for tests. Any thread. */
#include "fwd/base/clock.h"

#include <time.h>

static uint64_t fixed_ns; /* 0: real time. Written by tests only */

uint64_t clock_ns(void)
{
	uint64_t ns = LOAD_RELAXED(&fixed_ns);
	if (ns)
		return ns;
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void clock_set(uint64_t ns)
{
	STORE_RELAXED(&fixed_ns, ns);
}

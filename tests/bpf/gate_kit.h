/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate's programs by BPF_PROG_TEST_RUN: one frame in, verdict, frame and counter out. For test_gate.c and
 * test_gate_proxy.c. */
#pragma once

#include "tests/bpf/env.h"

/* A UDP packet behind the MACs. */
#define UDP4(src, dst)                                                                                                 \
	"08 00 | 45 00 00 24 00 00 40 00 40 11 00 00 " src dst "12 34 1f 90 00 10 00 00 | 68 65 6c 6c 6f 21 21 21"
#define BODY UDP4("0a 01 00 0a ", "0a 01 00 14 ")

static inline uint64_t stat_of(enum gate_stat which)
{
	uint64_t n[GATE_STATS];

	assert_int_equal(loader_gate_stats(loader, n), 0);
	return n[which];
}

/* Frames begin with both MACs. 'want': the frame afterwards, NULL = whatever; 'stat' goes up by one, GATE_STATS = no matter. */
static inline void check_tc(enum loader_prog prog, const char *in, uint32_t verdict, const char *want,
			    enum gate_stat stat)
{
	uint8_t frame[128], out[128], wanted[128];
	unsigned size = hex(frame, in);
	uint64_t before = stat == GATE_STATS ? 0 : stat_of(stat);

	assert_int_equal(run_tc(prog, LO, frame, size, out), verdict);
	if (want) {
		assert_int_equal(hex(wanted, want), size);
		assert_memory_equal(out, wanted, size);
	}
	if (stat != GATE_STATS)
		assert_int_equal(stat_of(stat), before + 1);
}

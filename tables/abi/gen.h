/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* Generation counters (design section 1, Validity): one value of a memory-mappable BPF array, or plain memory. */
#pragma once

#include <linux/types.h>

#define GEN_COUNTERS 65536

struct gen_area {
	__u32 counter[GEN_COUNTERS]; /* counter 0 is never bumped: "depends on nothing here" */
	__u32 extra;                 /* settings, pools, ipmasq, VIPs: part of every sum */
	__u32 reserved;
	__u64 alive_until_ns; /* CLOCK_MONOTONIC: kernel replay refuses records later than this + 10 s */
	__u8 pad[4096 - 16];
};

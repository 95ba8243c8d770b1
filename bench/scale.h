/* SPDX-License-Identifier: BSD-2-Clause */
/* Parts of bench-scale: scale.c has the flows and the comparison of one with two workers, scale_churn.c what table changes
 * and big tables do to a worker that forwards. */
#pragma once

#include "bench/kit.h"

enum { SCALE_CHUNK = 2048, SCALE_IMAGE = 64, SCALE_LEN = 60 };

struct scale_thread {
	struct worker *w;
	unsigned id;
	uint8_t *frame[SCALE_CHUNK];
};

extern const struct kit_case scale_case;
/* Decides 'n' flows in both directions on worker 0 (calling thread), and keeps what their frames look like. */
void scale_flows(uint32_t n);
/* Frames of worker 'id'. */
void scale_thread_init(struct scale_thread *t, unsigned id);
void scale_thread_fini(struct scale_thread *t);
/* Fresh frames of flows at random, every second one a reply. */
void scale_fill(struct scale_thread *t);
/* Replays them; cycles. */
uint64_t scale_chunk(struct scale_thread *t);

void scale_churn(void);
void scale_big(void);

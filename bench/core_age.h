/* SPDX-License-Identifier: BSD-2-Clause */
/* Part of bench-core: ageing. */
#pragma once

#include "bench/kit.h"

/* One walk over 'flows' connections of which a part of 1 / 'few' has expired (0: none, 1: all), in slices as a worker makes
 * them. 'snat': the engine made them, with mappings and permits; else they are bare. */
void core_age(struct worker *w, const char *name, uint32_t flows, uint32_t few, bool snat);

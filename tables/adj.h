/* SPDX-License-Identifier: BSD-2-Clause */
/* Start and end of the adjacency array, for neighbor.c; what everybody else uses is in neighbor.h. */
#pragma once

#include "fwd/base/err.h"

int adj_init(struct err *e);
void adj_fini(void);

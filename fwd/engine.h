/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine on one worker: bursts in, staged frames out. Owns every frame it is given. */
#pragma once

#include "fwd/worker.h"

/* Takes all frames of p[0..n), n > 0, which came in by one port. Called with RCU online. */
void engine_burst(struct worker *w, struct pkt *p, unsigned n);
/* Looks at the hold queue: retries what may go on, drops what waited too long; fragments too. Once per loop when w->n_held or
 * w->n_frags. */
void engine_held(struct worker *w);

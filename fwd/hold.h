/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets that wait for a neighbour: the latest HELD_PER_NEIGHBOR each, 3 s at most, on their own worker (engine_held). */
#pragma once

#include "fwd/worker.h"

/* Holds 'p' as it came and asks the control thread for 'key'. 'MAC' of a fixed inner destination travels in key->ip. Owns
 * the frame: a full queue drops it (228). */
void hold_packet(struct worker *w, struct pkt *p, const struct neighbor_key *key, bool failed);

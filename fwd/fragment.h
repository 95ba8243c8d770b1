/* SPDX-License-Identifier: BSD-2-Clause */
/* IPv4 fragmentation of packets and fragments without DF (RFC 791 3.2, RFC 1812 4.2.2.7). */
#pragma once

#include "fwd/worker.h"

/* Sends 'p' (rewritten already, IPv4, DF clear) in fragments that fit adjacency 'adj'. Owns the frame. */
void fragment_and_emit(struct worker *w, struct pkt *p, uint32_t adj);

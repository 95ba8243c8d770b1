/* SPDX-License-Identifier: BSD-2-Clause */
/* Refusing a client in the name of whom it asked: what a host without a listener answers. Workers. */
#pragma once

#include "fwd/decide.h"

/* 'p' came back from the gate (GATE_PROXY), still whole and the caller's: TCP gets a reset that runs through the engine like an
 * answer of the proxy (RFC 9293 3.10.7.1), others an ICMP port unreachable. */
void refuse(struct worker *w, const struct pkt *p);

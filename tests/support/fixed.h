/* SPDX-License-Identifier: BSD-2-Clause */
/* A box with something of everything, for tests that throw arbitrary frames at it: two containers, tunnels in both modes and
 * families, policy, listeners of a proxy, pools, services with affinity and source ranges, transit, a port whose checksums may be
 * unfinished. */
#pragma once

#include "tests/support/box.h"

enum { FIXED_GATE, FIXED_UP0, FIXED_UP1, FIXED_PORTS };
extern struct port *fixed_ports[FIXED_PORTS];
/* Opens it; aborts with the reason on stderr when that fails. */
void fixed_open(void);
/* Forgets connections, packets that wait, and frames nobody took. */
void fixed_clear(void);

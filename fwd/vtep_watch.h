/* SPDX-License-Identifier: BSD-2-Clause */
/* Is the address of a VTEP on an interface of the box? It need not be when the VTEP is configured (VRRP), but without it other
 * nodes do not reach this one. Control thread, RCU online. */
#pragma once

#include <stdint.h>

#include "tables/tunnel.h"

/* Does the kernel have it, and on which interface? By the mirror of its tables. '*ifindex' may be NULL. */
bool vtep_present(const struct vtep *v, uint32_t *ifindex);
/* About once a second: tells of addresses that came and went. */
void vtep_watch_tick(void);

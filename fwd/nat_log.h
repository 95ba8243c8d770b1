/* SPDX-License-Identifier: BSD-2-Clause */
/* One log line when a block of ports is given and one when it goes back (tables/nat_block.h): workers put what happened into rings,
 * the control thread writes it. What does not fit into a ring is counted; each line has a number, so a lost one shows there, too.
 *
 *	nat-block seq=7 time=2026-01-31T12:00:00.250Z event=given pool=198.51.100.1 inside=10.1.0.10 outside=198.51.100.1
 *	ports=1024-1535 protocols=tcp,udp,icmp zone=0
 *
 * in one line; of an event=start, 'inside' is '-'. Additions at the end only.
 *
 * And a warning when a pool refuses a connection (RFC 6888 REQ-11): for each pool one a minute at most about want of room and one
 * about quotas, each of a refusal just now:
 *
 *	nat pool 198.51.100.1 refuses 10.1.0.10 a udp connection: all its ports are taken; widen 'ports', or add a pool for
 *	some of the sources (12 refused so far, 'show pools') */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/util.h"

enum { NAT_LOG_REFUSED_S = 60 };

/* Control thread, while no worker runs. */
int nat_log_init(struct err *e);
/* Writes what there is; 'stops': all blocks end now, which is written, too. */
void nat_log_fini(bool stops);
/* Ten times a second; what is left after a few thousand lines waits for the next. */
void nat_log_tick(void);
/* Lines that had no room, ever. Any thread. */
uint64_t nat_log_lost(void);

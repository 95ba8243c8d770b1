/* SPDX-License-Identifier: BSD-2-Clause */
/* The health endpoint: a local endpoint (identity 4 by convention) that the daemon itself answers for, so that other nodes
 * can see whether frames get through this one: echo requests, and HTTP on TCP port 4240, GET /hello. It is a container as
 * any other to the engine: hooks, policy, counters. Control thread. */
#pragma once

#include "tables/endpoint.h"

/* Makes, moves (addresses changed) or removes (NULL) the device behind it. 0 or -errno with the cause. */
int health_set(const struct endpoint *ep, struct err *e);
/* Of the device that was made; 0: none. Another one of that name is not ours. */
uint32_t health_ifindex(void);
/* Its device is gone although it should be there: made again. */
void health_tick(void);
/* Readable when health_serve() has something to do; made on first use. -errno. */
int health_fd(void);
void health_serve(void);
void health_stop(void);

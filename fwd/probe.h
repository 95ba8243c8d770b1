/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes of backends: who is asked, how often, and what follows (services with a struct probe_conf). Control thread only.
 *
 * A probe is a connection or a packet of the box itself, sent by the kernel's sockets and routes; none waits for another, and none
 * blocks. Services that ask the same address, port and way at the same pace share one. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"
#include "tables/service.h"

enum { PROBE_REASON = 64 };

int probe_init(struct err *e);
void probe_fini(void);
int probe_fd(void); /* readable: probe_handle() has something to do; -1 before probe_init() */
void probe_handle(void);
/* Ten times a second: starts what is due, ends what waits too long, follows the configuration. 'now_ns' as clock_ns(). Before
 * service_tick(), which may give a deleted backend's place to another one. */
void probe_tick(uint64_t now_ns);

/* ---- for show ---- */
struct probe_info {
	struct ipaddr addr;
	uint16_t port; /* 0: icmp */
	const struct probe_conf *conf;
	enum backend_health health;
	uint32_t backends; /* that hang on it */
	uint64_t sent, failed;
	uint64_t since;     /* second of the calendar since which 'health' holds */
	uint32_t rtt_us;    /* of the last good one */
	const char *reason; /* why the last one failed, or why it is down; NULL: no reason */
};
/* False: it is not probed. */
bool probe_of(uint32_t backend, struct probe_info *h);
/* Walk over probes: n = 0, 1 ... until false. */
bool probe_at(uint32_t n, struct probe_info *h);
uint32_t probe_count(void);

/* SPDX-License-Identifier: BSD-2-Clause */
/* Settings that the packet path reads (relaxed: one word each). Rows, names, ranges and help: cli/settings.def. The control
 * thread writes; whoever changes one that decisions depend on calls gen_bump_extra(). */
#pragma once

#include "fwd/base/util.h"

enum icmp_class { ICMP_CLASS_UNREACHABLE, ICMP_CLASS_PROHIBITED, ICMP_CLASS_TIME, ICMP_CLASS_TOO_BIG, ICMP_CLASSES };

struct settings {
	uint32_t worker_count;    /* at start only */
	bool worker_pin;          /* at start only: each worker to one CPU */
	bool worker_spin;         /* workers never sleep */
	uint32_t busy_poll_us;    /* at start only: SO_BUSY_POLL of AF_XDP sockets, 0 off */
	bool policy_reject;       /* refusals answer with ICMP administratively prohibited */
	bool policy_allow_host;   /* identity host may reach local endpoints */
	bool ct_accounting;       /* packets and bytes of connections */
	bool ct_pickup_drop;      /* TCP of no known connection needs a SYN */
	bool nat_unique_ids;      /* translated IPv4 packets without DF get an identification of their new source */
	bool host_routes;         /* routes on sluice_host for endpoints, tunnels, VIPs */
	bool source_route_ignore; /* IPv4 source route options: forwarded as if they were not there */
	bool duplicate_detection; /* fwd/claim.h */
	bool service_drop;        /* no backend: dropped in silence instead of refused */
	uint32_t ip_ttl;          /* of ICMP errors and resets, hop limit too */
	uint32_t mss_clamp;       /* 0 off, 1 to the path's MTU, else bytes */
	uint32_t icmp_rate[ICMP_CLASSES], icmp_burst; /* fwd/icmp.c; each worker on its own */
	uint8_t offload;                              /* enum offload: fwd/export.h */
	uint32_t offload_flows;                       /* at start only: records a family */
	bool dpdk_sleep;                              /* workers with DPDK queues sleep when idle */
	char dpdk_eal_args[256];                      /* read once, when the EAL starts */
	uint32_t frag_timeout, frag_queue_seconds, frag_queue_bytes, frag_queue_source; /* fwd/frag.h */
};
extern struct settings settings;

/* SPDX-License-Identifier: BSD-2-Clause */
/* Settings that the packet path reads (relaxed: one word each). Rows, names, ranges and help: cli/settings.def. The control
 * thread writes; whoever changes one that decisions depend on calls gen_bump_extra(). */
#pragma once

#include "fwd/base/util.h"

struct settings {
	uint32_t worker_count;  /* at start only */
	bool policy_reject;     /* refusals answer with ICMP administratively prohibited */
	bool policy_allow_host; /* identity host may reach local endpoints */
	bool ct_accounting;     /* packets and bytes of connections */
	bool host_routes;       /* routes on sluice_host for endpoints, tunnels, VIPs */
	uint32_t frag_timeout, frag_queue_seconds, frag_queue_bytes, frag_queue_source; /* fwd/frag.h */
};
extern struct settings settings;

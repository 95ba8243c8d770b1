/* SPDX-License-Identifier: BSD-2-Clause */
/* The settings' defaults; cli/settings.def repeats them for 'show settings', a unit test compares. */
#include "fwd/settings.h"

#include "tables/abi/replay.h"

struct settings settings = {
	.worker_count = 1,
	.policy_allow_host = true,
	.ct_accounting = true,
	.nat_unique_ids = true,
	.host_routes = true,
	.ip_ttl = 64,
	.duplicate_detection = true,
	.icmp_rate = { 1000, 1000, 1000, 1000 },
	.icmp_burst = 200,
	.offload = 1,
	.offload_flows = REPLAY_FLOWS,
	.frag_timeout = 30,
	.frag_queue_seconds = 2,
	.frag_queue_bytes = 1024 * 1024,
	.frag_queue_source = 64,
};

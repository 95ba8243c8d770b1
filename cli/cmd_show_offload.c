/* SPDX-License-Identifier: BSD-2-Clause */
/* 'show offload': the state of kernel replay, its totals, and the programs' packets by reason. Control thread. */
#include "cli/show.h"

#include "fwd/export.h"
#include "fwd/offload.h"
#include "fwd/settings.h"

static const struct reason {
	enum replay_stat stat;
	const char *name, *help;
} reasons[] = {
	{ REPLAY_TC, "tc", "packets forwarded by tc" },
	{ REPLAY_XDP, "xdp", "packets forwarded by XDP" },
	{ REPLAY_XDP_TO_TC, "xdp-to-tc", "found by XDP on an uplink, left to the tc program behind it" },
	{ REPLAY_MISS, "miss", "to the engine: no record" },
	{ REPLAY_SHAPE, "shape", "to the engine: not plain TCP or UDP (fragment, options, TTL, flags, lengths)" },
	{ REPLAY_STALE, "stale", "to the engine: something changed since the decision" },
	{ REPLAY_DEAD, "dead", "to the engine: it had not shown life for 10 s" },
	{ REPLAY_IDLE, "idle", "to the engine: the record was not used for 8 s" },
	{ REPLAY_INGRESS, "ingress", "to the engine: came in where the connection does not live" },
	{ REPLAY_SENDER, "sender", "to the engine: VXLAN from an unknown sender" },
	{ REPLAY_LONG, "long", "to the engine: over the MTU" },
	{ REPLAY_NOT_HERE, "not-here", "to the engine: this program may not, or the way out is gone" },
	{ REPLAY_UNFINISHED, "unfinished", "to the engine: the checksum looks unfinished" },
	{ REPLAY_DROP_WRITE, "drop-write", "dropped: a helper failed half-way" },
	{ REPLAY_DROP_NETDEV, "drop-netdev", "dropped on an uplink: left to tc, which no longer could" },
	{ REPLAY_DROP_OVERLAY, "drop-overlay", "dropped on sluice_vxlan: no record replays it" },
	{ REPLAY_DROP_TO_OVERLAY, "drop-to-overlay", "dropped: nothing leaves by sluice_vxlan" },
};
_Static_assert(ARRAY_LEN(reasons) == REPLAY_STATS, "one row a reason");

static const struct {
	enum gate_stat stat;
	const char *name, *help;
} hooks[] = {
	{ GATE_TO_CONTAINER, "to-container", "packets that [to-container] let pass; most reach the peer without it" },
	{ GATE_DROP_TO_CONTAINER, "drop-to-container", "dropped: sent to a container's device by the box itself" },
	{ GATE_DROP_NET, "drop-net", "dropped on sluice_net: the XDP program in front was gone" },
};

static void number(struct out *o, const char *name, uint64_t n, const char *help)
{
	out_row(o);
	out_str(o, "name", name);
	out_u64(o, "value", n);
	out_str(o, "help", help);
}

static void word(struct out *o, const char *name, const char *value, const char *help)
{
	out_row(o);
	out_str(o, "name", name);
	out_str(o, "value", value);
	out_str(o, "help", help);
}

void show_offload(struct out *o)
{
	static const char *const words[] = { "off", "on", "tc", "xdp" };
	struct export_totals t;
	uint64_t n[REPLAY_STATS], gate[GATE_STATS];

	export_read_totals(&t);
	offload_stats(n);
	offload_gate_stats(gate);
	word(o, "setting", settings.offload < ARRAY_LEN(words) ? words[settings.offload] : NULL, "set offload");
	word(o, "overlay", *offload_overlay_reason() ? offload_overlay_reason() : "ok",
	     "whether the kernel may take tunnelled frames for containers");
	number(o, "connections", t.connections, "connections that the kernel forwards");
	number(o, "records-ipv4", t.records[0], "records in the kernel");
	number(o, "records-ipv6", t.records[1], "records in the kernel");
	number(o, "capacity", t.capacity[0], "room for records of each family (set offload flows)");
	number(o, "resting", (uint64_t)t.resting[0] + t.resting[1], "room that can be used again in a moment");
	number(o, "promoted", t.promoted, "connections given to the kernel");
	number(o, "demoted", t.demoted, "connections taken back");
	number(o, "renewed", t.renewed, "records written anew after another decision");
	number(o, "refused", t.refused, "times that a hot connection found no room");
	number(o, "packets", t.packets, "packets that connections were forwarded by the kernel");
	number(o, "bytes", t.bytes, "their bytes");
	for (unsigned i = 0; i < ARRAY_LEN(reasons); i++)
		number(o, reasons[i].name, n[reasons[i].stat], reasons[i].help);
	for (unsigned i = 0; i < ARRAY_LEN(hooks); i++)
		number(o, hooks[i].name, gate[hooks[i].stat], hooks[i].help);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads the BPF programs, pins and maps their tables, attaches and detaches them. Control thread only; of what it hands
 * out, workers may use the mapped memory (loader_gen_area, loader_pool_bits, loader_replay).
 *
 * Life: loader_check_caps -> loader_open (adopts the pinned maps of a dead predecessor, whose programs keep running) ->
 * gate_create (xdp/gate.h) -> attach and set whatever the configuration says -> loader_adopt_done (what the predecessor
 * had and nobody set again is detached and deleted) -> ... -> loader_close.
 *
 * Attachments are by netlink and outlive the process; every attach replaces an older sluice program without a gap, and
 * refuses a foreign one. Every int is 0 or -errno with one sentence in 'e' that names the thing and the cure.
 *
 * Names the operator sees: `tc filter show`: container.o:[from-container], host.o:[to-host], host.o:[from-host],
 * host.o:[from-netdev], overlay.o:[from-overlay], overlay.o:[to-overlay];
 * `bpftool prog`: sluice_steer, sluice_gate, from_container, to_host, from_host, from_netdev,
 * from_overlay, to_overlay; pins /sys/fs/bpf/sluice/INSTANCE/MAP.
 */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"
#include "tables/abi/gate.h"
#include "tables/abi/gen.h"
#include "tables/abi/replay.h"
#include "tables/abi/steer.h"

struct loader;

enum loader_prog {
	PROG_STEER,          /* XDP, uplinks */
	PROG_GATE,           /* XDP, sluice_net */
	PROG_FROM_CONTAINER, /* tc ingress, host end of a container's veth */
	PROG_TO_CONTAINER,   /* tc egress, the same device */
	PROG_TO_HOST,        /* tc ingress, sluice_host */
	PROG_NET_TO_HOST,    /* tc ingress, sluice_net */
	PROG_FROM_HOST,      /* tc egress, sluice_host */
	PROG_FROM_NETDEV,    /* tc ingress, uplinks: REPLAY_PORT_NETDEV may be set once it is on */
	PROG_FROM_OVERLAY,   /* tc ingress, sluice_vxlan */
	PROG_TO_OVERLAY,     /* tc egress, sluice_vxlan */
	PROGS
};
enum loader_map {
	MAP_STEER_XSK,
	MAP_STEER_DEV,
	MAP_STEER_LPM,
	MAP_STEER_BITS,
	MAP_STEER_FRAG,
	MAP_STEER_SERVICE,
	MAP_STEER_STATS,
	MAP_GEN_AREA,
	MAP_GATE_BY_IFINDEX,
	MAP_GATE_BY_ID,
	MAP_GATE_CONF,
	MAP_GATE_STATS,
	MAP_REPLAY_INDEX,
	MAP_REPLAY_FILTER,
	MAP_REPLAY_FLOW4,
	MAP_REPLAY_FLOW6,
	MAP_REPLAY_ADJ,
	MAP_REPLAY_CONF,
	MAP_REPLAY_REMOTE,
	MAP_REPLAY_STATS,
	MAPS
};
enum loader_mode { LOADER_AUTO, LOADER_NATIVE, LOADER_GENERIC };

/* -EPERM naming each capability that is missing and what for. */
int loader_check_caps(struct err *e);

/* Records of each family in the kernel replay table, number 0 included: REPLAY_FLOWS unless changed before loader_open;
 * 16 to 16 Mi. Some 350 bytes each, all of it allocated at open. */
extern uint32_t loader_replay_flows;

/* Mounts bpffs if need be (logged). Pinned maps of the same layout are reused, others replaced (logged). 'instance':
 * letters, digits, '-' and '_' only. */
int loader_open(struct loader **out, const char *instance, struct err *e);
/* true when loader_open found maps of a predecessor. */
bool loader_adopted(const struct loader *l);
/* Call once the configuration stands: deletes entries of steer_lpm, steer_service, steer_dev, gate_by_ifindex, gate_by_id
 * that were there at loader_open and have not been set since, and takes the programs off the devices they named. Returns how
 * many. */
unsigned loader_adopt_done(struct loader *l);
/* clean: detaches everything, removes the gate unless it carries addresses, removes the pins. Else everything stays and
 * keeps working (without sockets: as on_exit says). NULL is accepted. */
void loader_close(struct loader *l, bool clean);

/* XDP (PROG_STEER, PROG_GATE). '*got' (may be NULL): LOADER_NATIVE or LOADER_GENERIC. AUTO: the mode in which we are
 * attached already, else native, else generic (logged). Another mode than the one in use costs a gap. */
int loader_attach_xdp(struct loader *l, enum loader_prog prog, const char *ifname, enum loader_mode mode,
		      enum loader_mode *got, struct err *e);
/* tc by clsact, preference 1, handle 1. The direction follows from the program. */
int loader_attach_tc(struct loader *l, enum loader_prog prog, const char *ifname, struct err *e);
/* By the interface index of the time of attaching, so a renamed device is found. Succeeds when the device or the
 * program is gone already; never touches a foreign program. */
int loader_detach(struct loader *l, enum loader_prog prog, uint32_t ifindex, struct err *e);
/* Looks after every attachment: one that somebody removed is put back. Returns how many were (0 = all in place), or
 * -errno when that failed; 'e' names the last one either way. Devices that are gone are forgotten. */
int loader_check(struct loader *l, struct err *e);

int loader_prog_fd(const struct loader *l, enum loader_prog prog);
int loader_map_fd(const struct loader *l, enum loader_map map);

/* Mapped memory, valid until loader_close. Adopted as it was left: counters go on, bits stay set. */
struct gen_area *loader_gen_area(struct loader *l);
/* STEER_BITMAP_SIZE bytes, bit n = byte n / 8, bit n % 8 (little-endian, so also bit n % 64 of word n / 64). NULL: no
 * such pool. The caller sets bits by atomic or; XDP only reads. */
uint64_t *loader_pool_bits(struct loader *l, uint32_t pool, enum steer_proto which);

/* The replay table (tables/abi/replay.h), mapped. Programs look away (conf->flags is 0), the index is empty and so are the filter and
 * replay_remote: what a predecessor exported ends at loader_open. conf->buckets and conf->flows are filled in. */
struct loader_replay {
	struct replay_conf *conf;
	struct replay_bucket *index;
	uint64_t *filter;
	struct replay_flow4 *flow4;
	struct replay_flow6 *flow6;
	struct adj *adjs; /* REPLAY_ADJS, for adj_use() */
};
const struct loader_replay *loader_replay(const struct loader *l);
/* Senders of VXLAN. 'in' = FLOW_IN_REMOTE | index. As the entries below. */
int loader_replay_remote_set(struct loader *l, const struct replay_remote *k, uint32_t in);
int loader_replay_remote_del(struct loader *l, const struct replay_remote *k);
/* Whether the device takes frames by XDP_REDIRECT just now: what a driver can't take vanishes without a trace. A veth can
 * while its peer has GRO or XDP on, so ask again when links change. -EOPNOTSUPP: the kernel can't tell (before 6.3). */
int loader_can_redirect(uint32_t ifindex);
/* Whether it has GRO just now: on a veth links that change may end what XDP began. */
bool loader_has_gro(const char *device);
int loader_set_gro(const char *device, bool on, struct err *e);

/* Entries. set: insert or replace. del: succeeds when absent. No text: the caller names the thing; -E2BIG or -ENOSPC =
 * full. */
int loader_steer_set(struct loader *l, const struct ipnet *prefix, const struct steer_val *v);
int loader_steer_del(struct loader *l, const struct ipnet *prefix);
int loader_service_set(struct loader *l, const struct steer_service *k);
int loader_service_del(struct loader *l, const struct steer_service *k);
int loader_steer_dev_set(struct loader *l, uint32_t ifindex, const struct steer_dev *v);
int loader_steer_dev_del(struct loader *l, uint32_t ifindex);
/* Slot 0 is the gate's. The kernel empties the entry when the socket closes. */
int loader_xsk_set(struct loader *l, uint32_t slot, uint32_t queue, int fd);
int loader_xsk_del(struct loader *l, uint32_t slot, uint32_t queue);
/* Both directions at once: frames from ep->ifindex, frames to ep->id. */
int loader_endpoint_set(struct loader *l, const struct gate_endpoint *ep);
int loader_endpoint_del(struct loader *l, uint32_t id, uint32_t ifindex);
int loader_gate_conf_set(struct loader *l, const struct gate_conf *c);

/* Sums over CPUs. */
int loader_gate_stats(struct loader *l, uint64_t n[static GATE_STATS]);
int loader_steer_stats(struct loader *l, uint64_t n[static STEER_STATS]);
int loader_replay_stats(struct loader *l, uint64_t n[static REPLAY_STATS]);

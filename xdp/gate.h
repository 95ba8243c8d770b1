/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate: veth pair sluice_host (kernel end) / sluice_net (engine end), contract of its frames in tables/abi/gate.h.
 * Control thread.
 *
 * What keeps it correct, set here and watched by gate_check:
 * - sluice_host has every transmit offload off (checksum, scatter-gather, segmentation, VLAN): AF_XDP would hand the
 * engine frames without checksum, longer than a chunk, or without their tag. Containers keep theirs.
 * - sluice_host: NOARP (the engine resolves), no generated IPv6 address, no router advertisements, no redirects;
 *   accept_local on, since the engine's ICMP answers may come from an address of the box; rp_filter off, since sources
 * are behind it that have no route there ('set host-routes off', remote nodes) and the engine has checked them. The
 * kernel takes the larger of conf/all and conf/sluice_host: with conf/all at strict (1) ours is set to loose (2).
 * - sluice_net: no IPv6, native XDP sluice_gate, which drops what no socket takes. */
#pragma once

#include "xdp/loader.h"

#define GATE_HOST_DEVICE "sluice_host"
#define GATE_NET_DEVICE "sluice_net"

struct gate_info {
	uint32_t host_ifindex, net_ifindex;
	struct mac host_mac;
	uint16_t mtu; /* IP bytes */
	bool adopted; /* the pair was there already */
};

/* Makes the pair with 'n_queues' (1..STEER_QUEUES) each way, or adopts one of that shape; another shape is replaced,
 * with its addresses (logged). Ends up; programs attached; gate_conf set. 'info' may be NULL. */
int gate_create(struct loader *l, uint32_t n_queues, uint16_t mtu, struct gate_info *info, struct err *e);
/* 0: all as created. 1: somebody changed offloads or rp_filter and it was put back ('e' says what). -errno: it could
 * not be. The programs are loader_check's. */
int gate_check(struct loader *l, struct err *e);
/* Removes the pair; succeeds when there is none. */
int gate_destroy(struct loader *l, struct err *e);

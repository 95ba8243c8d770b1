/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* The contract on the gate wire, kernel end sluice_host <-> engine end sluice_net (design section 7).
 *
 * Toward the engine: source MAC = stamp (who sent it), destination MAC = the frame's original *source* MAC.
 * From the engine:   destination MAC = stamp (who gets it), source MAC = the real destination MAC (endpoint's or
 * sluice_host's); the kernel end swaps it in and writes the gateway MAC as source.
 * A stamp is 02, 0xe0 | kind, then a 32-bit id in network order. */
#pragma once

#include <linux/types.h>

enum gate_kind {
	GATE_ENDPOINT = 1,       /* unicast from or to endpoint 'id' */
	GATE_ENDPOINT_BCAST = 2, /* from endpoint 'id', was sent to a broadcast or multicast MAC */
	GATE_HOST = 3,           /* from or to the box itself, id 0 */
	/* From the engine: to the box's transparent listener on port 'id', whatever the destination says. Toward the engine: the
	 * same frame again, since nobody listens there. */
	GATE_PROXY = 4,
};
#define GATE_MAC0 0x02
#define GATE_MAC1 0xe0

/* One gateway MAC for all containers of the box. */
/* clang-format off */
#define GATE_GATEWAY_MAC { 0x02, 0xe9, 0x00, 0x00, 0x00, 0x01 }
/* clang-format on */

/* Mark of packets on their way to a listener. A rule for exactly this value leads to a table with one local route for
 * everything (fwd/netlink_proxy.c): what is to be received needs no address of the box. */
#define GATE_PROXY_MARK 0x51ce0001

/* map gate_by_ifindex: key __u32 ifindex of a container's host veth -> */
struct gate_endpoint {
	__u32 id;
	__u32 ifindex;
	__u32 attach; /* 0 veth into another namespace (redirect to the peer), 1 any other device (plain redirect) */
	__u32 reserved;
};
/* map gate_by_id: key __u32 endpoint id -> struct gate_endpoint */

/* map gate_conf: array of one */
struct gate_conf {
	__u32 host_ifindex; /* sluice_host */
	__u32 n_queues;     /* gate queues = workers */
	__u8 host_mac[6];   /* of sluice_host */
	__u8 reserved[2];
};

/* map gate_stats: per-CPU array of __u64 packet counts */
enum gate_stat {
	GATE_TO_ENGINE,
	GATE_FROM_ENGINE,
	GATE_DROP_UNKNOWN_DEVICE,   /* container program on a device that is no endpoint */
	GATE_DROP_UNKNOWN_ENDPOINT, /* engine named an endpoint the kernel does not know */
	GATE_DROP_BAD_STAMP,        /* frame on sluice_host ingress without a stamp */
	GATE_DROP_WRITE,            /* helper failed */
	GATE_DROP_NO_SOCKET,        /* frame for the engine while no socket is bound */
	GATE_DROP_HOST_PROTO,       /* host sent something but IPv4, IPv6 or ARP toward the engine */
	GATE_TO_CONTAINER,          /* [to-container] let it pass: from the engine or a replay */
	GATE_DROP_TO_CONTAINER,     /* [to-container]: sent by the box itself, past the engine */
	GATE_DROP_NET,              /* [to-host] on sluice_net: the XDP program in front of it was gone */
	GATE_TO_PROXY,
	GATE_PROXY_REFUSED, /* nobody listens: back to the engine */
	GATE_STATS,
};

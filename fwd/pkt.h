/* SPDX-License-Identifier: BSD-2-Clause */
/* A packet on its way through one worker. Lives in the worker's burst array (64 of them, always in L1), not beside the frame;
 * who holds it owns the frame that 'data' points into. */
#pragma once

#include "fwd/base/net.h"
#include "tables/abi/flow.h"

enum { BURST_MAX = 64 };

enum pkt_csum {
	PKT_CSUM_UNKNOWN = 0, /* as on the wire: taken as it is */
	PKT_CSUM_MAYBE_PARTIAL =
		1,             /* from a veth: a field equal to the folded pseudo-header sum is unfinished, SCTP: 0 */
	PKT_CSUM_COMPLETE = 2, /* recompute always (port option checksum complete) */
};

/* The first line is all that replay reads or writes for IPv4 (fwd/burst.c). */
struct pkt {
	uint8_t *data; /* first byte of the Ethernet frame */
	uint32_t len;  /* bytes of this buffer */
	uint16_t port; /* ingress port index */
	uint8_t csum;  /* pkt_csum, set by the port; ports set these four and nothing else */
	uint8_t slow;  /* replay: its shape wants a decision */
	uint64_t hash; /* of the key */
	uint8_t *l3;
	uint32_t in;              /* FLOW_IN_* */
	uint32_t record;          /* replay: first guess */
	uint16_t l3_len;          /* IP packet: header + payload as the header says */
	uint16_t l4_len;          /* from l4 to the end of the IP packet */
	uint16_t flags;           /* pkt_flag */
	uint8_t proto, tcp_flags; /* SCTP: sctp_as_tcp() */
	union {
		struct flow_key4 k4;
		struct flow_key6 k6;
	};

	/* filled by parse */
	uint8_t *l4;
	uint8_t *inner; /* Ethernet header of the packet at l3: 'data', or behind VXLAN */
	uint8_t ttl, tos;
	uint8_t outer_tos; /* overlay: outer TOS, for RFC 6040 */

	/* filled by decide's entry step */
	uint32_t outer_vni; /* overlay: VNI it came with */
	uint32_t identity;  /* of the source */
	uint16_t zone;      /* of the ingress, part of the key; set before parse */
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct pkt, k4) == 48 && sizeof(struct pkt) == 128, "two lines");

INLINE void pkt_init(struct pkt *p, uint8_t *data, uint32_t len, uint16_t port, uint8_t csum)
{
	p->data = data;
	p->len = len;
	p->port = port;
	p->csum = csum;
}
/* Clears what replay left behind and pkt_init() did not set: the decision path starts with zeroes. */
INLINE void pkt_clear(struct pkt *p)
{
	memset(&p->slow, 0, sizeof(*p) - offsetof(struct pkt, slow));
}

enum pkt_flag {
	PKT_IP6 = 1,
	PKT_FRAG = 2,       /* any fragment */
	PKT_FRAG_LATER = 4, /* not the first: no ports */
	PKT_OPTIONS = 8,    /* IPv4 options or IPv6 extension headers */
	PKT_ICMP_ERROR = 16,
	PKT_OVERLAY = 32,    /* was decapsulated */
	PKT_FIRST_SEEN = 64, /* already retried from the hold queue */
	PKT_BCAST = 128,     /* sent to a group MAC */
	PKT_ICMP_ECHO = 256,
	PKT_ARP = 512,
	PKT_VNI_CLAIM = 1024, /* identity mode: outer_vni says who the sender is */
};

/* SPDX-License-Identifier: BSD-2-Clause */
/* From bytes to fields: every length is checked before it is used, each malformation has its drop reason. */
#pragma once

#include "fwd/drop.h"
#include "fwd/pkt.h"
#include "tables/frag.h"

/* Ethernet, VLAN tags, then IP by parse_ip; ARP sets PKT_ARP and p->l3. Reads p->data, p->len and p->zone only. */
enum drop parse_frame(struct pkt *p);
/* IP and L4 at p->data + 'off'; fills l3 .. ttl, flags, key (in zone p->zone) and hash. */
enum drop parse_ip(struct pkt *p, uint32_t off, uint16_t ethertype);
/* The L4 header of a first fragment, which must be there as a whole (RFC 1858, RFC 7112): what later ones need of it. */
enum drop parse_first(struct pkt *p, struct frag_ports *f);
/* Gives a fragment's key what only the first one says. */
void parse_set_ports(struct pkt *p, const struct frag_ports *f);
/* If 'p' is TCP, UDP or SCTP and its checksum is unfinished (see pkt_csum), finishes it in place. */
void parse_complete_csum(struct pkt *p);

/* A wire tuple with 16-byte addresses: what the decision path works on. */
struct tuple {
	struct ipaddr src, dst;
	be16 sport, dport;
	uint16_t zone; /* of where it comes in or leaves */
	uint8_t proto;
};
void tuple_of_pkt(const struct pkt *p, struct tuple *t);
void tuple_reverse(const struct tuple *t, struct tuple *r); /* in the same zone */
/* Writes the flow key (16 or 40 bytes) of 't' and gives its hash. */
uint64_t tuple_key(const struct tuple *t, void *key);
void tuple_of_key(bool v6, const void *key, struct tuple *t);

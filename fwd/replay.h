/* SPDX-License-Identifier: BSD-2-Clause */
/* Replay: one look-up, one rewrite, out. What leaves replay for decide (design section 5), the one list:
 * what is neither TCP nor UDP, any fragment, ICMP errors, IPv4 options and IPv6 extension headers, TTL <= 1, longer than the adjacency's MTU, TCP with
 * SYN, FIN or RST, 'in' or validity mismatch, an adjacency that died, an outer congestion mark, a translated packet without DF
 * where 'nat identification' is unique (in the kernel alone). */
#pragma once

#include "fwd/parse.h"
#include "fwd/worker.h"
#include "tables/ct.h"

/* Whose packets a record is for. */
struct flow_from {
	uint32_t in;  /* FLOW_IN_* */
	uint32_t vni; /* what they came with: in identity mode others are decided for themselves */
	bool no_hop;  /* the TTL stays */
};
/* Writes the action of record 'r' into it: this direction's packets leave as 'out' through 'adj'. 'gensum' is stored last,
 * and only if nothing changed since gen_begin() gave 'begin': else the next packet decides again. The key is there already. */
void record_write(struct ct *c, uint32_t r, const struct tuple *out, uint32_t adj, const struct flow_from *from,
		  const uint16_t dep[4], uint32_t begin);
/* No packet of the connection is replayed before one of its direction was decided again. 'r': either record. */
void record_stop_both(struct ct *c, uint32_t r);
/* A copy of record 'r' as it stands, whether valid or not: all of one decision. Any thread. */
union record {
	struct flow6 v6;
	struct flow4 v4;
} __attribute__((aligned(32)));
void record_read(const struct ct *c, uint32_t r, union record *out); /* waits for who is writing it just now */
/* With the VNI of struct flow_from. false: somebody is. */
bool record_peek(const struct ct *c, uint32_t r, union record *out, uint32_t *vni);
/* Rewrites 'p' as record 'r' says and sends it, in fragments where it is too long (the caller has refused what must not be
 * fragmented). The other checks of the list above are the caller's. Owns the frame. */
void replay_one(struct worker *w, struct pkt *p, struct ct *c, uint32_t r);
/* Puts the adjacency's headers in front of the IP packet at p->l3 and stages it. Owns the frame. */
void emit(struct worker *w, struct pkt *p, uint32_t adj);
/* Same for an IP packet that is not a received packet's (ICMP answers, fragments): 'l3' inside a frame of ours. */
void emit_l3(struct worker *w, uint8_t *l3, uint32_t l3_len, bool v6, uint32_t adj, uint16_t in_port, uint64_t hash);

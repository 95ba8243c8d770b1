/* SPDX-License-Identifier: BSD-2-Clause */
/* Is an address free before we take it? Pool and service addresses on the link of one of our ports that the kernel does not own:
 * asked for by one ARP probe or neighbour solicitation, a second long (RFC 4862 5.4; RFC 5227 2.1, which wants three probes),
 * then announced, twice. Until then, and as long as another host has one, the engine does not answer for it. An address that
 * is another's is asked for again every ten seconds, later every minute; one that no link leads to waits for one that does. What
 * is ours is announced again when its port comes up, has another MAC, or is another one. Control thread, but for what workers ask. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"
#include "tables/table.h"

/* AWAY: routers lead to it, or it is the box's own */
enum claim_state { CLAIM_ASKING, CLAIM_OWN, CLAIM_TAKEN, CLAIM_AWAY };
extern const char *const claim_state_names[];
struct claim {
	uint64_t next_ns; /* ASKING, TAKEN: of the next probe or its end; OWN: not announced again before that */
	struct mac other; /* who has it, or had it last */
	uint8_t state;    /* claim_state; workers read */
	uint8_t asked;    /* a probe is out; OWN: one announcement is to follow */
	uint16_t port;    /* whose link it is on; AWAY: 0 */
	uint8_t ask;      /* not taken unasked */
	uint8_t reserved;
	uint32_t conflicts; /* heard of since it was ours */
};
_Static_assert(sizeof(struct claim) == 24, "no padding");

int claim_init(struct err *e);
void claim_fini(void);
/* A pool or service address came. 'ask' false: announced at once, for it was ours a moment ago or the operator says so. */
void claim_begin(const struct ipaddr *a, bool ask);
void claim_dirty(void);        /* some address went */
void claim_link_changed(void); /* a port may be down, and up again before the next tick */
/* A worker saw that 'm' on 'port' uses the address or asks for it as we do. */
void claim_seen(const struct ipaddr *a, unsigned port, const struct mac *m);
void claim_tick(uint64_t now_ns); /* about ten times a second */

/* Workers: is it not ours, or not yet? And is it known to be another's? */
bool claim_withheld(const struct ipaddr *a);
bool claim_taken(const struct ipaddr *a);

uint32_t claim_next(uint32_t after, struct ipaddr *a, struct claim *c); /* walk; 0 = no more */
uint32_t claim_count(void);

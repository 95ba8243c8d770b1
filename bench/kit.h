/* SPDX-License-Identifier: BSD-2-Clause */
/* What the benchmarks of the engine share: a gateway in memory with one uplink, one tunnel and containers, ports that send
 * into the void, and the frames of flow f in both directions. Not for workers with threads of their own: the benchmark
 * calls engine_burst itself, one thread a worker. Errors end the process with a sentence. */
#pragma once

#include "fwd/worker.h"

enum { KIT_EP_ID = 10, KIT_PORTS_PER_DST = 50000 };

struct kit_case {
	const char *name;
	bool v6, snat, remote, both,
		reply,   /* remote: endpoint to a remote node; reply: packets from outside or overlay */
		service; /* the destination is a service of three backends outside */
};

/* In messages; set it first. */
extern const char *kit_program;
/* Flows are dealt out to this many containers (10.1.0.10, .11 ...), and those of one source port over this many more
 * destinations; 1 and 1 unless set before kit_setup. */
extern unsigned kit_endpoints, kit_spread;

_Noreturn void kit_die(const char *what, const char *text);
#define KIT_MUST(call)                                                                                                 \
	do {                                                                                                           \
		struct err e = { "" };                                                                                 \
		if ((call) < 0)                                                                                        \
			kit_die(#call, e.text);                                                                        \
	} while (0)

struct ipaddr kit_addr(const char *s);
struct ipnet kit_net(const char *s);
/* Tables for 'conns' connections of each kind, 'n' workers without threads; each may send on every port by itself. */
void kit_setup(unsigned n, uint32_t conns);
void kit_pools(bool on); /* masquerade */
void kit_services(void);
void kit_pin(unsigned cpu);
double kit_hz(void); /* of the cycle counter; takes 50 ms the first time */
int kit_by_value(const void *a, const void *b);

/* Frame of flow 'f' as the container sends it: UDP with a checksum, 60 bytes for IPv4, 80 for IPv6. Returns the length. */
uint32_t kit_build(uint8_t *b, const struct kit_case *c, uint32_t f);
/* What the other side answers to the frame that the engine sent for 'f': read from the flow's record, so it must live. */
uint32_t kit_build_reply(struct worker *w, uint8_t *b, const struct kit_case *c, uint32_t f);
/* Port that it comes in by. */
uint16_t kit_in_port(const struct kit_case *c, bool reply);
/* One packet through the engine; it must go out. */
void kit_one(struct worker *w, uint8_t *f, uint32_t len, uint16_t port);
void kit_settle(void);                     /* what the index of connections still has to move to its larger level */
void kit_clear(struct worker *w, bool v6); /* deletes all connections */

/* SPDX-License-Identifier: BSD-2-Clause */
/* A whole gateway in memory for golden tests, fuzzers and unit tests: all tables, the configuration as an operator types it,
 * mem ports instead of devices (the gate too), a clock that stands still. The calling thread is all workers and the control
 * thread in turn. One box a process, and not a second one after it. */
#pragma once

#include "fwd/fib.h"
#include "fwd/worker.h"

enum { BOX_FRAME_MAX = 16384 };
/* Another kind of port in place of mem ports (but the gate), and the far side of its wire. */
struct box_wire {
	const char *kind;
	char *(*translate)(const char *commands, struct err *e); /* the caller frees; NULL: refused */
	int (*put)(struct port *p, const void *frame, uint32_t len);
	uint32_t (*take)(struct port *p, void *buf); /* BOX_FRAME_MAX bytes */
};
extern const struct box_wire *box_wire; /* NULL: mem ports */
extern const struct mac box_host_mac;   /* of sluice_host */

struct box_limits {
	uint32_t frames, ct_tcp, ct_other; /* 0: plenty for a test */
	uint32_t gate_queues;              /* 0: one */
};
/* Empty box, no port yet; the clock stands at 1000 s. */
int box_open(const struct box_limits *l, struct err *e);
/* Ends it. False when not every frame came back. */
bool box_close(struct err *e);

/* Commands as in a file, one transaction; 'text' is cut into lines. */
int box_commands(const char *name, char *text, FILE *out, struct err *e);
/* Kernel routes and addresses. 'port' NULL: by a device that is no port of ours. */
int box_route(bool add, const char *prefix, const struct port *port, const char *via, struct err *e);
int box_route_metric(bool add, const char *prefix, const struct port *port, const char *via, uint32_t metric,
		     struct err *e);
int box_route_nowhere(bool add, const char *prefix, enum fib_kind kind, struct err *e);
int box_local(const char *addr, const struct port *port, struct err *e);

/* Everything there is to do: requests, timers, grace periods, worker loops. */
void box_run(void);
void box_advance(uint64_t ns); /* in steps of 10 ms, running; over 60 s in one */
/* One frame into a port, and one loop of the worker that owns it. */
int box_send(struct port *p, const void *frame, uint32_t len);
/* Next frame that left by 'p'; its length, 0 = none. 'buf' has BOX_FRAME_MAX bytes. */
uint32_t box_take(struct port *p, void *buf);

/* in = out + drops + held over all ports, and drops by port = drops by reason. */
bool box_balanced(struct err *e);
uint64_t box_drops(void); /* of all reasons */

/* SPDX-License-Identifier: BSD-2-Clause */
/* Step box: a link on which the kernel is present beside the engine (a DPDK port's tap, a netdev that a driver shares with it).
 * The box's own packets leave there without the engine, so what comes for the box goes there, not by the gate, and has no
 * connection. In front of AF_XDP ports xdp/steer.bpf.c does this. */
#include "fwd/decide.h"
#include "fwd/frag.h"
#include "tables/nat.h"

static bool is_beside(const struct decision *d)
{
	return d->p->in == FLOW_IN_UPLINK && ports[d->p->port]->kernel_beside;
}

static enum step leave(struct decision *d)
{
	struct pkt *p = d->p;
	struct port *port = ports[p->port];
	decide_say(d, "box", "the kernel's own, left to it on port %s", port->conf.name);
	d->left = true;
	if (d->x)
		return STEP_DONE;
	if (p->csum)
		parse_complete_csum(p);
	if (port->ops->to_kernel)
		port->ops->to_kernel(port, p->data, p->len);
	worker_consume(d->w, p);
	if (d->frag && !(p->flags & PKT_FRAG_LATER))
		frag_queue_send(d->w, d->frag);
	return STEP_DONE;
}

/* By the address alone, whatever the protocol, fragments and errors too: it is only the box's. */
enum step step_box(struct decision *d)
{
	if (!is_beside(d) || nat_pool_by_addr(&d->wire.dst) >= 0 || service_is_vip(&d->wire.dst))
		return STEP_ON;
	return fib_is_own(&d->wire.dst) ? leave(d) : STEP_ON;
}

/* An address that is shared with pools and services: what none of them claimed. */
enum step step_box_rest(struct decision *d)
{
	if (!is_beside(d) || d->record || d->backend || d->inmap)
		return STEP_ON;
	return fib_is_own(&d->wire.dst) ? leave(d) : STEP_ON;
}

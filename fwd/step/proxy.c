/* SPDX-License-Identifier: BSD-2-Clause */
/* Step proxy: a connection that policy hands to a listener of the box leaves by the gate with a stamp that names the listener's
 * port; the destination stays (xdp/proxy.bpf.h). It keeps to what it began with: a direct one that must now go by a proxy ends,
 * since the proxy knows nothing of it; one that began with a proxy and is now allowed without ends with it. */
#include "fwd/decide.h"
#include "fwd/resolve.h"
#include "tables/proxy.h"

static enum step may_be_redirected(struct decision *d)
{
	const struct pkt *p = d->p;
	if (p->proto != PROTO_TCP && p->proto != PROTO_UDP) {
		decide_say(d, "proxy", "only TCP and UDP can be handed to a proxy");
		return decide_drop(d, DROP_PROXY);
	}
	/* the listener is assigned to a packet by its ports, before the kernel joins fragments */
	if (p->flags & PKT_FRAG && !d->reply)
		return decide_drop(d, DROP_FRAG_UNSUPPORTED);
	return STEP_ON;
}

/* A connection in the middle of something. */
static enum step start_anew(struct decision *d, const char *how)
{
	decide_say(d, "proxy", "the connection began %s a proxy: it ends", how);
	if (d->x)
		return STEP_ON;
	ct_delete(d->ct, d->w->slot, d->record >> 1);
	return d->reply ? decide_drop(d, DROP_POLICY) : STEP_AGAIN;
}

void decide_proxy_route(uint16_t port, struct route *r)
{
	r->adj = LOAD_ACQUIRE(&resolve_proxy_adj[port]);
	r->kind = r->adj ? ROUTE_HOST : ROUTE_NONE;
	r->in = FLOW_IN_HOST;
	r->zone = 0;
	r->failed = r->no_tunnel = false;
	r->refused = 0;
}

enum step step_proxy(struct decision *d)
{
	enum step s;
	const bool began = d->record && conn_flags(d->conn) & CONN_PROXY;
	if (began && !d->proxy_port)
		d->proxy_port = proxy_port(d->ct->v6, d->record >> 1);
	if (!d->proxy_port) /* 'began': taken over from a crash, and the rule has gone since */
		return began ? start_anew(d, "with") : STEP_ON;
	if ((s = may_be_redirected(d)) != STEP_ON)
		return s;
	if (d->record && !began && (s = start_anew(d, "without")) != STEP_ON)
		return s;
	if (d->reply)
		return STEP_ON;
	decide_say(d, "proxy", "to the listener on port %u of the box", d->proxy_port);
	decide_proxy_route(d->proxy_port, &d->to);
	if (!d->record) { /* its answer comes from the box; it sees the client as he is */
		d->out.zone = 0;
		d->out.sport = d->wire.sport;
	}
	return STEP_ON;
}

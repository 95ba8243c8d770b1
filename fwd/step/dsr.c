/* SPDX-License-Identifier: BSD-2-Clause */
/* Step dsr: direct server return. The backend, which has the service's address too, gets the client's packet as it is in an IP
 * packet of its own (RFC 2003, RFC 2473) and answers the client itself. Such a connection is one that is not translated, and its
 * other direction is never seen.
 *
 * Only behind an uplink: what is here or behind a tunnel answers by this box anyway, and is served by translation. */
#include "fwd/decide.h"

/* No answer will ask for the client's neighbour: so that a reset or an ICMP error finds it, it is asked for now. */
static void find_client(const struct decision *d)
{
	struct route r;
	if (d->x || d->record)
		return;
	step_route(d->wire.zone, &d->wire.src, (uint32_t)d->p->hash, d->dst_identity, &r);
	if (r.kind == ROUTE_PORT && !r.adj && !r.failed)
		worker_request(d->w, &(struct request){ .kind = REQUEST_RESOLVE, .key = r.key });
}

enum step step_dsr(struct decision *d)
{
	struct route *r = d->reply ? &d->from : &d->to;
	if (!d->dsr)
		return STEP_ON;
	if (ip_eq(&d->osrc, &d->odst)) { /* RFC 2003 3.2: not into the tunnel whose end sent it */
		decide_say(d, "service", "the backend that is chosen is the client itself");
		return decide_drop(d, DROP_UNROUTABLE);
	}
	find_client(d);
	if (r->kind == ROUTE_PORT && !d->reply)
		step_route_ipip(&d->odst, r);
	if (r->kind == ROUTE_PORT || r->kind == ROUTE_NONE)
		return STEP_ON;
	decide_say(d, "service", "its backend is no longer behind an uplink: the connection starts anew");
	if (d->x)
		return d->reply ? decide_drop(d, DROP_NO_SERVICE) : STEP_ON;
	if (d->record)
		ct_delete(d->ct, d->w->slot, d->record >> 1);
	return d->reply ? decide_drop(d, DROP_NO_SERVICE) : STEP_AGAIN;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Step service: the one place where a destination is looked up among frontends, whoever sends: uplink, overlay, host or
 * container (design section 6, step 5). A new connection gets a backend, and from here on its destination is that one: policy
 * and route see it. A known one keeps its backend while that may serve. */
#include "fwd/decide.h"
#include "fwd/reset.h"
#include "tables/affinity.h"
#include "tables/nat.h"

/* The address is a frontend's, but nothing serves this port. What the box or a NAT pool has there too is not the frontend's. */
static enum step unknown_port(struct decision *d)
{
	if (fib_is_own(&d->wire.dst) || nat_pool_by_addr(&d->wire.dst) >= 0)
		return STEP_ON;
	decide_say(d, "service", "this address has services, but none for this port and protocol");
	return decide_drop(d, DROP_NO_SERVICE);
}

static enum step check_source(struct decision *d, const struct service *s)
{
	struct ipnet row;
	char text[IP_STRLEN];
	if (!s->range_set || service_source_ok(s, &d->wire.src, d->x != NULL, &row))
		return STEP_ON;
	if (row.len == 255)
		decide_say(d, "service", "the client is in none of the service's source ranges");
	else
		decide_say(d, "service", "the client is in the denied range %s", ipnet_print(&row, text));
	return decide_drop(d, DROP_NOT_IN_SOURCE_RANGE);
}

static uint32_t choose(struct decision *d, const struct service *s, bool *stuck)
{
	*stuck = false;
	if (s->conf.affinity) {
		uint32_t b = affinity_find(&d->wire.src, s->id, s->conf.affinity, d->w->now_s);
		/* the row may outlive its backend, whose place may be another service's now */
		*stuck = b && backend_key_at(b)->service == s->id && LOAD_RELAXED(&backend_at(b)->use) == USE_NEW;
		if (*stuck)
			return b;
	}
	return service_choose(s, &d->wire.src, ntohs(d->wire.sport), worker_random(d->w), d->x != NULL);
}

/* Direct server return is for who is behind an uplink (fwd/step/dsr.c). */
static bool returns_directly(const struct decision *d, const struct service *s, const struct ipaddr *backend)
{
	struct route r;
	if (!s->conf.dsr)
		return false;
	step_route_from(d->wire.zone, backend, (uint32_t)d->p->hash, d->p->identity, &r);
	return r.kind == ROUTE_PORT || r.kind == ROUTE_NONE;
}

/* A container that gets itself: from its own address it would answer itself, past the gateway. */
static bool is_hairpin(const struct decision *d)
{
	return ip_eq(&d->odst, &d->wire.src);
}

static enum step new_connection(struct decision *d, const struct service *s)
{
	char text[IP_STRLEN];
	bool stuck;
	enum step step = check_source(d, s);
	if (step != STEP_ON)
		return step;
	const uint32_t b = choose(d, s, &stuck);
	if (!b) {
		d->no_backend = true;
		decide_say(d, "service", "no backend may take a new connection");
		return decide_drop(d, DROP_NO_SERVICE);
	}
	const struct backend_key *k = backend_key_at(b);
	d->backend = b;
	d->service = s;
	d->odst = k->addr;
	d->odport = k->port ? htons(k->port) : d->wire.dport;
	d->dsr = returns_directly(d, s, &k->addr);
	decide_say(d, "service", "backend %s port %u, by %s%s%s", ip_print(&k->addr, text), ntohs(d->odport),
		   stuck ? "affinity" : service_algorithms[s->conf.algorithm],
		   d->dsr ? ", in IP, it answers the client itself" : "",
		   s->fallback ? "; only draining ones are left" : "");
	if (d->dsr)
		return STEP_ON;
	d->out.dst = d->odst;
	d->out.dport = d->odport;
	if (is_hairpin(d)) {
		d->hairpin = true;
		d->out.src = d->wire.dst;
		decide_say(d, "service", "the client is its own backend: it sees the service's address as source");
	}
	return STEP_ON;
}

/* A client that opens: it asks again because nobody answered, or uses the port of a connection that is over. */
static bool is_opening(const struct decision *d)
{
	enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
	return d->p->proto == PROTO_TCP && !d->reply && (d->p->tcp_flags & (FIN | SYN | RST | ACK)) == SYN;
}

/* Of a connection whose backend may no longer serve: a UDP client gets another one at once, so does a TCP client that opens; one
 * that has been talking to it is told. */
static enum step end_connection(struct decision *d)
{
	const bool tell = d->p->proto == PROTO_TCP && !is_opening(d);
	decide_say(d, "service", "its backend is down or deleted: %s",
		   tell ? "the connection ends" : "another one is chosen");
	if (d->x)
		return tell || d->reply ? decide_drop(d, DROP_NO_SERVICE) : STEP_ON;
	if (tell)
		reset_connection(d);
	ct_delete(d->ct, d->w->slot, d->record >> 1);
	return tell || d->reply ? decide_drop(d, DROP_NO_SERVICE) : STEP_AGAIN;
}

/* Is 's' what the connection was opened to? */
static bool is_frontend(const struct decision *d, const struct service *s)
{
	const struct service_key *k = &s->conf.key;
	const struct ipaddr *vip = d->reply ? &d->out.src : &d->wire.dst;
	const uint16_t port = ntohs(d->reply ? d->out.sport : d->wire.dport);
	return ip_eq(&k->vip, vip) && k->proto == d->wire.proto && (!k->port || k->port == port);
}

/* One that is over holds its backend no longer: the place may be another's, also another service's with the same address. With
 * direct return the tuples do not name it, but they name the service. */
static bool still_serves(const struct decision *d, uint32_t b, const struct service *s)
{
	const struct backend_key *k = backend_key_at(b);
	if (LOAD_RELAXED(&backend_at(b)->use) == USE_NONE || !s || (k->port && k->port != ntohs(d->odport)))
		return false;
	return is_frontend(d, s) && (d->dsr || ip_eq(&k->addr, &d->odst));
}

static enum step known_connection(struct decision *d)
{
	const uint32_t b = LOAD_RELAXED(&d->conn->dnat);
	const struct service *s = backend_service(b);
	enum step step;
	if (!still_serves(d, b, s))
		return end_connection(d);
	if (!d->reply && (step = check_source(d, s)) != STEP_ON)
		return step;
	d->backend = b;
	d->service = s;
	d->hairpin = !d->dsr && ip_eq(&d->osrc, &d->odst);
	return STEP_ON;
}

enum step step_service(struct decision *d)
{
	const struct tuple *t = &d->wire;
	const struct service *s;
	bool vip;
	if (d->record)
		return conn_flags(d->conn) & CONN_SERVICE ? known_connection(d) : STEP_ON;
	d->out = *t;
	d->osrc = t->src;
	d->odst = t->dst;
	d->odport = t->dport;
	/* another's replies would look alike: the same client port to this backend by another service, or the same address and
	 * port in another zone */
	if (d->again && t->sport)
		d->out.sport = htons((uint16_t)(1024 + worker_random(d->w) % (65536 - 1024)));
	if (t->proto == PROTO_TCP || t->proto == PROTO_UDP || t->proto == PROTO_SCTP) {
		s = service_find(&t->dst, ntohs(t->dport), t->proto, &vip);
		return s ? new_connection(d, s) : vip ? unknown_port(d) : STEP_ON;
	}
	return service_is_vip(&t->dst) ? unknown_port(d) : STEP_ON;
}

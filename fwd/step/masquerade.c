/* SPDX-License-Identifier: BSD-2-Clause */
/* Step un-NAT (a new packet from outside to a mapped port) and step masquerade (local endpoint to outside), design section 6
 * steps 5 and 8. Mappings are endpoint-independent; a filter says who may come back in (RFC 4787 REQ-1, REQ-8). */
#include "fwd/decide.h"
#include "tables/ipmasq.h"
#include "tables/nat.h"

/* The port or id that stands for the inside in a tuple's source. */
static be16 inside_port(const struct tuple *t)
{
	return t->sport;
}

enum step step_unnat(struct decision *d)
{
	const struct tuple *t = &d->wire;
	if (d->p->in != FLOW_IN_UPLINK || nat_pool_by_addr(&t->dst) < 0)
		return STEP_ON;
	uint32_t m = nat_proto_supported(t->proto) ? nat_by_outside(&t->dst, t->proto, ntohs(t->dport)) : 0;
	if (!m) {
		struct fib_result f;
		fib_lookup(&t->dst, 0, &f);
		if (f.kind == FIB_LOCAL)
			return STEP_ON; /* the kernel's own address too: its own traffic */
		decide_say(d, "nat", "no mapping for this port of pool address");
		return decide_drop(d, DROP_NAT_NO_MAPPING);
	}
	if (!nat_permitted(m, &t->src, ntohs(t->sport))) {
		decide_say(d, "nat", "the mapping never talked to this remote address");
		return decide_drop(d, DROP_NAT_FILTERED);
	}
	const struct nat_key *k = nat_key_at(m);
	d->mapping = m;
	d->inbound = true;
	d->odst = k->inside;
	d->out.dst = k->inside;
	d->out.dport = d->odport = htons(k->inside_port);
	decide_say(d, "nat", "mapped inbound to port %u", k->inside_port);
	return STEP_ON;
}

/* Pool this connection should leave by, -1 = untranslated. */
static int wanted_pool(struct decision *d)
{
	char text[IP_STRLEN];
	struct ipnet hit;
	const struct route *to = d->reply ? &d->from : &d->to;
	if (to->kind != ROUTE_PORT || d->inbound || d->proxy_port || (!d->src_endpoint && !d->backend))
		return -1;
	if (d->backend && backend_service(d->backend)->conf.keep_client && !d->src_endpoint) {
		decide_say(d, "masquerade", "not translated: the service keeps its clients' addresses");
		return -1;
	}
	if (d->src_endpoint && ipmasq_match(&d->odst, &hit)) {
		decide_say(d, "masquerade", "not translated: destination is in ipmasq %s", ipnet_print(&hit, text));
		return -1;
	}
	int pool = nat_pool_choose(&d->osrc, to->port);
	if (pool < 0)
		decide_say(d, "masquerade", "not translated: no pool of the family for this source and port");
	return pool;
}

static enum step masquerade_new(struct decision *d, int pool)
{
	char text[IP_STRLEN];
	bool created;
	if (!nat_proto_supported(d->wire.proto))
		return decide_drop(d, DROP_NAT_PROTO);
	if (d->x) {
		decide_say(d, "masquerade", "from pool %s", ip_print(&nat_pools[pool].addr, text));
		return STEP_ON;
	}
	struct nat_key k = { .inside = d->osrc,
			     .inside_port = ntohs(inside_port(&d->wire)),
			     .proto = d->wire.proto,
			     .pool = (uint8_t)pool };
	struct worker *w = d->w;
	uint64_t random = (uint64_t)worker_random(w) << 32 | worker_random(w);
	if (nat_map(w->slot, &k, w->now_s, random, &d->mapping, &created))
		return decide_drop(d, DROP_NAT_NO_PORT);
	if (nat_permit(w->slot, d->mapping, &d->odst, ntohs(d->odport))) {
		nat_unref(w->slot, d->mapping);
		d->mapping = 0;
		return decide_drop(d, DROP_NAT_NO_PORT);
	}
	const struct nat_mapping *m = nat_at(d->mapping);
	d->out.src = m->outside;
	d->out.sport = htons(m->outside_port);
	return STEP_ON;
}

enum step step_masquerade(struct decision *d)
{
	int pool = wanted_pool(d);
	if (!d->record)
		return pool < 0 ? STEP_ON : masquerade_new(d, pool);
	/* a stored translation that the configuration no longer wants ends the connection; its next packet starts anew */
	int have = d->conn->mapping ? nat_at(d->conn->mapping)->pool : -1;
	if (d->inbound)
		pool = have; /* as long as there is that pool */
	if (have == pool && (pool < 0 || !ip_is_zero(&nat_pools[pool].addr)))
		return STEP_ON;
	decide_say(d, "masquerade", "the connection's translation is no longer configured: it starts anew");
	if (d->x)
		return STEP_ON;
	ct_delete(d->ct, d->w->slot, d->record >> 1);
	return d->reply ? decide_drop(d, DROP_NAT_NO_MAPPING) : STEP_AGAIN;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of connections (contract in adopt.h). Control thread, at start.
 *
 * Two keys and a connection line are checked against each other and against what the mapping says; then the connection is
 * made by ct_alloc() and ct_publish(), so a damaged one can at worst be refused. Its records keep the keys and the counters
 * only: 'in' 0 and a sum that never matches, as in a new one. */
#include <errno.h>

#include "tables/adopt.h"
#include "tables/ct.h"
#include "tables/affinity.h"
#include "tables/endpoint.h"
#include "tables/nat.h"
#include "tables/proxy.h"
#include "tables/service.h"
#include "tables/tunnel.h"

enum { AHEAD = 8, IDENTITY_MAX = 0xffffff };

/* One family at a time. */
struct reader {
	struct ct *ct;
	struct former conns, flows, remotes, backends;
	uint32_t now_s;
};
/* A former record, of either family. */
struct side {
	struct ipaddr src, dst;
	uint16_t sport, dport; /* host order */
	uint32_t zp, seen;
};
struct claim {
	const struct conn *conn;
	const uint8_t *records; /* both */
	struct side fwd, rev;
	uint32_t in, mapping, inmap, backend; /* translated */
};

static struct side side_of(bool v6, const void *record)
{
	if (v6) {
		const struct flow6 *f = record;
		return (struct side){ ip_from6(f->key.src),
				      ip_from6(f->key.dst),
				      ntohs(f->key.sport),
				      ntohs(f->key.dport),
				      f->key.zp,
				      f->seen };
	}
	const struct flow4 *f = record;
	return (struct side){
		ip_from4(f->key.src), ip_from4(f->key.dst), ntohs(f->key.sport), ntohs(f->key.dport), f->key.zp, f->seen
	};
}

static bool is_host(const struct ipaddr *a)
{
	return !ip_is_zero(a) && !ip_is_multicast(a) && !ip_is_loopback(a) && !ip_is_bcast4(a);
}

static bool same_end(const struct ipaddr *a, uint16_t ap, const struct ipaddr *b, uint16_t bp)
{
	return ap == bp && ip_eq(a, b);
}

static bool proto_fits(const struct claim *c, bool v6)
{
	const uint8_t proto = c->conn->proto;

	if (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP || proto == (v6 ? PROTO_ICMP6 : PROTO_ICMP))
		return true;
	/* under translated prefixes, all that has no ports */
	return v6 && proto != PROTO_ICMP && !(c->fwd.sport | c->fwd.dport | c->rev.sport | c->rev.dport);
}

static bool state_fits(uint8_t proto, uint8_t state)
{
	const bool datagram = state == CT_UNREPLIED || state == CT_REPLIED;

	if (state == CT_NEW || state == CT_REFUSED)
		return true;
	return ct_has_machine(proto) ? state < CT_STATES && !datagram : datagram;
}

static enum adopt_drop judge_form(const struct claim *c, bool v6)
{
	const struct conn *k = c->conn;

	if (k->flags & CONN_DEAD) /* somebody was deleting it: nothing is lost */
		return ADOPT_EXPIRED;
	if (!proto_fits(c, v6) || !state_fits(k->proto, k->state) || k->fin_seen > 3 || k->identity > IDENTITY_MAX ||
	    k->dst_identity > IDENTITY_MAX)
		return ADOPT_DAMAGED;
	if ((uint8_t)c->fwd.zp != k->proto || (uint8_t)c->rev.zp != k->proto || (c->fwd.zp | c->rev.zp) >> 24)
		return ADOPT_DAMAGED;
	if (!is_host(&c->fwd.src) || !is_host(&c->fwd.dst) || !is_host(&c->rev.src) || !is_host(&c->rev.dst))
		return ADOPT_DAMAGED;
	return ADOPT_OK;
}

static enum adopt_drop judge_age(const struct claim *c, uint32_t now_s)
{
	return c->conn->created > now_s || c->fwd.seen > now_s || c->rev.seen > now_s ? ADOPT_FUTURE : ADOPT_OK;
}

enum adopt_drop adopt_in(struct former *remotes, uint32_t former, uint32_t *in)
{
	const uint32_t which = former & FLOW_IN_INDEX;

	*in = former;
	switch (former & ~(uint32_t)FLOW_IN_INDEX) {
	case FLOW_IN_UPLINK:
	case FLOW_IN_HOST:
		return which ? ADOPT_DAMAGED : ADOPT_OK;
	case FLOW_IN_ENDPOINT:
		return endpoint_by_id(which) ? ADOPT_OK : ADOPT_SENDER;
	case FLOW_IN_REMOTE:
		*in = FLOW_IN_REMOTE | remote_of_former(remotes, which);
		return *in == FLOW_IN_REMOTE ? ADOPT_SENDER : ADOPT_OK;
	default:
		return ADOPT_DAMAGED;
	}
}

/* With direct return both keys name the service; which backend it is, says its number in the former process. */
static uint32_t former_backend(struct former *backends, const struct claim *c, const struct service *s)
{
	const uint32_t b = c->conn->dnat;
	const struct backend_key *k = former_is_live(backends, b) ? former_at(backends, b) : NULL;

	return k && (!k->port || k->port == c->fwd.dport) ? backend_find(s->id, &k->addr, k->port) : 0;
}

/* The backend that the reply key names, of the service that the forward key names. */
static enum adopt_drop judge_service(struct reader *rd, struct claim *c)
{
	const struct side *f = &c->fwd, *r = &c->rev;
	bool vip;

	c->backend = 0;
	if (!(c->conn->flags & CONN_SERVICE))
		return ADOPT_OK;
	const struct service *s = service_find(&f->dst, f->dport, c->conn->proto, &vip);
	if (s && same_end(&f->dst, f->dport, &r->src, r->sport)) {
		c->backend = former_backend(&rd->backends, c, s);
		return c->backend ? ADOPT_OK : ADOPT_SERVICE;
	}
	if (s)
		c->backend = backend_find(s->id, &r->src, r->sport);
	if (s && !c->backend && r->sport == f->dport)
		c->backend = backend_find(s->id, &r->src, 0);
	return c->backend ? ADOPT_OK : ADOPT_SERVICE;
}

static bool is_mapped(uint32_t mapping, uint32_t zp, const struct ipaddr *inside, uint16_t inside_port,
		      const struct ipaddr *outside, uint16_t outside_port)
{
	const struct nat_mapping *m = nat_at(mapping);
	const struct nat_key *k = nat_key_at(mapping);

	return FLOW_ZP(k->zone, m->proto) == zp && same_end(inside, inside_port, &k->inside, k->inside_port) &&
	       same_end(outside, outside_port, &m->outside, m->outside_port);
}

/* Ends that a static pool stands at, in 'mapping' and 'inmap'. */
static enum adopt_drop judge_static(struct claim *c)
{
	const struct side *f = &c->fwd, *r = &c->rev;
	const struct conn *o = c->conn;

	if (o->mapping & NAT_STATIC) {
		if (o->flags & CONN_SNAT || f->sport != r->dport)
			return ADOPT_DAMAGED;
		if (!(c->mapping = nat_static(&f->src, &r->dst)))
			return ADOPT_POOL;
	}
	if (!(o->dnat & NAT_STATIC) || c->backend)
		return ADOPT_OK;
	if (o->flags & CONN_INBOUND_MAP || f->dport != r->sport)
		return ADOPT_DAMAGED;
	return (c->inmap = nat_static(&r->src, &f->dst)) ? ADOPT_OK : ADOPT_POOL;
}

/* The reply key is the reverse of what is sent: of the forward key, unless a mapping or a service stands at that end. */
static enum adopt_drop judge_mapping(struct claim *c)
{
	const struct side *f = &c->fwd, *r = &c->rev;
	const struct conn *o = c->conn;
	/* who is its own backend sees the service's address */
	const bool own = c->backend && ip_eq(&f->src, &r->src) && same_end(&f->dst, f->sport, &r->dst, r->dport);
	/* one port toward one end by two services, or of one address in two zones: the second one has another port there */
	const bool src_same = own || ip_eq(&f->src, &r->dst);
	const bool dst_same = c->backend || same_end(&f->dst, f->dport, &r->src, r->sport);

	c->mapping = c->inmap = 0;
	const enum adopt_drop why = judge_static(c);
	if (why)
		return why;
	if (!!(o->flags & CONN_SNAT) != nat_is_mapping(o->mapping) ||
	    (o->flags & CONN_INBOUND_MAP && (c->backend || !o->dnat)))
		return ADOPT_DAMAGED;
	if ((!(o->flags & CONN_SNAT) && !c->mapping && !src_same) ||
	    (!(o->flags & CONN_INBOUND_MAP) && !c->inmap && !dst_same))
		return ADOPT_DAMAGED;
	if (o->flags & CONN_SNAT && !(c->mapping = nat_adopted(o->mapping)))
		return ADOPT_POOL;
	if (o->flags & CONN_INBOUND_MAP && !(c->inmap = nat_adopted(o->dnat)))
		return ADOPT_POOL;
	if (nat_is_mapping(c->mapping) && !is_mapped(c->mapping, f->zp, &f->src, f->sport, &r->dst, r->dport))
		return ADOPT_DAMAGED;
	if (nat_is_mapping(c->inmap) && !is_mapped(c->inmap, r->zp, &r->src, r->sport, &f->dst, f->dport))
		return ADOPT_DAMAGED;
	return ADOPT_OK;
}

static void fill(struct ct *c, uint32_t conn, const struct claim *from)
{
	const struct conn *o = from->conn;
	struct conn *k = ct_conn(c, conn);

	/* Field by field: 'writing' is a lock, and who held it when he was killed would hold it for ever. */
	*k = (struct conn){ .state = o->state,
			    .proto = o->proto,
			    .flags = o->flags & (CONN_SNAT | CONN_INBOUND_MAP | CONN_SERVICE | CONN_LEFT | CONN_PROXY),
			    .fin_seen = o->fin_seen,
			    .created = o->created,
			    .in = from->in,
			    .identity = o->identity,
			    .dst_identity = o->dst_identity,
			    .mapping = from->mapping,
			    .dnat = from->backend ? from->backend : from->inmap,
			    .decided = o->decided };
	memcpy(k->carry_packets, o->carry_packets, sizeof(k->carry_packets));
	memcpy(k->carry_bytes, o->carry_bytes, sizeof(k->carry_bytes));
	memcpy(k->vni, o->vni, sizeof(k->vni));
	for (unsigned d = 0; d < 2; d++) {
		if (c->v6) {
			struct flow6 *f = ct_flow6(2 * conn + d);
			const struct flow6 *r = (const struct flow6 *)from->records + d;
			f->key = r->key;
			f->seen = r->seen;
			f->packets = r->packets;
			f->bytes = r->bytes;
		} else {
			struct flow4 *f = ct_flow4(2 * conn + d);
			const struct flow4 *r = (const struct flow4 *)from->records + d;
			f->key = r->key;
			f->seen = r->seen;
			f->packets = r->packets;
			f->bytes = r->bytes;
		}
	}
}

/* Whom the mapped source talked to, as it saw it: its filter lets him in. */
static struct nat_remote remote_of(const struct claim *c)
{
	const uint16_t zone = (uint16_t)(c->rev.zp >> 8);
	return c->inmap ? (struct nat_remote){ c->fwd.dst, c->fwd.dport, zone }
			: (struct nat_remote){ c->rev.src, c->rev.sport, zone };
}

static bool take_mapping(const struct claim *c)
{
	const struct nat_remote remote = remote_of(c);

	if (nat_is_mapping(c->inmap) && !nat_ref(c->inmap))
		return false;
	if (!nat_is_mapping(c->mapping))
		return true;
	if (nat_ref(c->mapping)) {
		if (!nat_permit_in(SLOT_CONTROL, c->mapping, &remote))
			return true;
		nat_unref(SLOT_CONTROL, c->mapping);
	}
	if (nat_is_mapping(c->inmap))
		nat_unref(SLOT_CONTROL, c->inmap);
	return false;
}

static void take_backend(const struct claim *c)
{
	if (!c->backend || c->conn->flags & CONN_LEFT)
		return;
	backend_take(c->backend);
	if (backend_service(c->backend)->conf.affinity)
		affinity_take(SLOT_CONTROL, &c->fwd.src, backend_key_at(c->backend)->service, c->backend, c->fwd.seen);
}

static void give_mapping(const struct claim *c)
{
	const struct nat_remote remote = remote_of(c);

	if (nat_is_mapping(c->inmap))
		nat_unref(SLOT_CONTROL, c->inmap);
	if (!nat_is_mapping(c->mapping))
		return;
	nat_unpermit_in(SLOT_CONTROL, c->mapping, &remote);
	nat_unref(SLOT_CONTROL, c->mapping);
}

static enum adopt_drop make(struct ct *c, const struct claim *from, uint32_t now_s)
{
	const bool tcp = from->conn->proto == PROTO_TCP;
	uint32_t present, i;

	/* a full quota must not evict what was just taken over */
	if (tcp ? c->n_tcp >= c->max_tcp : c->n_other >= c->max_other)
		return ADOPT_ROOM;
	i = ct_alloc(c, SLOT_CONTROL, from->conn->proto, now_s);
	if (!i)
		return ADOPT_ROOM;
	fill(c, i, from);
	enum adopt_drop why = ADOPT_ROOM;
	if (!ct_remaining(c, i, now_s)) {
		why = ADOPT_EXPIRED;
	} else if (take_mapping(from)) {
		const bool proxied = ct_conn(c, i)->flags & CONN_PROXY;
		int err = proxied ? proxy_add(SLOT_CONTROL, c->v6, i, 0) : 0;
		if (!err) {
			err = ct_publish(c, SLOT_CONTROL, i, &present);
			if (!err) {
				take_backend(from);
				return ADOPT_OK;
			}
			if (proxied)
				proxy_del(SLOT_CONTROL, c->v6, i);
		}
		give_mapping(from);
		why = err == -EEXIST ? ADOPT_DUPLICATE : ADOPT_ROOM;
	}
	ct_abort(c, SLOT_CONTROL, i);
	return why;
}

static enum adopt_drop adopt(struct reader *r, uint32_t i)
{
	struct claim c = { .conn = former_at(&r->conns, i), .records = former_at(&r->flows, i) };
	enum adopt_drop why;

	if (!c.conn || !c.records)
		return ADOPT_DAMAGED;
	c.fwd = side_of(r->ct->v6, c.records);
	c.rev = side_of(r->ct->v6, c.records + r->ct->flow_size);
	if ((why = judge_form(&c, r->ct->v6)) || (why = judge_age(&c, r->now_s)) ||
	    (why = adopt_in(&r->remotes, c.conn->in, &c.in)) || (why = judge_service(r, &c)) ||
	    (why = judge_mapping(&c)))
		return why;
	return make(r->ct, &c, r->now_s);
}

/* The permit's place in its index. */
static void prefetch_permit(struct reader *r, const struct conn *k, const uint8_t *reply)
{
	const struct side s = side_of(r->ct->v6, reply);
	struct nat_ahead a = { .mapping = k->mapping ? nat_adopted(k->mapping) : 0 };
	struct ipaddr outside;
	uint16_t port;

	if (!a.mapping || !(k->flags & CONN_SNAT))
		return;
	a.key = *nat_key_at(a.mapping);
	nat_ahead_end(&a, &s.src, s.sport, &outside, &port);
}

/* Both keys' places in the index: random memory, the time of the whole thing. */
static void prefetch(struct reader *r, uint32_t i)
{
	const struct conn *k = former_at(&r->conns, i);
	const uint8_t *records = former_at(&r->flows, i);

	for (unsigned d = 0; records && d < 2; d++)
		hidx_prefetch(&r->ct->idx, hash_key(records + d * r->ct->flow_size, r->ct->idx.key_len));
	if (k && records)
		prefetch_permit(r, k, records + r->ct->flow_size);
}

/* The LIVE entries of one window. */
static uint32_t next_window(const struct former *f, uint32_t i, uint32_t idx[FORMER_WINDOW], unsigned *n)
{
	const uint32_t window = i / FORMER_WINDOW;

	for (*n = 0; i && i / FORMER_WINDOW == window; i = former_next(f, i))
		idx[(*n)++] = i;
	return i;
}

static void adopt_all(struct reader *r)
{
	uint32_t idx[FORMER_WINDOW], i = former_next(&r->conns, 0);
	unsigned n;

	while (i) {
		i = next_window(&r->conns, i, idx, &n);
		for (unsigned k = 0; k < AHEAD && k < n; k++)
			prefetch(r, idx[k]);
		for (unsigned k = 0; k < n; k++) {
			if (k + AHEAD < n)
				prefetch(r, idx[k + AHEAD]);
			enum adopt_drop why = adopt(r, idx[k]);
			if (why == ADOPT_OK)
				adoption.connections++;
			else if (why == ADOPT_EXPIRED)
				adoption.expired++;
			else
				adoption.dropped++;
			adoption.drops[why]++;
		}
	}
}

void ct_adopt(bool v6, uint32_t now_s)
{
	struct reader r = { .ct = ct_of(v6), .now_s = now_s };

	if (former_open_pool(&r.conns, v6 ? "ct6" : "ct4", sizeof(struct conn)) == 0 &&
	    former_open_array(&r.flows, v6 ? "flow6" : "flow4", r.ct->flow_size, 2 * r.ct->flow_size,
			      r.conns.capacity) == 0) {
		remotes_former(&r.remotes);
		former_open_pool(&r.backends, "lb_backends", sizeof(struct backend_key) + sizeof(struct backend));
		adopt_all(&r);
		former_close(&r.backends);
	}
	former_close(&r.remotes);
	former_close(&r.flows);
	former_close(&r.conns);
}

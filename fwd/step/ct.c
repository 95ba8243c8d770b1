/* SPDX-License-Identifier: BSD-2-Clause */
/* Steps ct and commit: finding the connection of a packet, and making or refreshing its record once everything is decided
 * (design section 6, steps 4 and 10). */
#include <errno.h>

#include "fwd/decide.h"
#include "fwd/observe.h"
#include "fwd/replay.h"
#include "tables/affinity.h"
#include "tables/nat.h"
#include "tables/proxy.h"

enum { TH_SYN = 2 };

static const void *record_key(const struct ct *c, uint32_t r)
{
	return c->v6 ? (const void *)&ct_flow6(r)->key : (const void *)&ct_flow4(r)->key;
}

bool decide_is_inbound(const struct conn *c)
{
	const uint8_t flags = conn_flags(c);
	return flags & CONN_INBOUND_MAP || (!(flags & CONN_SERVICE) && c->dnat & NAT_STATIC);
}

/* What a record sends is the reverse of its sibling's key. */
void decide_stored_tuples(struct decision *d)
{
	struct tuple fwd, rev;
	tuple_of_key(d->ct->v6, record_key(d->ct, d->record & ~1u), &fwd);
	tuple_of_key(d->ct->v6, record_key(d->ct, d->record | 1u), &rev);
	d->osrc = fwd.src;
	d->odst = rev.src;
	d->odport = rev.sport;
	tuple_reverse(d->reply ? &fwd : &rev, &d->out);
	d->inbound = decide_is_inbound(d->conn);
	/* nothing else sends to a backend untranslated */
	d->dsr = conn_flags(d->conn) & CONN_SERVICE && ip_eq(&fwd.dst, &rev.src);
	if (d->dsr)
		d->odst = backend_key_at(LOAD_RELAXED(&d->conn->dnat))->addr;
}

/* May a packet of no known connection begin one? What an RST or SYN+ACK may not, the TCP machine says, for SCTP, too. */
static enum step begins(struct decision *d)
{
	const struct pkt *p = d->p;
	if (!ct_has_machine(p->proto) || p->tcp_flags & TH_SYN || !settings.ct_pickup_drop)
		return STEP_ON;
	decide_say(d, "ct", "no %s, and no connection that it belongs to: 'set ct pickup allow' takes it up",
		   p->proto == PROTO_TCP ? "SYN" : "INIT");
	return decide_drop(d, DROP_CT_UNKNOWN_STATE);
}

enum step step_ct(struct decision *d)
{
	uint8_t key[40];
	uint64_t hash = tuple_key(&d->wire, key);
	d->p->hash = hash;
	d->ct = ct_of(!ip_is4(&d->wire.src));
	d->record = ct_find(d->ct, key, hash, d->w->now_s);
	d->reply = d->record & 1;
	d->conn = d->record ? ct_conn(d->ct, d->record >> 1) : NULL;
	d->mapping = d->inmap = d->backend = 0;
	d->inbound = d->hairpin = d->dsr = false;
	d->proxy_port = 0;
	if (!d->record) {
		decide_say(d, "ct", "new");
		return begins(d);
	}
	decide_stored_tuples(d);
	decide_say(d, "ct", "%s of a connection in state %s", d->reply ? "reply" : "packet",
		   ct_state_names[LOAD_RELAXED(&d->conn->state)]);
	return STEP_ON;
}

void decide_release_nat(struct decision *d)
{
	const uint32_t mapping = d->mapping;
	d->mapping = 0;
	if (!nat_is_mapping(mapping))
		return;
	const struct nat_remote to = decide_nat_remote(d);
	nat_unpermit_in(d->w->slot, mapping, &to);
	nat_unref(d->w->slot, mapping);
}

static void set_keys(struct decision *d, uint32_t conn)
{
	struct tuple reply;
	tuple_reverse(&d->out, &reply);
	if (d->ct->v6) {
		tuple_key(&d->wire, &ct_flow6(conn * 2)->key);
		tuple_key(&reply, &ct_flow6(conn * 2 + 1)->key);
	} else {
		tuple_key(&d->wire, &ct_flow4(conn * 2)->key);
		tuple_key(&reply, &ct_flow4(conn * 2 + 1)->key);
	}
}

static enum ct_tcp_verdict feed_tcp(const struct decision *d, struct conn *c)
{
	return d->dsr && !d->reply ? ct_tcp_one_way(c, d->p->tcp_flags) : ct_tcp(c, d->reply, d->p->tcp_flags);
}

static void take_backend(const struct decision *d)
{
	backend_take(d->backend);
	if (d->service->conf.affinity)
		affinity_take(d->w->slot, &d->wire.src, d->service->id, d->backend, d->w->now_s);
}

static void give_backend(uint32_t b, const struct ipaddr *client, uint32_t seen)
{
	const struct service *s = backend_service(b);
	if (s && s->conf.affinity)
		affinity_give(client, s->id, b, seen);
	backend_give(b); /* last: then it may go */
}

/* What it is opened through from outside. 0, or as nat_ref_new(). */
static int take_inmap(const struct decision *d, struct conn *c)
{
	const int gone = nat_is_mapping(d->inmap) ? nat_ref_new(d->w->slot, d->inmap) : 0;
	if (gone || !d->inmap)
		return gone;
	c->dnat = d->inmap;
	c->flags |= nat_is_mapping(d->inmap) ? CONN_INBOUND_MAP : 0;
	return 0;
}

static void give_inmap(const struct decision *d)
{
	if (nat_is_mapping(d->inmap))
		nat_unref(d->w->slot, d->inmap);
}

static enum step create(struct decision *d)
{
	struct pkt *p = d->p;
	uint32_t present = 0, conn;
	enum drop full = DROP_CT_FULL;
	conn = ct_alloc(d->ct, d->w->slot, p->proto, d->w->now_s);
	if (!conn) {
		decide_release_nat(d);
		return decide_drop(d, DROP_CT_FULL);
	}
	struct conn *c = ct_conn(d->ct, conn);
	c->in = p->in;
	c->identity = d->src_identity;
	c->dst_identity = d->dst_identity;
	c->rule_egress = d->rule_egress;
	c->rule_ingress = d->rule_ingress;
	c->mapping = d->mapping;
	c->flags = nat_is_mapping(d->mapping) ? CONN_SNAT : 0;
	if (d->proxy_port)
		c->flags |= CONN_PROXY;
	if (d->backend) {
		c->flags |= CONN_SERVICE;
		c->dnat = d->backend;
	}
	const int gone = take_inmap(d, c);
	if (gone) {
		ct_abort(d->ct, d->w->slot, conn);
		decide_release_nat(d);
		return decide_drop(d, gone == -EDQUOT ? DROP_NAT_QUOTA : DROP_NAT_NO_MAPPING);
	}
	set_keys(d, conn);
	if (!ct_has_machine(p->proto)) {
		ct_datagram(c, false);
	} else if (feed_tcp(d, c) == CT_TCP_INVALID) { /* RST or SYN+ACK for nothing */
		give_inmap(d);
		ct_abort(d->ct, d->w->slot, conn);
		decide_release_nat(d);
		return decide_drop(d, DROP_CT_STATE);
	}
	decide_window_begin(d, conn);
	decide_tags_begin(d, conn);
	if (d->backend) /* before somebody can delete it */
		take_backend(d);
	int err = d->proxy_port ? proxy_add(d->w->slot, d->ct->v6, conn, d->proxy_port) : 0;
	if (err == 0) {
		err = ct_publish(d->ct, d->w->slot, conn, &present);
		if (err && d->proxy_port)
			proxy_del(d->w->slot, d->ct->v6, conn);
	} else if (err == -ENOSPC) {
		full = DROP_PROXY;
	}
	if (err == 0) {
		d->record = conn * 2;
		d->conn = c;
		if (observing(OBSERVE_FLOWS))
			observe_conn(d->w->slot, d->ct->v6, conn, false);
		return STEP_ON;
	}
	give_inmap(d);
	if (d->backend)
		give_backend(d->backend, &d->wire.src, d->w->now_s);
	ct_abort(d->ct, d->w->slot, conn);
	decide_release_nat(d);
	d->again = err == -EEXIST;
	return err == -EEXIST ? STEP_AGAIN /* another worker was faster: adopt its connection */
			      : decide_drop(d, full);
}

/* A cut connection whose packet passed policy again goes on: for TCP as after an RST (data restores it, a SYN starts anew). */
static void restore(struct conn *c)
{
	uint8_t refused = CT_REFUSED, next = ct_has_machine(c->proto) ? CT_RST_SEEN : CT_NEW;
	__atomic_compare_exchange_n(&c->state, &refused, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static struct ipaddr client_of(const struct decision *d)
{
	struct tuple t;
	tuple_of_key(d->ct->v6, record_key(d->ct, d->record & ~1u), &t);
	return t.src;
}

/* Data after a reset that was none. A connection that somebody deletes stays as it is: it was given back for the last time. */
static void come_back(const struct decision *d, struct conn *c)
{
	uint8_t flags = conn_flags(c);
	if ((flags & (CONN_LEFT | CONN_DEAD)) != CONN_LEFT)
		return;
	const struct ipaddr client = client_of(d);
	const struct service *s = backend_service(c->dnat);
	backend_take(c->dnat);
	if (s && s->conf.affinity)
		affinity_again(&client, s->id, c->dnat);
	while ((flags & (CONN_LEFT | CONN_DEAD)) == CONN_LEFT)
		if (__atomic_compare_exchange_n(&c->flags, &flags, (uint8_t)(flags & ~CONN_LEFT), true,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
	give_backend(c->dnat, &client, d->w->now_s);
}

/* A closed connection stays for a while, but its backend is rid of it: that is what operators who drain one wait for, and what
 * least connections compares. */
static void leave_backend(const struct decision *d, struct conn *c)
{
	const uint8_t state = LOAD_RELAXED(&c->state);
	if (!(conn_flags(c) & CONN_SERVICE))
		return;
	if (state != CT_TIME_WAIT && state != CT_RST_SEEN && !(d->dsr && state == CT_CLOSING)) {
		come_back(d, c);
		return;
	}
	if (__atomic_fetch_or(&c->flags, CONN_LEFT, __ATOMIC_RELAXED) & CONN_LEFT)
		return;
	const struct ipaddr client = client_of(d);
	give_backend(c->dnat, &client, d->w->now_s);
}

/* What the TCP machine will say, on a copy. */
static enum ct_tcp_verdict verdict(const struct decision *d)
{
	struct conn c = { .proto = PROTO_TCP };
	if (d->conn) {
		c.state = LOAD_RELAXED(&d->conn->state);
		c.fin_seen = LOAD_RELAXED(&d->conn->fin_seen);
	}
	restore(&c);
	return feed_tcp(d, &c);
}

/* The client has ACKed what went past here: it is no flood of one side, and not the first to go when there is no room. */
static void count_as_answered(const struct decision *d, const struct conn *c)
{
	uint32_t *seen = ct_record_seen(d->ct, d->record | 1);
	if (LOAD_RELAXED(&c->state) == CT_ESTABLISHED && !LOAD_RELAXED(seen))
		STORE_RELAXED(seen, d->w->now_s);
}

static enum step refresh(struct decision *d)
{
	struct pkt *p = d->p;
	struct conn *c = d->conn;
	bool aside = !decide_tags(d);
	enum step s;
	restore(c);
	/* with direct return nothing tells how far the client may go */
	if (ct_is_strict(c) && !d->dsr && verdict(d) == CT_TCP_OK && (s = decide_window(d, &aside)) != STEP_ON)
		return s;
	if (!ct_has_machine(p->proto)) {
		ct_datagram(c, d->reply);
	} else if (!aside) {
		switch (feed_tcp(d, c)) {
		case CT_TCP_REOPEN:
			ct_delete(d->ct, d->w->slot, d->record >> 1);
			return STEP_AGAIN;
		case CT_TCP_INVALID:
			return decide_drop(d, DROP_CT_STATE);
		default:
			leave_backend(d, c);
			if (d->dsr)
				count_as_answered(d, c);
			break;
		}
	}
	if (!d->reply)
		STORE_RELAXED(&c->in, p->in);
	STORE_RELAXED(&c->identity, d->src_identity);
	STORE_RELAXED(&c->dst_identity, d->dst_identity);
	STORE_RELAXED(&c->rule_egress, d->rule_egress);
	STORE_RELAXED(&c->rule_ingress, d->rule_ingress);
	STORE_RELAXED(&c->decided, LOAD_RELAXED(&c->decided) + 1);
	if (d->proxy_port)
		proxy_update(d->ct->v6, d->record >> 1, d->proxy_port);
	return STEP_ON;
}

void decide_connection_gone(unsigned slot, bool v6, uint32_t conn)
{
	struct ct *c = ct_of(v6);
	struct conn *cn = ct_conn(c, conn);
	const uint8_t flags = conn_flags(cn);
	if (observing(OBSERVE_FLOWS))
		observe_conn(slot, v6, conn, true);
	if (flags & CONN_PROXY)
		proxy_del(slot, v6, conn);
	/* unless another worker sees it close at this moment: leave_backend() */
	if (flags & CONN_SERVICE && !(__atomic_fetch_or(&cn->flags, CONN_LEFT, __ATOMIC_RELAXED) & CONN_LEFT)) {
		struct tuple t;
		tuple_of_key(v6, record_key(c, conn * 2), &t);
		give_backend(cn->dnat, &t.src, LOAD_RELAXED(ct_record_seen(c, conn * 2)));
	}
	if (flags & CONN_INBOUND_MAP)
		nat_unref(slot, cn->dnat);
	if (flags & CONN_SNAT) {
		struct tuple there, t;
		tuple_of_key(v6, record_key(c, conn * 2 + 1), &there);
		t = there;
		if (decide_is_inbound(cn)) { /* hairpin: it talked to the outside address */
			tuple_of_key(v6, record_key(c, conn * 2), &t);
			tuple_reverse(&t, &t);
		}
		/* in the zone where it went, as decide_nat_remote() had it */
		nat_unpermit_in(slot, cn->mapping, &(struct nat_remote){ t.src, ntohs(t.sport), there.zone });
		nat_unref(slot, cn->mapping);
	}
}

bool decide_may_evict(bool v6, uint32_t conn)
{
	const struct conn *c = ct_conn(ct_of(v6), conn);
	const uint8_t flags = LOAD_RELAXED(&c->flags);
	const uint32_t out = flags & CONN_SNAT ? LOAD_RELAXED(&c->mapping) : 0;
	const uint32_t in = flags & CONN_INBOUND_MAP ? LOAD_RELAXED(&c->dnat) : 0;
	const uint32_t own = out && out == in ? 2 : 1; /* references: both of who talks to itself */

	return !(nat_is_mapping(out) && LOAD_RELAXED(&nat_at(out)->refs) <= own) &&
	       !(nat_is_mapping(in) && LOAD_RELAXED(&nat_at(in)->refs) <= own);
}

static enum step rehearse(struct decision *d)
{
	const enum ct_tcp_verdict v = ct_has_machine(d->p->proto) ? verdict(d) : CT_TCP_OK;
	bool aside;
	if (d->conn && !decide_tags(d))
		return STEP_ON;
	if (v == CT_TCP_OK && d->conn && !d->dsr)
		return decide_window(d, &aside);
	if (v != CT_TCP_INVALID)
		return STEP_ON;
	decide_say(d, "ct", "%s fit %s",
		   d->p->proto == PROTO_TCP ? "these TCP flags do not" : "this SCTP chunk does not",
		   d->conn ? "the state of the connection" : "a new connection");
	return decide_drop(d, DROP_CT_STATE);
}

enum step step_commit(struct decision *d)
{
	if (d->x)
		return rehearse(d);
	enum step s = d->record ? refresh(d) : create(d);
	if (s != STEP_ON)
		return s;
	const struct flow_from from = { d->p->in, d->p->outer_vni, !decide_hop(d->p, &d->to) };
	record_write(d->ct, d->record, &d->out, d->to.adj, &from, d->dep, d->begin);
	if (!ct_replayable(d->conn))
		record_stop_both(d->ct, d->record);
	return STEP_ON;
}

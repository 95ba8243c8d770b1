/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of the tables for 'show'. Control thread, RCU online. Entries that workers change meanwhile are read word by
 * word: a row may be a moment old, never of two connections at once in its key. */
#include "cli/show.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>

#include "cli/grammar.h"
#include "fwd/base/clock.h"
#include "fwd/export.h"
#include "fwd/frag.h"
#include "fwd/port/port.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/ipcache.h"
#include "tables/ipmasq.h"
#include "tables/nat_block.h"
#include "tables/neighbor.h"
#include "tables/policy.h"
#include "tables/tunnel.h"

static void out_proto(struct out *o, uint8_t proto)
{
	if (proto_name(proto))
		out_str(o, "proto", proto_name(proto));
	else
		out_fmt(o, "proto", "%u", proto);
}

/* ---- ct ---- */

/* One direction in the form both families share. */
struct direction {
	struct ipaddr src, dst;
	uint16_t sport, dport, zone;
	uint8_t proto;
	uint64_t packets, bytes;
};

static void read_direction(bool v6, uint32_t record, struct direction *d)
{
	const struct conn *c = ct_conn(ct_of(v6), record >> 1);
	uint32_t zp;

	if (v6) {
		const struct flow6 *f = ct_flow6(record);
		d->src = ip_from6(f->key.src);
		d->dst = ip_from6(f->key.dst);
		d->sport = ntohs(f->key.sport);
		d->dport = ntohs(f->key.dport);
		zp = f->key.zp;
		d->packets = LOAD_RELAXED(&f->packets);
		d->bytes = LOAD_RELAXED(&f->bytes);
	} else {
		const struct flow4 *f = ct_flow4(record);
		d->src = ip_from4(f->key.src);
		d->dst = ip_from4(f->key.dst);
		d->sport = ntohs(f->key.sport);
		d->dport = ntohs(f->key.dport);
		zp = f->key.zp;
		d->packets = LOAD_RELAXED(&f->packets);
		d->bytes = LOAD_RELAXED(&f->bytes);
	}
	d->proto = (uint8_t)zp;
	d->zone = (uint16_t)(zp >> 8);
	d->packets += (uint64_t)LOAD_RELAXED(&c->carry_packets[record & 1]) << 32;
	d->bytes += (uint64_t)LOAD_RELAXED(&c->carry_bytes[record & 1]) << 32;
	struct export_count kernel = export_counted(ct_of(v6), record >> 1, record & 1);
	d->packets += kernel.packets;
	d->bytes += kernel.bytes;
}

/* The rule that allowed it: its name, else its number. */
static void out_rule(struct out *o, const struct conn *c)
{
	uint32_t egress = LOAD_RELAXED(&c->rule_egress), id = egress ? egress : LOAD_RELAXED(&c->rule_ingress);
	const struct policy_rule *r = id ? policy_rule_at(id) : NULL;

	if (r && r->name[0])
		out_str(o, "rule", r->name);
	else if (id)
		out_fmt(o, "rule", "%u", id);
	else
		out_str(o, "rule", NULL);
}

static void ct_row(struct out *o, bool v6, uint32_t conn, uint32_t now_s)
{
	const struct ct *ct = ct_of(v6);
	const struct conn *c = ct_conn(ct, conn);
	struct direction d, r;
	uint8_t state = LOAD_RELAXED(&c->state);

	read_direction(v6, 2 * conn, &d);
	read_direction(v6, 2 * conn + 1, &r);
	out_row(o);
	out_str(o, "family", v6 ? "ipv6" : "ipv4");
	out_proto(o, d.proto);
	out_ip(o, "src", &d.src);
	out_u64(o, "sport", d.sport);
	out_ip(o, "dst", &d.dst);
	out_u64(o, "dport", d.dport);
	out_ip(o, "reply_src", &r.src);
	out_u64(o, "reply_sport", r.sport);
	out_ip(o, "reply_dst", &r.dst);
	out_u64(o, "reply_dport", r.dport);
	out_u64(o, "zone", d.zone);
	out_str(o, "state", state < CT_STATES ? ct_state_names[state] : NULL);
	out_u64(o, "packets", d.packets);
	out_u64(o, "bytes", d.bytes);
	out_u64(o, "reply_packets", r.packets);
	out_u64(o, "reply_bytes", r.bytes);
	out_u64(o, "expires", ct_remaining(ct, conn, now_s));
	out_u64(o, "identity", LOAD_RELAXED(&c->identity));
	out_u64(o, "dst_identity", LOAD_RELAXED(&c->dst_identity));
	out_rule(o, c);
	out_str(o, "offload", export_state(ct, conn));
	out_u64(o, "reply_zone", r.zone);
}

void show_ct(struct out *o)
{
	uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);

	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t i = ct_next(ct_of(v6), 0); i && !out_full(o); i = ct_next(ct_of(v6), i))
			ct_row(o, v6, i, now_s);
}

int show_ct_each(const struct out_filter *f, unsigned n, void (*fn)(bool v6, uint32_t conn), struct err *e)
{
	/* the writer judges the rows; the last column says which connection each one is */
	uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);
	struct out *o = out_new(false, f, n, 0);
	char *text = NULL, *save = NULL, columns[512];
	int r;

	snprintf(columns, sizeof(columns), "%s connection#", show_tables[0].columns);
	r = out_declare(o, columns, e);
	for (unsigned v6 = 0; v6 < 2 && !r; v6++)
		for (uint32_t i = ct_next(ct_of(v6), 0); i; i = ct_next(ct_of(v6), i)) {
			ct_row(o, v6, i, now_s);
			out_u64(o, "connection", (uint64_t)i * 2 + v6);
		}
	if (!r)
		r = out_end(o, &text, e);
	char *line = r ? NULL : strtok_r(text, "\n", &save); /* names of columns */
	while (line && (line = strtok_r(NULL, "\n", &save))) {
		uint64_t id = strtoull(strrchr(line, ' '), NULL, 10);
		fn(id & 1, (uint32_t)(id >> 1));
	}
	free(text);
	out_free(o);
	return r;
}

/* ---- nat ---- */

void show_nat(struct out *o)
{
	for (uint32_t i = nat_next(0); i && !out_full(o); i = nat_next(i)) {
		const struct nat_key *k = nat_key_at(i);
		const struct nat_mapping *m = nat_at(i);
		out_row(o);
		out_proto(o, m->proto);
		out_ip(o, "inside", &k->inside);
		out_u64(o, "inside_port", k->inside_port);
		out_ip(o, "outside", &m->outside);
		out_u64(o, "outside_port", m->outside_port);
		out_ip(o, "pool", &m->outside);
		out_u64(o, "connections", LOAD_RELAXED(&m->refs));
		out_u64(o, "zone", k->zone);
	}
}

void show_blocks(struct out *o)
{
	const uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);
	struct nat_block_info b;

	for (uint32_t at = nat_block_next(0, &b); at && !out_full(o); at = nat_block_next(at, &b)) {
		out_row(o);
		out_ip(o, "pool", &b.outside);
		out_ip(o, "inside", &b.inside);
		out_fmt(o, "ports", "%u-%u", b.first, b.last);
		out_u64(o, "mappings", b.mappings);
		out_u64(o, "seconds", now_s > b.since ? now_s - b.since : 0);
		out_u64(o, "zone", b.zone);
	}
}

/* ---- neighbours, endpoints ---- */

static void out_tunnel_end(struct out *o, const struct neighbor_key *k)
{
	const struct remote *r = k->dev & NEIGHBOR_REMOTE ? remote_at(k->dev & ~NEIGHBOR_REMOTE) : NULL;

	if (r || k->dev & NEIGHBOR_IPIP)
		out_ip(o, "remote", r ? &r->addr : &k->ip);
	else
		out_str(o, "remote", NULL);
}

void show_neighbor(struct out *o)
{
	static const char *const states[] = { "incomplete", "reachable", "stale", "failed" };
	static const char *const sources[] = { "kernel", "overlay", "static" };
	uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);
	struct neighbor_key k;
	struct neighbor n;

	for (uint32_t i = neighbor_next(0, &k, &n); i && !out_full(o); i = neighbor_next(i, &k, &n)) {
		out_row(o);
		if (ip_is_zero(&k.ip))
			out_str(o, "ip", NULL);
		else
			out_ip(o, "ip", &k.ip);
		out_str(o, "port",
			!(k.dev & NEIGHBOR_REMOTE) && k.dev < PORTS_MAX && ports[k.dev] ? ports[k.dev]->conf.name
											: NULL);
		out_tunnel_end(o, &k);
		out_u64(o, "vni", k.vni);
		if (mac_is_zero(&n.mac))
			out_str(o, "mac", NULL);
		else
			out_mac(o, "mac", &n.mac);
		out_str(o, "state", n.state < ARRAY_LEN(states) ? states[n.state] : NULL);
		out_str(o, "source", n.source < ARRAY_LEN(sources) ? sources[n.source] : NULL);
		out_u64(o, "age", n.updated && now_s > n.updated ? now_s - n.updated : 0);
	}
}

/* "10.1.0.10,10.1.0.11", NULL when there is none */
static const char *addresses(const struct endpoint *ep, bool v4, char *buf, size_t size)
{
	char b[IP_STRLEN];
	size_t n = 0;

	for (unsigned i = 0; i < ep->n_addrs && n < size; i++)
		if (ip_is4(&ep->addr[i]) == v4)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? "," : "", ip_print(&ep->addr[i], b));
	return n ? buf : NULL;
}

void show_endpoints(struct out *o)
{
	char buf[ENDPOINT_ADDRS * IP_STRLEN];

	for (uint32_t id = endpoint_next(0); id && !out_full(o); id = endpoint_next(id)) {
		const struct endpoint *ep = endpoint_by_id(id);
		out_row(o);
		out_u64(o, "id", ep->id);
		out_str(o, "device", ep->device);
		if (mac_is_zero(&ep->mac))
			out_str(o, "mac", NULL);
		else
			out_mac(o, "mac", &ep->mac);
		out_str(o, "ipv4", addresses(ep, true, buf, sizeof(buf)));
		out_str(o, "ipv6", addresses(ep, false, buf, sizeof(buf)));
		out_u64(o, "identity", ep->identity);
		out_u64(o, "policy_set", ep->policy_set);
		out_bool(o, "present", ep->ifindex != 0);
		out_str(o, "mac_source", ep->mac_fixed ? "given" : mac_is_zero(&ep->mac) ? NULL : "learned");
		out_str(o, "attach", "veth");
		out_u64(o, "zone", ep->zone);
	}
}

/* ---- prefixes ---- */

static void out_vtep(struct out *o, uint32_t remote)
{
	const struct remote *r = remote_at(remote);

	if (r)
		out_ip(o, "vtep", &vteps[r->vtep].addr);
	else
		out_str(o, "vtep", NULL);
	if (r)
		out_u64(o, "vtep_port", vteps[r->vtep].port);
	else
		out_str(o, "vtep_port", NULL);
}

void show_ipcache(struct out *o)
{
	struct ipcache_value v;
	struct ipnet n;

	for (uint32_t i = ipcache_next(0, &n, &v); i && !out_full(o); i = ipcache_next(i, &n, &v)) {
		out_row(o);
		out_net(o, "prefix", &n);
		out_u64(o, "identity", v.identity);
		if (ip_is_zero(&v.remote_addr))
			out_str(o, "remote", NULL);
		else
			out_ip(o, "remote", &v.remote_addr);
		out_str(o, "source", v.flags & IPCACHE_ENDPOINT ? "endpoint" : "configured");
		out_vtep(o, v.remote);
	}
}

void show_tunnel(struct out *o)
{
	struct tunnel_value v;
	struct ipnet n;

	for (uint32_t i = tunnel_next(0, &n, &v); i && !out_full(o); i = tunnel_next(i, &n, &v)) {
		const struct remote *r = remote_at(v.remote);
		out_row(o);
		out_net(o, "prefix", &n);
		if (r)
			out_ip(o, "remote", &r->addr);
		else
			out_str(o, "remote", NULL);
		if (v.flags & TUNNEL_VNI)
			out_u64(o, "vni", v.vni);
		else
			out_str(o, "vni", NULL);
		if (v.flags & TUNNEL_MAC)
			out_mac(o, "mac", &v.mac);
		else
			out_str(o, "mac", NULL);
		if (v.flags & TUNNEL_VIA)
			out_ip(o, "via", &v.via);
		else
			out_str(o, "via", NULL);
		out_u64(o, "zone", v.zone);
		out_vtep(o, v.remote);
	}
}

void show_ipmasq(struct out *o)
{
	struct ipnet n;

	for (uint32_t i = ipmasq_next(0, &n); i && !out_full(o); i = ipmasq_next(i, &n)) {
		out_row(o);
		out_net(o, "prefix", &n);
	}
}

/* ---- frag ---- */

void show_frag(struct out *o)
{
	static const char *const states[] = { "waits", "open", "refused" };
	uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);

	for (uint32_t i = frag_next(0); i && !out_full(o); i = frag_next(i)) {
		const struct frag_key *k = frag_key_at(i);
		const struct frag_value *v = frag_at(i);
		const uint64_t word = LOAD_ACQUIRE(&v->ports.word);
		struct frag_ports p;
		memcpy(&p, &word, sizeof(p));
		out_row(o);
		out_ip(o, "source", &k->src);
		out_ip(o, "destination", &k->dst);
		out_u64(o, "id", k->id);
		out_proto(o, p.state == FRAG_OPEN ? p.proto : k->proto);
		out_u64(o, "sport", ntohs(p.sport));
		out_u64(o, "dport", ntohs(p.dport));
		out_u64(o, "age", now_s > LOAD_RELAXED(&v->created) ? now_s - v->created : 0);
		out_u64(o, "held", frag_held(i));
		out_str(o, "state", p.state < ARRAY_LEN(states) ? states[p.state] : NULL);
		out_u64(o, "bytes", LOAD_RELAXED(&v->got));
		out_u64(o, "zone", k->zone);
	}
}

/* ---- policy ---- */

struct identity_set {
	uint32_t identity, set;
};

static uint32_t set_of_identity(uint32_t identity)
{
	for (uint32_t id = endpoint_next(0); id; id = endpoint_next(id))
		if (endpoint_by_id(id)->identity == identity)
			return endpoint_by_id(id)->policy_set;
	return 0;
}

/* The set a rule went to; one of an identity is in the sets of all its endpoints: the first one's is shown. */
static uint32_t set_of(const struct policy_rule *r, struct identity_set *last)
{
	const struct endpoint *ep;

	if (r->subject == POLICY_HOST)
		return policy_host_set();
	if (r->subject == POLICY_IDENTITY) {
		/* rules of one identity mostly stand together: one walk serves them */
		if (r->subject_id != last->identity)
			*last = (struct identity_set){ r->subject_id, set_of_identity(r->subject_id) };
		return last->set;
	}
	ep = endpoint_by_id(r->subject_id);
	return ep ? ep->policy_set : 0;
}

static void policy_row(struct out *o, uint32_t id, const struct policy_rule *r, struct identity_set *last)
{
	static const char *const verdicts[] = { "allow", "deny", "redirect" };

	out_row(o);
	out_u64(o, "set", set_of(r, last));
	if (r->subject == POLICY_ENDPOINT)
		out_u64(o, "endpoint", r->subject_id);
	else if (r->subject == POLICY_HOST)
		out_str(o, "endpoint", "host");
	else
		out_fmt(o, "endpoint", "identity %u", r->subject_id);
	out_str(o, "direction", r->direction == POLICY_EGRESS ? "egress" : "ingress");
	out_str(o, "verdict", verdicts[r->verdict]);
	if (r->peer == POLICY_PEER_IDENTITY)
		out_u64(o, "identity", r->peer_identity);
	else
		out_str(o, "identity", NULL);
	if (r->peer == POLICY_PEER_CIDR)
		out_net(o, "cidr", &r->peer_cidr);
	else
		out_str(o, "cidr", NULL);
	if (r->proto)
		out_proto(o, r->proto);
	else
		out_str(o, "proto", NULL);
	if (!r->has_port)
		out_str(o, "port", NULL);
	else if (r->port_lo == r->port_hi)
		out_u64(o, "port", r->port_lo);
	else
		out_fmt(o, "port", "%u-%u", r->port_lo, r->port_hi);
	out_u64(o, "precedence", r->precedence);
	out_str(o, "name", r->name[0] ? r->name : NULL);
	out_u64(o, "packets", policy_packets(id));
	out_u64(o, "rule", id);
	if (r->verdict == POLICY_REDIRECT)
		out_u64(o, "redirect_port", r->redirect_port);
	else
		out_str(o, "redirect_port", NULL);
}

void show_policy(struct out *o)
{
	struct identity_set last = { 0 };

	for (uint32_t id = policy_next(0); id && !out_full(o); id = policy_next(id)) {
		const struct policy_rule *r = policy_rule_at(id);
		if (r)
			policy_row(o, id, r, &last);
	}
}

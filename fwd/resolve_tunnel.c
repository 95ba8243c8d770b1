/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours behind tunnels (resolve.h), and those that get IP in IP. Control thread only.
 *
 * A remote needs an underlay neighbour, itself a record of resolve.c; it lists the remotes that depend on it, so a new MAC
 * rewrites their templates at once. Where the inner MAC is unknown, ARP requests (RFC 826) and neighbour solicitations
 * (RFC 4861 4.3) go into the tunnel; the workers hand the answers back. */
#include "fwd/resolve_private.h"

#include <net/if.h>

#include "fwd/base/hash.h"
#include "fwd/fib.h"
#include "tables/abi/gate.h"
#include "tables/tunnel.h"

static const struct mac gateway_mac = { GATE_GATEWAY_MAC };

static struct ipaddr gateway_linklocal(void)
{
	const uint8_t *m = gateway_mac.b;
	return (struct ipaddr){ .b = { 0xfe, 0x80, [8] = m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] } };
}

static bool inner_source(const struct ipaddr *target, struct ipaddr *src)
{
	if (ip_is4(target))
		return fib_subnet_addr(if_nametoindex("sluice_host"), target, src);
	*src = gateway_linklocal();
	return true;
}
bool (*resolve_inner_source)(const struct ipaddr *target, struct ipaddr *src) = inner_source;

static const struct remote *remote_of(const struct record *r)
{
	return remote_at(r->key.dev & ~NEIGHBOR_REMOTE);
}

bool tunnel_remote_known(const struct record *r)
{
	if (record_is_ipip(r))
		return true;
	const struct remote *m = remote_of(r);
	return m && ip_eq(&m->addr, &r->remote_addr) && vteps[m->vtep].since == r->vtep_since;
}

static void leave_under(struct record *r)
{
	if (!r->under)
		return;
	struct record **p = &r->under->dependents;
	while (*p != r)
		p = &(*p)->dependent_next;
	*p = r->dependent_next;
	r->under = NULL;
}

static void set_under(struct record *r, struct record *under)
{
	if (r->under == under)
		return;
	leave_under(r);
	r->under = under;
	if (!under)
		return;
	r->dependent_next = under->dependents;
	under->dependents = r;
}

/* 'r' goes: from its underlay's list, and as the underlay of others. */
void tunnel_detach(struct record *r)
{
	leave_under(r);
	while (r->dependents)
		leave_under(r->dependents);
}

/* The underlay neighbour by which the remote is reached now; NULL when no engine port leads there. */
static struct record *find_under(const struct record *r)
{
	struct fib_result f;
	/* one path a remote and VNI: flows are not spread, since a template has one underlay */
	fib_lookup(&r->remote_addr, (uint32_t)hash_key(&r->key, sizeof(r->key)), &f);
	if (f.kind != FIB_UNICAST || f.nh.port < PORT_FIRST || !ports[f.nh.port])
		return NULL;
	struct neighbor_key k = { .ip = ip_is_zero(&f.nh.gateway) ? r->remote_addr : f.nh.gateway,
				  .dev = (uint32_t)f.nh.port };
	return record_get(&k);
}

static struct mac inner_mac(const struct record *r)
{
	struct mac m = gateway_mac;
	if (record_is_inner(r))
		m = r->mac;
	else if (!ip_is_zero(&r->key.ip))
		memcpy(m.b, r->key.ip.b + 10, 6);
	return m;
}

/* The box's address on the way: where the next hop is, else any of the port. */
static bool outer_source(const struct record *r, struct ipaddr *a)
{
	const struct record *u = r->under;
	return fib_subnet_addr(u->ifindex, &u->key.ip, a) || fib_port_addr(u->ifindex, !ip_is4(&r->remote_addr), a);
}

/* False: the box has no address to send from. */
static bool describe(const struct record *r, struct adj_tunnel *t)
{
	const struct port *p = ports[r->under->key.dev];
	*t = (struct adj_tunnel){ .ipip = record_is_ipip(r) };
	t->port = p->index;
	t->outer_src = p->mac;
	t->outer_dst = r->under->mac;
	t->remote = r->remote_addr;
	t->link_mtu = p->mtu;
	if (t->ipip)
		return outer_source(r, &t->local);
	const struct vtep *v = &vteps[remote_of(r)->vtep];
	t->inner_src = gateway_mac;
	t->inner_dst = inner_mac(r);
	t->local = v->addr;
	t->dport = v->port;
	t->vni = r->key.vni;
	return true;
}

uint32_t tunnel_adj(struct record *r, struct err *e)
{
	struct adj_tunnel t;
	if (describe(r, &t)) /* else as it was: update_inner() ends it */
		r->built = t;
	return adj_move_tunnel(r->adj, &r->built, e);
}

static bool same_tunnel(const struct adj_tunnel *a, const struct adj_tunnel *b)
{
	return a->port == b->port && mac_eq(&a->outer_src, &b->outer_src) && mac_eq(&a->outer_dst, &b->outer_dst) &&
	       mac_eq(&a->inner_src, &b->inner_src) && mac_eq(&a->inner_dst, &b->inner_dst) &&
	       ip_eq(&a->local, &b->local) && ip_eq(&a->remote, &b->remote) && a->dport == b->dport &&
	       a->vni == b->vni && a->link_mtu == b->link_mtu && a->ipip == b->ipip;
}

/* ---- states ---- */

static void publish_change(struct record *r, enum neighbor_state s)
{
	if (!r->published || r->state != s)
		record_publish(r, s);
}

/* The underlay works: the rest of the way. */
static void update_inner(struct record *r, bool retry, uint64_t now_ns)
{
	if (record_is_inner(r) && !r->has_mac) {
		if (r->state == NEIGHBOR_FAILED && !retry)
			return;
		publish_change(r, NEIGHBOR_INCOMPLETE);
		if (!record_is_pending(r))
			tunnel_ask(r, now_ns);
		return;
	}
	struct adj_tunnel t;
	if (!describe(r, &t)) {
		publish_change(r, NEIGHBOR_FAILED);
		return;
	}
	if (record_usable(r) && same_tunnel(&t, &r->built))
		return;
	bool waits = record_is_pending(r); /* a refresh that is under way goes on */
	record_publish(r, NEIGHBOR_REACHABLE);
	record_pending(r, waits && record_usable(r));
}

void tunnel_update(struct record *r, bool retry, uint64_t now_ns)
{
	if (!tunnel_remote_known(r)) {
		record_drop(r);
		return;
	}
	bool had_path = r->under;
	struct record *u = find_under(r); /* may drop the former one, if its port is another now */
	bool lost_port = had_path && !r->under;
	if (u && u->state == NEIGHBOR_FAILED && (!u->asked_ns || (retry && now_ns - u->asked_ns >= ASK_NS))) {
		leave_under(r); /* the outcome is looked at here, not by a call back */
		u->wanted_ns = now_ns;
		record_start(u, now_ns);
	}
	set_under(r, u);
	if (!u || u->state == NEIGHBOR_FAILED) {
		record_pending(r, false);
		publish_change(r, NEIGHBOR_FAILED);
	} else if (record_usable(u)) {
		update_inner(r, retry, now_ns);
	} else if (!record_usable(r) || lost_port) {
		publish_change(r, NEIGHBOR_INCOMPLETE);
	} /* else the former underlay serves until the new one is known */
}

/* ---- ARP and ND inside ---- */

static uint8_t *put(uint8_t *p, const void *from, size_t n)
{
	memcpy(p, from, n);
	return p + n;
}

static uint8_t *put_eth(uint8_t *p, const struct mac *dst, const struct mac *src, uint16_t type)
{
	p = put(p, dst->b, 6);
	p = put(p, src->b, 6);
	wr16(p, type);
	return p + 2;
}

static uint8_t *put_arp(uint8_t *p, const struct ipaddr *target)
{
	static const struct mac all_ones = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	static const uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, 1 }; /* Ethernet, IPv4, request */
	struct ipaddr src = ip_from4(0);
	if (!resolve_inner_source(target, &src))
		src = ip_from4(0);
	p = put_eth(p, &all_ones, &gateway_mac, ET_ARP);
	p = put(p, head, sizeof(head));
	p = put(p, gateway_mac.b, 6);
	p = put(p, src.b + 12, 4);
	memset(p, 0, 6);
	return put(p + 6, target->b + 12, 4);
}

/* RFC 4861 7.2.2: to the solicited-node group, hop limit 255, with our link-layer address. */
static uint8_t *put_solicitation(uint8_t *p, const struct ipaddr *target)
{
	enum { NS_SIZE = 32, NS_TYPE = 135, HOPS = 255 };
	const uint8_t *t = target->b;
	struct mac group = { { 0x33, 0x33, 0xff, t[13], t[14], t[15] } };
	struct ipaddr dst = { .b = { 0xff, 2, [11] = 1, 0xff, t[13], t[14], t[15] } }, src;
	if (!resolve_inner_source(target, &src))
		src = gateway_linklocal();
	p = put_eth(p, &group, &gateway_mac, ET_IP6);
	memset(p, 0, IP6_HLEN + NS_SIZE);
	p[0] = 0x60;
	wr16(p + 4, NS_SIZE);
	p[6] = PROTO_ICMP6;
	p[7] = HOPS;
	memcpy(p + 8, src.b, 16);
	memcpy(p + 24, dst.b, 16);
	uint8_t *icmp = p + IP6_HLEN;
	icmp[0] = NS_TYPE;
	memcpy(icmp + 8, target->b, 16);
	icmp[24] = 1; /* source link-layer address option, 8 bytes */
	icmp[25] = 1;
	memcpy(icmp + 26, gateway_mac.b, 6);
	uint64_t sum = csum_pseudo(src.b, dst.b, 16, PROTO_ICMP6, NS_SIZE);
	st16(icmp + 2, (uint16_t)~csum_fold(csum_add(icmp, NS_SIZE, sum)));
	return icmp + NS_SIZE;
}

/* Outer headers in front of 'inner' bytes of payload; returns where the payload starts. */
static uint8_t *put_outer(uint8_t *p, const struct record *r, uint16_t inner)
{
	const struct vtep *v = &vteps[remote_of(r)->vtep];
	uint16_t udp = (uint16_t)(UDP_HLEN + VXLAN_HLEN + inner);
	bool v4 = ip_is4(&v->addr);
	p = put_eth(p, &r->under->mac, &ports[r->under->key.dev]->mac, v4 ? ET_IP4 : ET_IP6);
	uint8_t *ip = p;
	if (v4) {
		memset(p, 0, IP4_HLEN);
		p[0] = 0x45;
		wr16(p + 2, (uint16_t)(IP4_HLEN + udp));
		wr16(p + 6, 0x4000);
		p[8] = 64;
		p[9] = PROTO_UDP;
		memcpy(p + 12, v->addr.b + 12, 4);
		memcpy(p + 16, r->remote_addr.b + 12, 4);
		st16(ip + 10, (uint16_t)~csum_fold(csum_add(ip, IP4_HLEN, 0)));
		p += IP4_HLEN;
	} else {
		memset(p, 0, IP6_HLEN);
		p[0] = 0x60;
		wr16(p + 4, udp);
		p[6] = PROTO_UDP;
		p[7] = 64;
		memcpy(p + 8, v->addr.b, 16);
		memcpy(p + 24, r->remote_addr.b, 16);
		p += IP6_HLEN;
	}
	wr16(p, (uint16_t)(0xc000 | (hash_key(&r->key, sizeof(r->key)) & 0x3fff)));
	wr16(p + 2, v->port);
	wr16(p + 4, udp);
	wr16(p + 6, 0); /* RFC 7348 5; over IPv6 finished by finish_outer() */
	wr32(p + 8, 0x08000000);
	wr32(p + 12, r->key.vni << 8);
	return p + UDP_HLEN + VXLAN_HLEN;
}

/* UDP over IPv6 has a checksum (RFC 8200 8.1). */
static void finish_outer(uint8_t *frame)
{
	uint8_t *ip = frame + ETH_HLEN_, *udp = ip + IP6_HLEN;
	if (rd16(frame + 12) != ET_IP6)
		return;
	uint16_t n = rd16(udp + 4);
	uint16_t c = (uint16_t)~csum_fold(csum_add(udp, n, csum_pseudo(ip + 8, ip + 24, 16, PROTO_UDP, n)));
	st16(udp + 6, c ? c : 0xffff);
}

void tunnel_ask(struct record *r, uint64_t now_ns)
{
	uint8_t inner[128], frame[256], *end;
	if (!r->under || !record_usable(r->under))
		return;
	end = ip_is4(&r->key.ip) ? put_arp(inner, &r->key.ip) : put_solicitation(inner, &r->key.ip);
	uint16_t n = (uint16_t)(end - inner);
	end = put(put_outer(frame, r, n), inner, n);
	finish_outer(frame);
	r->asked_ns = now_ns;
	r->tries++;
	record_pending(r, true);
	workers_inject((uint16_t)r->under->key.dev, frame, (uint32_t)(end - frame));
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Copies of the engine's flow records for the kernel (contract in export_record.h).
 *
 * Workers rewrite records without asking the control thread: what is copied is all of one decision (record_peek). */
#include "fwd/export_record.h"

#include <string.h>

#include "fwd/base/hash.h"
#include "fwd/gate.h"
#include "fwd/replay.h"
#include "tables/neighbor.h"
#include "tables/tunnel.h"

/* Of the two zeroes the one that leaves a checksum as it is. */
static uint16_t delta(const void *old, const void *now, unsigned size)
{
	uint16_t gone = (uint16_t)~csum_fold(csum_add(old, size, 0));
	uint16_t d = csum_fold(csum_add(now, size, gone));
	return d == 0xffff ? 0 : d;
}

/* The outer source port is a hash of the inner key: RFC 7348 section 5, as put_tunnel4() does it. */
static be16 outer_port(uint64_t hash)
{
	return (be16)((uint16_t)(hash >> 20) | htons(0xc000));
}

static void copy4(const struct flow4 *f, struct replay_flow4 *k)
{
	*k = (struct replay_flow4){ .key = f->key,
				    .src = f->src,
				    .dst = f->dst,
				    .sport = f->sport,
				    .dport = f->dport,
				    .d3 = f->d3,
				    .adj = f->adj,
				    .in = f->in,
				    .gensum = f->gensum,
				    .no_hop = f->way >> 31 };
	memcpy(k->dep, f->dep, sizeof(k->dep));
	k->d_addr = delta(&k->key.src, &k->src, 8);
	k->d_port = delta(&k->key.sport, &k->sport, 4);
	k->outer_port = outer_port(hash_key(&k->key, sizeof(k->key)));
}

static void copy6(const struct flow6 *f, struct replay_flow6 *k)
{
	*k = (struct replay_flow6){
		.key = f->key,
		.adj = f->adj,
		.in = f->in,
		.gensum = f->gensum,
		.sport = f->sport,
		.dport = f->dport,
		.no_hop = f->way >> 31,
	};
	memcpy(k->src, f->src, 16);
	memcpy(k->dst, f->dst, 16);
	memcpy(k->dep, f->dep, sizeof(k->dep));
	k->d_addr = delta(k->key.src, k->src, 32);
	k->d_port = delta(&k->key.sport, &k->sport, 4);
	k->outer_port = outer_port(hash_key(&k->key, sizeof(k->key)));
}

bool export_record_copy(const struct ct *c, uint32_t r, union export_record *out)
{
	union record now = { 0 };
	uint32_t vni;
	if (!record_peek(c, r, &now, &vni))
		return false;
	if (c->v6) {
		copy6(&now.v6, &out->v6);
		out->v6.vni = vni;
		return out->v6.in && out->v6.adj;
	}
	copy4(&now.v4, &out->v4);
	out->v4.vni = vni;
	return out->v4.in && out->v4.adj;
}

bool export_record_equal(bool v6, const void *a, const void *b)
{
	if (v6) {
		struct replay_flow6 x = *(const struct replay_flow6 *)a, y = *(const struct replay_flow6 *)b;
		x.flags = y.flags = 0;
		return memcmp(&x, &y, offsetof(struct replay_flow6, use)) == 0;
	}
	struct replay_flow4 x = *(const struct replay_flow4 *)a, y = *(const struct replay_flow4 *)b;
	x.flags = y.flags = 0;
	return memcmp(&x, &y, offsetof(struct replay_flow4, use)) == 0;
}

uint32_t export_record_gensum(bool v6, const void *k)
{
	return v6 ? ((const struct replay_flow6 *)k)->gensum : ((const struct replay_flow4 *)k)->gensum;
}

uint16_t export_record_flags(bool v6, const void *k)
{
	return v6 ? ((const struct replay_flow6 *)k)->flags : ((const struct replay_flow4 *)k)->flags;
}

/* ---- who may replay it ---- */

/* By the port it leaves by. */
static uint16_t by_port(const struct replay_conf *conf, const struct adj *a)
{
	const struct replay_port *p = &conf->port[a->port % REPLAY_PORTS];
	if (!LOAD_RELAXED(&p->ifindex))
		return 0;
	return REPLAY_BY_TC | (LOAD_RELAXED(&p->flags) & REPLAY_PORT_REDIRECT ? REPLAY_BY_XDP : 0);
}

/* tc sends over IPv6 by sluice_vxlan, which has one UDP port. */
static uint16_t by_overlay(const struct replay_conf *conf, const struct adj *a)
{
	const uint8_t *dport = a->tmpl + ETH_HLEN_ + IP6_HLEN + 2;
	return LOAD_RELAXED(&conf->overlay_ifindex) && LOAD_RELAXED(&conf->overlay_port) == ld16(dport) ? REPLAY_BY_TC
													: 0;
}

/* Of what comes in by the ports that are there; the device is not made anew because the only one is down. */
static bool xdp_strips_all(const struct replay_conf *conf)
{
	for (unsigned i = 1; i < REPLAY_PORTS; i++) {
		if (!LOAD_RELAXED(&conf->port[i].ifindex))
			continue;
		if ((LOAD_RELAXED(&conf->port[i].flags) & REPLAY_PORT_STRIP) != REPLAY_PORT_STRIP)
			return false;
	}
	return true;
}

static bool has_vtep6(uint16_t port)
{
	for (unsigned i = 0; i < VTEPS_MAX; i++)
		if (!ip_is_zero(&vteps[i].addr) && !ip_is4(&vteps[i].addr) && vteps[i].port == port)
			return true;
	return false;
}

uint16_t export_overlay_port(const struct replay_conf *conf)
{
	uint16_t first[2] = { 0 }; /* over IPv4, IPv6 */
	for (unsigned i = 0; i < VTEPS_MAX; i++) {
		uint16_t *of = &first[!ip_is4(&vteps[i].addr)];
		if (!ip_is_zero(&vteps[i].addr) && !*of)
			*of = vteps[i].port;
	}
	if (first[0] && (!first[1] || has_vtep6(first[0]) || !xdp_strips_all(conf)))
		return first[0];
	return first[1];
}

static bool some_port_has_netdev(const struct replay_conf *conf)
{
	for (unsigned i = 1; i < REPLAY_PORTS; i++)
		if (LOAD_RELAXED(&conf->port[i].flags) & REPLAY_PORT_NETDEV)
			return true;
	return false;
}

/* By the hook where its packets appear. */
static uint16_t by_ingress(const struct replay_conf *conf, uint32_t in)
{
	switch (in & ~(uint32_t)FLOW_IN_INDEX) {
	case FLOW_IN_ENDPOINT:
	case FLOW_IN_HOST:
		return REPLAY_BY_TC;
	case FLOW_IN_UPLINK:
		return REPLAY_BY_XDP | (some_port_has_netdev(conf) ? REPLAY_BY_TC : 0);
	case FLOW_IN_REMOTE: {
		const struct remote *r = remote_at(in & FLOW_IN_INDEX);
		if (!r)
			return 0;
		return REPLAY_BY_XDP |
		       (some_port_has_netdev(conf) || conf->overlay_port == htons(vteps[r->vtep].port) ? REPLAY_BY_TC
												       : 0);
	}
	default:
		return 0;
	}
}

/* Identity mode: the VNI is what the sender claims to be, and another claim is another decision. */
static bool claims_identity(uint32_t in)
{
	const struct remote *r =
		(in & ~(uint32_t)FLOW_IN_INDEX) == FLOW_IN_REMOTE ? remote_at(in & FLOW_IN_INDEX) : NULL;
	return r && vteps[r->vtep].mode == VNI_IDENTITY;
}

uint16_t export_record_path(const struct replay_conf *conf, uint16_t allowed, uint32_t in, uint32_t adj,
			    const char **why)
{
	const struct adj *a = adj_at(adj);
	const uint8_t kind = LOAD_ACQUIRE(&a->kind);
	const unsigned to = a->eth[1] & 15; /* gate only */
	uint16_t can = 0;
	*why = "path";
	if (kind == ADJ_ETH && a->port == 0) /* the gate */
		can = to == GATE_PROXY || (to == GATE_HOST && (in & ~(uint32_t)FLOW_IN_INDEX) != FLOW_IN_ENDPOINT)
			      ? 0
			      : REPLAY_BY_TC;
	else if (kind == ADJ_ETH || kind == ADJ_TUNNEL4)
		can = by_port(conf, a);
	else if (kind == ADJ_TUNNEL6)
		can = by_port(conf, a) & (REPLAY_BY_XDP | by_overlay(conf, a));
	if (kind == ADJ_ETH && a->port == 0 && !can)
		*why = to == GATE_PROXY ? "proxy" : "host";
	can &= by_ingress(conf, in);
	if (!can && kind == ADJ_TUNNEL6)
		*why = "vtep-port";
	if (can && !(can & allowed))
		*why = "off";
	can &= allowed;
	return can && claims_identity(in) ? can | REPLAY_VNI : can;
}

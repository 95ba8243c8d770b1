/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes and next-hop objects from rtnetlink into the FIB; the engine's own routes on sluice_host. Control thread only.
 *
 * Routes over next-hop objects carry the hops spelled out, with their present state, while net.ipv4.nexthop_compat_mode is 1
 * (the default). Else they name the object only; for that the objects are kept here. A change of an object that routes
 * use dumps the routes again: the kernel tells of the object, not of them. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <net/if.h>
#include <stdlib.h>

#include "fwd/netlink_private.h"

#include "fwd/base/log.h"
#include "fwd/fib.h"

enum { HOPS_MAX = 16, OBJECT_BUCKETS = 1024 };

struct object { /* next-hop object */
	struct object *chain;
	uint32_t id;
	bool blackhole, used; /* used: some route named it since the last dump */
	uint8_t n;            /* group: members in 'id' and 'weight'; else 0 and 'hop' counts */
	struct fib_nexthop hop;
	struct {
		uint32_t id, weight;
	} member[HOPS_MAX];
};
static struct object *objects[OBJECT_BUCKETS];

static struct object **object_slot(uint32_t id)
{
	struct object **p = &objects[id % OBJECT_BUCKETS];
	while (*p && (*p)->id != id)
		p = &(*p)->chain;
	return p;
}

/* ---- routes ---- */

static enum fib_kind kind_of(unsigned char type)
{
	switch (type) {
	case RTN_UNICAST:
		return FIB_UNICAST;
	case RTN_LOCAL:
	case RTN_ANYCAST:
		return FIB_LOCAL;
	case RTN_BROADCAST:
	case RTN_MULTICAST:
		return FIB_BROADCAST;
	case RTN_BLACKHOLE:
		return FIB_BLACKHOLE;
	case RTN_PROHIBIT:
		return FIB_PROHIBIT;
	case RTN_UNREACHABLE:
		return FIB_UNREACHABLE;
	case RTN_THROW:
		return FIB_THROW;
	default:
		return FIB_NONE;
	}
}

/* The gateway of a hop; RTA_VIA is an IPv6 gateway of an IPv4 route (RFC 8950). */
static void parse_gateway(const struct nlattr *const *tb, int family, struct ipaddr *out)
{
	if (nl_addr(tb[RTA_GATEWAY], family, out) || !tb[RTA_VIA])
		return;
	const struct rtvia *via = mnl_attr_get_payload(tb[RTA_VIA]);
	if (mnl_attr_get_payload_len(tb[RTA_VIA]) >= sizeof(*via) + 16 && via->rtvia_family == AF_INET6)
		*out = ip_from6(via->rtvia_addr);
}

static struct fib_nexthop parse_hop(const struct nlattr *const *tb, int family, uint32_t ifindex, unsigned flags,
				    uint32_t weight)
{
	struct fib_nexthop h = { .ifindex = ifindex, .port = -1, .weight = weight };
	h.dead = !!(flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN));
	parse_gateway(tb, family, &h.gateway);
	if (tb[RTA_ENCAP_TYPE])
		h.ifindex = 0; /* MPLS, segment routing: no engine port does that, the kernel routes it */
	return h;
}

static void parse_multipath(const struct nlattr *a, int family, struct fib_route *r)
{
	const struct rtnexthop *nh = mnl_attr_get_payload(a);
	int len = mnl_attr_get_payload_len(a);
	for (; len >= (int)sizeof(*nh) && nh->rtnh_len >= sizeof(*nh) && nh->rtnh_len <= len && r->n < HOPS_MAX;) {
		const struct nlattr *tb[RTA_MAX + 1];
		nl_attrs((const void *)RTNH_DATA(nh), nh->rtnh_len - (int)RTNH_LENGTH(0), tb, RTA_MAX);
		r->nh[r->n++] = parse_hop(tb, family, (uint32_t)nh->rtnh_ifindex, nh->rtnh_flags, nh->rtnh_hops + 1u);
		len -= (int)RTNH_ALIGN(nh->rtnh_len);
		nh = (const void *)((const uint8_t *)nh + RTNH_ALIGN(nh->rtnh_len));
	}
}

static void add_object(const struct object *o, uint32_t weight, struct fib_route *r)
{
	if (!o)
		return;
	if (o->blackhole)
		r->kind = FIB_BLACKHOLE;
	for (unsigned i = 0; i < o->n; i++) {
		const struct object *m = *object_slot(o->member[i].id);
		if (m && !m->n)
			add_object(m, o->member[i].weight, r);
	}
	if (o->n || o->blackhole || r->n == HOPS_MAX)
		return;
	r->nh[r->n] = o->hop;
	r->nh[r->n++].weight = weight;
}

static void mark_used(uint32_t id)
{
	struct object *o = *object_slot(id);
	if (!o || o->used)
		return;
	o->used = true;
	for (unsigned i = 0; i < o->n; i++)
		mark_used(o->member[i].id);
}

static void parse_hops(const struct rtmsg *m, const struct nlattr *const *tb, struct fib_route *r)
{
	if (tb[RTA_NH_ID])
		mark_used(nl_u32(tb[RTA_NH_ID]));
	if (tb[RTA_MULTIPATH])
		parse_multipath(tb[RTA_MULTIPATH], m->rtm_family, r);
	else if (tb[RTA_OIF])
		r->nh[r->n++] = parse_hop(tb, m->rtm_family, nl_u32(tb[RTA_OIF]), m->rtm_flags, 1);
	else if (tb[RTA_NH_ID])
		add_object(*object_slot(nl_u32(tb[RTA_NH_ID])), 1, r);
}

/* False: a route that the mirror has no place for. */
static bool parse_route(const struct nlmsghdr *n, struct fib_route *r)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(n);
	const struct nlattr *tb[RTA_MAX + 1];
	bool v4 = m->rtm_family == AF_INET;
	if ((!v4 && m->rtm_family != AF_INET6) || m->rtm_flags & RTM_F_CLONED ||
	    m->rtm_protocol == NETLINK_ROUTE_PROTOCOL)
		return false;
	nl_message_attrs(n, sizeof(*m), tb, RTA_MAX);
	memset(r, 0, sizeof(*r));
	r->table = tb[RTA_TABLE] ? nl_u32(tb[RTA_TABLE]) : m->rtm_table;
	r->kind = kind_of(m->rtm_type);
	if ((r->table != RT_TABLE_MAIN && r->table != RT_TABLE_LOCAL) || r->kind == FIB_NONE)
		return false;
	if (m->rtm_tos || m->rtm_src_len)
		return false; /* only for packets of that TOS or source: the look-up has neither */
	if (v4)
		r->prefix.addr = ip_from4(0);
	if (tb[RTA_DST] && !nl_addr(tb[RTA_DST], m->rtm_family, &r->prefix.addr))
		return false;
	r->prefix.len = (uint8_t)(m->rtm_dst_len + (v4 ? 96 : 0));
	r->metric = nl_u32(tb[RTA_PRIORITY]);
	r->protocol = m->rtm_protocol;
	if (tb[RTA_PREF])
		/* RFC 4191: 1 high, 0 medium, 3 low */
		r->pref = mnl_attr_get_u8(tb[RTA_PREF]) == 1 ? 1 : mnl_attr_get_u8(tb[RTA_PREF]) == 3 ? -1 : 0;
	parse_hops(m, tb, r);
	return true;
}

void nl_route(const struct nlmsghdr *n, bool dump)
{
	struct fib_route r;
	struct err e;
	static uint64_t refused;
	if (!parse_route(n, &r))
		return;
	bool v4 = ip_is4(&r.prefix.addr);
	if (n->nlmsg_type == RTM_DELROUTE) {
		fib_del(&r); /* one that the mirror lacks went in silence before */
		return;
	}
	bool replace = !dump && n->nlmsg_flags & NLM_F_REPLACE;
	unsigned others = dump ? 0 : fib_alternatives(&r);
	/* of several IPv4 routes of one prefix and metric only the first is replaced, and without the append flag a new one
	 * comes first: rare enough to look at all of them again */
	if (v4 && others && (replace ? others > 1 : !(n->nlmsg_flags & NLM_F_APPEND)))
		nl_want_resync("several IPv4 routes of one prefix and metric");
	if ((replace ? fib_add(&r, &e) : fib_append(&r, &e)) < 0 && !(refused++ & 0xfff))
		log_warn("%s", e.text);
}

/* ---- next-hop objects ---- */

void nl_nexthops_begin(void)
{
	nl_routes_fini(); /* nothing refers to them between messages */
}

void nl_routes_fini(void)
{
	for (unsigned i = 0; i < OBJECT_BUCKETS; i++)
		for (struct object *o = objects[i], *next; o; o = next) {
			next = o->chain;
			free(o);
		}
	memset(objects, 0, sizeof(objects));
}

static void parse_group(const struct nlattr *a, struct object *o)
{
	const struct nexthop_grp *g = mnl_attr_get_payload(a);
	unsigned n = mnl_attr_get_payload_len(a) / sizeof(*g);
	for (unsigned i = 0; i < n && o->n < HOPS_MAX; i++) {
		o->member[o->n].id = g[i].id;
		o->member[o->n++].weight = g[i].weight + 1u;
	}
}

void nl_nexthop(const struct nlmsghdr *n, bool dump)
{
	const struct nhmsg *m = mnl_nlmsg_get_payload(n);
	const struct nlattr *tb[NHA_MAX + 1];
	nl_message_attrs(n, sizeof(*m), tb, NHA_MAX);
	uint32_t id = nl_u32(tb[NHA_ID]);
	if (!id)
		return;
	struct object **p = object_slot(id), *o = *p;
	if (o && o->used && !dump)
		nl_want_resync("a next-hop object changed");
	if (n->nlmsg_type == RTM_DELNEXTHOP) {
		if (o) {
			*p = o->chain;
			free(o);
		}
		return;
	}
	if (!o) {
		o = *p = calloc(1, sizeof(*o));
		if (!o)
			return;
	}
	*o = (struct object){ .chain = o->chain, .id = id, .used = o->used, .blackhole = tb[NHA_BLACKHOLE] };
	if (tb[NHA_GROUP]) {
		parse_group(tb[NHA_GROUP], o);
		return;
	}
	o->hop = (struct fib_nexthop){ .ifindex = nl_u32(tb[NHA_OIF]), .port = -1, .weight = 1 };
	o->hop.dead = !!(m->nh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN));
	if (tb[NHA_ENCAP_TYPE])
		o->hop.ifindex = 0;
	nl_addr(tb[NHA_GATEWAY], m->nh_family, &o->hop.gateway);
}

/* ---- own routes ---- */

int netlink_host_route(bool add, const struct ipnet *n, struct err *e)
{
	union {
		uint8_t b[256];
		struct nlmsghdr align;
	} q;
	char text[IP_STRLEN];
	bool v4 = ip_is4(&n->addr);
	uint32_t ifindex = if_nametoindex("sluice_host");
	if (!ifindex)
		return add ? err_set(e, -ENODEV, "route %s: there is no device sluice_host", ipnet_print(n, text)) : 0;
	memset(&q, 0, sizeof(q));
	struct nlmsghdr *h = mnl_nlmsg_put_header(q.b);
	h->nlmsg_type = add ? RTM_NEWROUTE : RTM_DELROUTE;
	h->nlmsg_flags = add ? NLM_F_CREATE | NLM_F_EXCL : 0;
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->rtm_family = v4 ? AF_INET : AF_INET6;
	m->rtm_dst_len = (unsigned char)(v4 ? n->len - 96 : n->len);
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	m->rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put(h, RTA_DST, v4 ? 4 : 16, v4 ? n->addr.b + 12 : n->addr.b);
	mnl_attr_put_u32(h, RTA_OIF, ifindex);
	int rc = nl_talk(h);
	if (rc == 0 || (add && rc == -EEXIST) || (!add && (rc == -ESRCH || rc == -ENODEV)))
		return 0;
	return err_set(e, rc, "route %s on sluice_host: %s%s", ipnet_print(n, text), strerror(-rc),
		       rc == -ENETDOWN || rc == -ENETUNREACH ? ": set the device up" : "");
}

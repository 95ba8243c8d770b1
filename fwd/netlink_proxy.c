/* SPDX-License-Identifier: BSD-2-Clause */
/* What the box's routing needs for listeners that take other people's connections; only while some rule redirects. Control thread.
 *
 *  - packets with GATE_PROXY_MARK are received whatever their destination: a rule by mark, a table with one local route;
 *  - answers in an endpoint's name (ingress rules) go back over the gate and not by the route to the client: a rule for the
 *    address as source of what the box itself sends, a table with one route to sluice_host. Answers in anybody else's name go to
 *    an endpoint, which has a host route there.
 * Rules and routes carry the protocol number of our routes. */
#include "fwd/netlink_private.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <net/if.h>
#include <unistd.h>

#include "tables/abi/gate.h"

/* Before anybody's rule for a VPN or an uplink, behind the local table. */
enum { RULE_PRIORITY = 77, TABLE_LOCAL = 19601, TABLE_GATE = 19602 };

union message {
	uint8_t b[256];
	struct nlmsghdr h;
};

/* There already, or gone already: as it should be. */
static int talk(union message *q, bool add)
{
	int rc = nl_talk(&q->h);
	return (add && rc == -EEXIST) || (!add && (rc == -ENOENT || rc == -ESRCH || rc == -ENODEV)) ? 0 : rc;
}

static int route(bool add, int family, uint32_t table, uint8_t type, const char *device)
{
	union message q = { { 0 } };
	mnl_nlmsg_put_header(&q);
	q.h.nlmsg_type = add ? RTM_NEWROUTE : RTM_DELROUTE;
	q.h.nlmsg_flags = add ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct rtmsg *m = mnl_nlmsg_put_extra_header(&q.h, sizeof(*m));
	m->rtm_family = (unsigned char)family;
	m->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	m->rtm_scope = type == RTN_LOCAL ? RT_SCOPE_HOST : family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = type;
	mnl_attr_put_u32(&q.h, RTA_TABLE, table);
	mnl_attr_put_u32(&q.h, RTA_OIF, if_nametoindex(device));
	return talk(&q, add);
}

static struct fib_rule_hdr *rule_begin(union message *q, bool add, int family, uint32_t table)
{
	mnl_nlmsg_put_header(q);
	q->h.nlmsg_type = add ? RTM_NEWRULE : RTM_DELRULE;
	q->h.nlmsg_flags = add ? NLM_F_CREATE | NLM_F_EXCL : 0;
	struct fib_rule_hdr *r = mnl_nlmsg_put_extra_header(&q->h, sizeof(*r));
	r->family = (unsigned char)family;
	r->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(&q->h, FRA_TABLE, table);
	mnl_attr_put_u32(&q->h, FRA_PRIORITY, RULE_PRIORITY);
	mnl_attr_put_u8(&q->h, FRA_PROTOCOL, NETLINK_ROUTE_PROTOCOL);
	return r;
}

static int rule_mark(bool add, int family)
{
	union message q = { { 0 } };
	rule_begin(&q, add, family, TABLE_LOCAL);
	mnl_attr_put_u32(&q.h, FRA_FWMARK, GATE_PROXY_MARK);
	mnl_attr_put_u32(&q.h, FRA_FWMASK, 0xffffffff);
	return talk(&q, add);
}

int netlink_proxy_source(bool add, const struct ipaddr *a, struct err *e)
{
	union message q = { { 0 } };
	char text[IP_STRLEN];
	const bool v4 = ip_is4(a);
	struct fib_rule_hdr *r = rule_begin(&q, add, v4 ? AF_INET : AF_INET6, TABLE_GATE);
	r->src_len = v4 ? 32 : 128;
	mnl_attr_put(&q.h, FRA_SRC, v4 ? 4 : 16, v4 ? a->b + 12 : a->b);
	mnl_attr_put_strz(&q.h, FRA_IIFNAME, "lo");
	int rc = talk(&q, add);
	return rc ? err_set(e, rc, "rule for answers of a proxy from %s: %s", ip_print(a, text), strerror(-rc)) : 0;
}

int netlink_proxy_routing(bool on, struct err *e)
{
	static const int families[] = { AF_INET, AF_INET6 };
	for (unsigned i = 0; i < ARRAY_LEN(families); i++) {
		int rc, f = families[i];
		if (f == AF_INET6 && on && access("/proc/net/if_inet6", F_OK)) /* a kernel without IPv6 */
			continue;
		if ((rc = route(on, f, TABLE_LOCAL, RTN_LOCAL, "lo")) ||
		    (rc = route(on, f, TABLE_GATE, RTN_UNICAST, "sluice_host")) || (rc = rule_mark(on, f)))
			if (on)
				return err_set(e, rc, "routing for listeners of policy 'redirect': %s", strerror(-rc));
	}
	return 0;
}

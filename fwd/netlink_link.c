/* SPDX-License-Identifier: BSD-2-Clause */
/* Links and interface addresses from rtnetlink: keeps ports' state, tells main of devices, feeds addresses to the FIB.
 * Control thread only. A link's state also decides about IPv4 and multipath routes of which the kernel says nothing. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <stdlib.h>

#include "fwd/netlink_private.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "fwd/base/log.h"
#include "fwd/fib.h"
#include "fwd/frame.h"
#include "fwd/port/port.h"
#include "fwd/resolve.h"

enum { LINK_BUCKETS = 256 };

struct netdev {
	struct netdev *chain;
	uint32_t ifindex, epoch, mtu;
	char name[IFNAMSIZ];
	struct mac mac;
	bool admin_up, running;
};

static void no_hook(uint32_t ifindex, const char *name, bool present, bool up, uint32_t mtu, const struct mac *mac)
{
	(void)ifindex, (void)name, (void)present, (void)up, (void)mtu, (void)mac;
}
void (*netlink_on_link)(uint32_t ifindex, const char *name, bool present, bool up, uint32_t mtu,
			const struct mac *mac) = no_hook;

static struct netdev *links[LINK_BUCKETS];
static uint32_t epoch;

/* A port follows its device; adjacencies over it hold its MAC and MTU. */
static void update_port(const struct netdev *l, bool present)
{
	struct port *p = port_by_ifindex(l->ifindex);
	if (!p)
		return;
	uint16_t mtu = (uint16_t)MIN(l->mtu, (uint32_t)p->mtu_max);
	STORE_RELAXED(&p->up, present && l->admin_up && l->running);
	if (!present || (p->mtu == mtu && mac_eq(&p->mac, &l->mac)))
		return;
	p->reopen = l->mtu > mtu;
	STORE_RELAXED(&p->mtu, mtu);
	p->mac = l->mac;
	resolve_port_changed(p->index);
}

static void tell(const struct netdev *l, bool present)
{
	update_port(l, present);
	netlink_on_link(l->ifindex, l->name, present, present && l->admin_up && l->running, l->mtu, &l->mac);
	if (fib_ifindex_routes(l->ifindex))
		nl_want_resync("a link changed");
}

static struct netdev **slot(uint32_t ifindex)
{
	struct netdev **p = &links[ifindex % LINK_BUCKETS];
	while (*p && (*p)->ifindex != ifindex)
		p = &(*p)->chain;
	return p;
}

static void gone(struct netdev **p)
{
	struct netdev *l = *p;
	*p = l->chain;
	tell(l, false);
	free(l);
}

void nl_link(const struct nlmsghdr *n, bool dump)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(n);
	const struct nlattr *tb[IFLA_MTU + 1];
	(void)dump;
	if (m->ifi_family != AF_UNSPEC)
		return; /* bridge ports and IPv6 send their own under the same type */
	uint32_t ifindex = (uint32_t)m->ifi_index;
	struct netdev **p = slot(ifindex), now = { .ifindex = ifindex };
	if (n->nlmsg_type == RTM_DELLINK) {
		if (*p)
			gone(p);
		return;
	}
	nl_message_attrs(n, sizeof(*m), tb, IFLA_MTU);
	if (!tb[IFLA_IFNAME])
		return;
	snprintf(now.name, sizeof(now.name), "%s", mnl_attr_get_str(tb[IFLA_IFNAME]));
	now.mtu = nl_u32(tb[IFLA_MTU]);
	now.admin_up = m->ifi_flags & IFF_UP;
	now.running = m->ifi_flags & IFF_LOWER_UP;
	now.epoch = epoch;
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) == sizeof(now.mac))
		memcpy(now.mac.b, mnl_attr_get_payload(tb[IFLA_ADDRESS]), sizeof(now.mac));
	struct netdev *l = *p;
	if (!l) {
		l = *p = calloc(1, sizeof(*l));
		if (!l)
			return;
	} else if (l->mtu == now.mtu && l->admin_up == now.admin_up && l->running == now.running &&
		   mac_eq(&l->mac, &now.mac) && !strcmp(l->name, now.name)) {
		l->epoch = epoch; /* statistics, a master, an address generation mode */
		return;
	}
	now.chain = l->chain;
	*l = now;
	tell(l, true);
}

void nl_links_begin(void)
{
	epoch++;
}

void nl_links_end(void)
{
	for (unsigned i = 0; i < LINK_BUCKETS; i++)
		for (struct netdev **p = &links[i]; *p;)
			if ((*p)->epoch != epoch)
				gone(p);
			else
				p = &(*p)->chain;
}

void nl_links_fini(void)
{
	for (unsigned i = 0; i < LINK_BUCKETS; i++)
		for (struct netdev *l = links[i], *next; l; l = next) {
			next = l->chain;
			free(l);
		}
	memset(links, 0, sizeof(links));
}

void nl_address(const struct nlmsghdr *n, bool dump)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(n);
	const struct nlattr *tb[IFA_FLAGS + 1];
	struct ipaddr a;
	(void)dump;
	if (m->ifa_family != AF_INET && m->ifa_family != AF_INET6)
		return;
	nl_message_attrs(n, sizeof(*m), tb, IFA_FLAGS);
	/* on a point-to-point link IFA_ADDRESS is the other end */
	if (!nl_addr(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], m->ifa_family, &a))
		return;
	uint32_t flags = tb[IFA_FLAGS] ? nl_u32(tb[IFA_FLAGS]) : m->ifa_flags;
	bool present = n->nlmsg_type == RTM_NEWADDR && !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED));
	uint8_t len = (uint8_t)(m->ifa_prefixlen + (m->ifa_family == AF_INET ? 96 : 0));
	fib_addr_set(m->ifa_index, &a, len, present);
	if (n->nlmsg_type == RTM_DELADDR && m->ifa_family == AF_INET)
		nl_want_resync("an address went, and with it routes that prefer it");
}

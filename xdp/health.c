/* SPDX-License-Identifier: BSD-2-Clause */
#include "xdp/health.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xdp/link.h"

static const uint8_t near_mac[6] = { 0x02, 0xe9, 0, 0, 0, 4 }, far_mac[6] = { 0x02, 0xe9, 0, 0, 0, 5 };
/* Next hops of the default routes: link-local, known to nobody but the permanent neighbour entry. */
static const uint8_t hop4[4] = { 169, 254, 1, 1 }, hop6[16] = { 0xfe, 0x80, [15] = 1 };

struct job {
	const struct ipaddr *addr;
	unsigned n;
	const struct mac *gateway;
	uint32_t ifindex;
	int netns, listener, rc;
	struct err *e;
};

static int fail(struct job *j, int rc, const char *what, const struct nl *nl)
{
	char why[200] = "";
	return j->rc = err_set(j->e, rc, "health endpoint: cannot %s: %s%s", what, strerror(-rc),
			       nl ? nl_why(nl, why) : why);
}

/* ---- the far end, by a socket inside its namespace ---- */

static int add_addr(struct nl *nl, uint32_t dev, const struct ipaddr *a)
{
	const bool v4 = ip_is4(a);
	union nl_buf m;
	struct ifaddrmsg *i = nl_start(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*i));
	i->ifa_family = v4 ? AF_INET : AF_INET6;
	i->ifa_prefixlen = v4 ? 32 : 128;
	i->ifa_flags = IFA_F_NODAD;
	i->ifa_index = dev;
	mnl_attr_put(&m.h, IFA_LOCAL, v4 ? 4 : 16, v4 ? a->b + 12 : a->b);
	return nl_call(nl, &m, NULL, NULL);
}

static int add_gateway(struct nl *nl, uint32_t dev, bool v4, const struct mac *mac)
{
	const size_t len = v4 ? 4 : 16;
	const void *hop = v4 ? hop4 : hop6;
	union nl_buf m;
	struct ndmsg *d = nl_start(&m, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*d));
	d->ndm_family = v4 ? AF_INET : AF_INET6;
	d->ndm_ifindex = (int)dev;
	d->ndm_state = NUD_PERMANENT;
	mnl_attr_put(&m.h, NDA_DST, len, hop);
	mnl_attr_put(&m.h, NDA_LLADDR, 6, mac->b);
	int rc = nl_call(nl, &m, NULL, NULL);
	if (rc)
		return rc;
	struct rtmsg *r = nl_start(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*r));
	r->rtm_family = v4 ? AF_INET : AF_INET6;
	r->rtm_table = RT_TABLE_MAIN;
	r->rtm_protocol = RTPROT_STATIC;
	r->rtm_scope = RT_SCOPE_UNIVERSE;
	r->rtm_type = RTN_UNICAST;
	r->rtm_flags = RTNH_F_ONLINK;
	mnl_attr_put(&m.h, RTA_GATEWAY, len, hop);
	mnl_attr_put_u32(&m.h, RTA_OIF, dev);
	return nl_call(nl, &m, NULL, NULL);
}

static int equip(struct job *j, struct nl *nl)
{
	struct link far;
	int rc;
	if (!link_get(nl, "eth0", &far))
		return fail(j, -ENODEV, "find its far end", nl);
	if ((rc = link_set(nl, far.ifindex, IFF_UP, IFF_UP, 0)))
		return fail(j, rc, "bring its far end up", nl);
	for (unsigned i = 0; i < j->n; i++)
		if ((rc = add_addr(nl, far.ifindex, &j->addr[i])))
			return fail(j, rc, "set its address", nl);
	for (unsigned i = 0, seen = 0; i < j->n; i++) {
		const bool v4 = ip_is4(&j->addr[i]);
		if (seen & 1u << v4)
			continue;
		seen |= 1u << v4;
		if ((rc = add_gateway(nl, far.ifindex, v4, j->gateway)))
			return fail(j, rc, "set its default route", nl);
	}
	return 0;
}

/* An IPv6 socket takes IPv4 too; a kernel without IPv6 has only the other. */
static int listen_any(struct job *j)
{
	const struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(HEALTH_TCP_PORT) };
	const struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(HEALTH_TCP_PORT) };
	const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, off = 0;
	int fd = socket(AF_INET6, type, 0);
	if (fd >= 0 && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
			bind(fd, (const struct sockaddr *)&any6, sizeof(any6)))) {
		close(fd);
		fd = -1;
	}
	if (fd < 0 && ((fd = socket(AF_INET, type, 0)) < 0 || bind(fd, (const struct sockaddr *)&any4, sizeof(any4))))
		return fail(j, -errno, "listen", NULL);
	j->listener = fd;
	return listen(fd, 16) ? fail(j, -errno, "listen", NULL) : 0;
}

/* A device of that name that this program made: of a process just killed, whose namespace is not gone yet. */
static int remove_former(struct job *j, struct nl *nl)
{
	struct link old;
	if (!link_get(nl, HEALTH_DEVICE, &old))
		return 0;
	if (!old.veth || memcmp(old.mac.b, near_mac, 6))
		return j->rc = err_set(j->e, -EEXIST,
				       "a device " HEALTH_DEVICE " is there that is not ours: remove it");
	int rc = link_delete(nl, old.ifindex);
	return rc && rc != -ENODEV ? fail(j, rc, "remove the former " HEALTH_DEVICE, nl) : 0;
}

static int make_pair(struct job *j, struct nl *outside)
{
	const struct link_end a = { HEALTH_DEVICE, near_mac, -1 }, b = { "eth0", far_mac, j->netns };
	struct link k;
	int rc = link_veth(outside, &a, &b, 1, 1500);
	if (rc)
		return fail(j, rc, "make " HEALTH_DEVICE, outside);
	if (!link_get(outside, HEALTH_DEVICE, &k) || (rc = link_set(outside, k.ifindex, IFF_UP, IFF_UP, 0)))
		return fail(j, rc ? rc : -ENODEV, "bring " HEALTH_DEVICE " up", outside);
	j->ifindex = k.ifindex;
	return 0;
}

/* In a thread of its own, which then is the one in another namespace. */
static int build(struct job *j, struct nl *outside, struct nl *inside)
{
	if ((j->rc = nl_open(outside, j->e)) || remove_former(j, outside))
		return j->rc;
	if (unshare(CLONE_NEWNET))
		return fail(j, -errno, "make its network namespace", NULL);
	j->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (j->netns < 0)
		return fail(j, -errno, "open its network namespace", NULL);
	if (make_pair(j, outside) || (j->rc = nl_open(inside, j->e)) || equip(j, inside))
		return j->rc;
	return listen_any(j);
}

static void *enter(void *arg)
{
	struct nl outside = { 0 }, inside = { 0 };
	build(arg, &outside, &inside);
	nl_close(&inside);
	nl_close(&outside);
	return NULL;
}

int health_device(const struct ipaddr *addr, unsigned n, const struct mac *gateway, uint32_t *ifindex, int *netns,
		  int *listener, struct err *e)
{
	struct job j = { .addr = addr, .n = n, .gateway = gateway, .netns = -1, .listener = -1, .e = e };
	pthread_t t;
	int rc = pthread_create(&t, NULL, enter, &j);
	if (rc)
		return err_set(e, -rc, "health endpoint: no thread: %s", strerror(rc));
	pthread_join(t, NULL);
	if (j.rc) {
		if (j.netns >= 0)
			close(j.netns);
		if (j.listener >= 0)
			close(j.listener);
		return j.rc;
	}
	*ifindex = j.ifindex;
	*netns = j.netns;
	*listener = j.listener;
	return 0;
}

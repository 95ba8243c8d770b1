/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's neighbours: reads them for resolve.c and asks the kernel to find one. Control thread only. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>

#include "fwd/netlink_private.h"

#include "fwd/resolve.h"

static struct mnl_socket *asks;

static void ask(uint32_t ifindex, const struct ipaddr *ip)
{
	union {
		uint8_t b[256];
		struct nlmsghdr align;
	} q, reply;
	memset(&q, 0, sizeof(q));
	struct nlmsghdr *n = mnl_nlmsg_put_header(q.b);
	n->nlmsg_type = RTM_NEWNEIGH;
	n->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
	struct ndmsg *m = mnl_nlmsg_put_extra_header(n, sizeof(*m));
	m->ndm_family = ip_is4(ip) ? AF_INET : AF_INET6;
	m->ndm_ifindex = (int)ifindex;
	m->ndm_state = NUD_NONE;
	m->ndm_flags = NTF_USE; /* as if a packet went there: resolves, or checks what is stale */
	if (ip_is4(ip))
		mnl_attr_put(n, NDA_DST, 4, ip->b + 12);
	else
		mnl_attr_put(n, NDA_DST, 16, ip->b);
	mnl_socket_sendto(asks, n, n->nlmsg_len);
	/* only errors are answered; silence and error alike end in FAILED after 3 s */
	while (mnl_socket_recvfrom(asks, reply.b, sizeof(reply.b)) > 0)
		;
}

int nl_neigh_init(struct err *e)
{
	asks = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!asks || mnl_socket_bind(asks, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_set(e, -errno, "netlink: %s", strerror(errno));
	resolve_ask_kernel = ask;
	return 0;
}

static void ask_nobody(uint32_t ifindex, const struct ipaddr *ip)
{
	(void)ifindex, (void)ip;
}

void nl_neigh_fini(void)
{
	if (!asks)
		return;
	mnl_socket_close(asks);
	asks = NULL;
	resolve_ask_kernel = ask_nobody;
}

void nl_neigh(const struct nlmsghdr *n)
{
	enum { USABLE = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY };
	const struct ndmsg *m = mnl_nlmsg_get_payload(n);
	const struct nlattr *tb[NDA_LLADDR + 1];
	struct ipaddr ip;
	struct mac mac;
	if ((m->ndm_family != AF_INET && m->ndm_family != AF_INET6) || m->ndm_flags & NTF_PROXY)
		return;
	nl_message_attrs(n, sizeof(*m), tb, NDA_LLADDR);
	if (!nl_addr(tb[NDA_DST], m->ndm_family, &ip))
		return;
	bool here = n->nlmsg_type == RTM_NEWNEIGH;
	bool has_mac = tb[NDA_LLADDR] && mnl_attr_get_payload_len(tb[NDA_LLADDR]) == sizeof(mac);
	if (has_mac)
		memcpy(mac.b, mnl_attr_get_payload(tb[NDA_LLADDR]), sizeof(mac));
	resolve_kernel_neighbor((uint32_t)m->ndm_ifindex, &ip, has_mac ? &mac : NULL,
				here && m->ndm_state & USABLE && has_mac, here && m->ndm_state & NUD_FAILED);
	if (here && m->ndm_state & (NUD_PERMANENT | NUD_NOARP))
		resolve_kernel_fixed((uint32_t)m->ndm_ifindex, &ip);
}

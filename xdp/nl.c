/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink with extended acks: XDP and tc refusals are only understandable by the kernel's text ("Peer MTU is too
 * large to set XDP"), which libbpf prints to a log instead of returning. */
#include "xdp/nl.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>

int nl_open(struct nl *n, struct err *e)
{
	int on = 1;

	memset(n, 0, sizeof(*n));
	n->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!n->sock || mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		int rc = -errno;
		nl_close(n);
		return err_set(e, rc, "cannot open a netlink socket: %s", strerror(-rc));
	}
	/* Both are comfort only: without them errors are plain numbers. */
	mnl_socket_setsockopt(n->sock, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(n->sock, NETLINK_CAP_ACK, &on, sizeof(on));
	return 0;
}

void nl_close(struct nl *n)
{
	if (n->sock)
		mnl_socket_close(n->sock);
	n->sock = NULL;
}

void *nl_start(union nl_buf *m, uint16_t type, uint16_t flags, size_t size)
{
	mnl_nlmsg_put_header(m);
	m->h.nlmsg_type = type;
	m->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return mnl_nlmsg_put_extra_header(&m->h, size);
}

static void keep_text(struct nl *n, const struct nlmsghdr *h)
{
	const struct nlmsgerr *er = mnl_nlmsg_get_payload(h);
	size_t skip = sizeof(*er);
	const struct nlattr *a;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(h->nlmsg_flags & NLM_F_CAPPED) && er->error)
		skip += er->msg.nlmsg_len - sizeof(er->msg);
	mnl_attr_for_each(a, h, skip) if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG &&
					  mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
		snprintf(n->text, sizeof(n->text), "%s", mnl_attr_get_str(a));
}

int nl_call(struct nl *n, union nl_buf *m, mnl_cb_t cb, void *arg)
{
	union {
		struct nlmsghdr h;
		char b[32768]; /* what the kernel fills a dump message with at most */
	} in;

	m->h.nlmsg_seq = ++n->seq;
	n->text[0] = 0;
	if (mnl_socket_sendto(n->sock, m, m->h.nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(n->sock, &in, sizeof(in));
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		for (struct nlmsghdr *h = &in.h; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != n->seq) /* rest of an answer that was given up */
				continue;
			if (h->nlmsg_type == NLMSG_ERROR) {
				keep_text(n, h);
				return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
			}
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (cb)
				cb(h, arg);
		}
	}
}

uint32_t nl_ifindex(const char *ifname)
{
	return strlen(ifname) < IFNAMSIZ ? if_nametoindex(ifname) : 0;
}

const char *nl_why(const struct nl *n, char buf[static 200])
{
	buf[0] = 0;
	if (n->text[0])
		snprintf(buf, 200, " (kernel: %s)", n->text);
	return buf;
}

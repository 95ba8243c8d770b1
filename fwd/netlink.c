/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink: sockets and the re-dump (netlink.h). Control thread only.
 *
 * Two sockets: one listens to all groups from before the first dump on, one asks. The kernel does not tell everything: IPv4
 * routes die in silence with their link, preferred source or next-hop object, and a full receive buffer loses events. Each of
 * these asks for a re-dump, which fib and resolve take by mark and sweep; between two there is four times the time that one
 * takes (2 s at most), so a storm of link events leaves this thread time for others. */
#include "fwd/netlink_private.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/fib.h"
#include "fwd/resolve.h"

enum { EVENT_BUFFER = 8 * 1024 * 1024, READ_SIZE = 64 * 1024, DUMP_TRIES = 4, REST_FACTOR = 4, REST_MAX_S = 2 };

static struct mnl_socket *events, *requests;
static uint32_t request_seq;
static const char *resync_why; /* NULL: none wanted */
static uint64_t resync_earliest_ns;
static union {
	uint8_t b[READ_SIZE];
	struct nlmsghdr align;
} buffer; /* of the event socket */

static int resync(struct err *e);
static void message(const struct nlmsghdr *n, bool dump);

/* ---- attributes ---- */

void nl_attrs(const struct nlattr *first, int len, const struct nlattr **tb, unsigned max)
{
	memset(tb, 0, (max + 1) * sizeof(*tb));
	for (const struct nlattr *a = first; mnl_attr_ok(a, len); len -= MNL_ALIGN(a->nla_len), a = mnl_attr_next(a))
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
}

void nl_message_attrs(const struct nlmsghdr *n, size_t offset, const struct nlattr **tb, unsigned max)
{
	size_t skip = MNL_ALIGN(offset), have = mnl_nlmsg_get_payload_len(n);
	nl_attrs(mnl_nlmsg_get_payload_offset(n, offset), have > skip ? (int)(have - skip) : 0, tb, max);
}

bool nl_addr(const struct nlattr *a, int family, struct ipaddr *out)
{
	if (!a || mnl_attr_get_payload_len(a) != (family == AF_INET ? 4 : 16))
		return false;
	*out = family == AF_INET ? ip_from4(ld32(mnl_attr_get_payload(a))) : ip_from6(mnl_attr_get_payload(a));
	return true;
}

uint32_t nl_u32(const struct nlattr *a)
{
	return a ? mnl_attr_get_u32(a) : 0;
}

/* ---- sockets ---- */

static int subscribe(struct err *e)
{
	static const int groups[] = { RTNLGRP_LINK,       RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP };
	int size = EVENT_BUFFER, fd;
	events = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!events || mnl_socket_bind(events, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_set(e, -errno, "netlink: %s", strerror(errno));
	fd = mnl_socket_get_fd(events);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
		if (mnl_socket_setsockopt(events, NETLINK_ADD_MEMBERSHIP, (void *)&groups[i], sizeof(int)) < 0)
			/* a kernel without next-hop objects or IPv6 */
			log_warn("netlink: no events of group %d: %s", groups[i], strerror(errno));
	return 0;
}

int netlink_init(struct err *e)
{
	struct timeval limit = { .tv_sec = 10 };
	int rc = subscribe(e);
	if (rc < 0)
		goto fail;
	requests = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!requests || mnl_socket_bind(requests, 0, MNL_SOCKET_AUTOPID) < 0) {
		rc = err_set(e, -errno, "netlink: %s", strerror(errno));
		goto fail;
	}
	setsockopt(mnl_socket_get_fd(requests), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	rc = nl_neigh_init(e);
	if (rc < 0)
		goto fail;
	rc = resync(e);
	if (rc < 0)
		goto fail;
	netlink_read();
	return 0;
fail:
	netlink_fini();
	return rc;
}

void netlink_fini(void)
{
	if (events)
		mnl_socket_close(events);
	if (requests)
		mnl_socket_close(requests);
	events = requests = NULL;
	nl_neigh_fini();
	nl_routes_fini();
	nl_links_fini();
	resync_why = NULL;
	resync_earliest_ns = 0;
}

int netlink_fd(void)
{
	return mnl_socket_get_fd(events);
}

void nl_want_resync(const char *why)
{
	if (!resync_why)
		resync_why = why;
}

static void resync_if_due(void)
{
	struct err e;
	if (!resync_why || clock_ns() < resync_earliest_ns)
		return;
	log_debug("netlink: dumping again: %s", resync_why);
	if (resync(&e) < 0)
		log_warn("%s", e.text);
}

/* Everything there is to read, once. */
static void drain(void)
{
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(events, buffer.b, sizeof(buffer.b));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == ENOBUFS) {
			log_info("netlink: events were lost, dumping again");
			nl_want_resync("events were lost");
			continue;
		}
		if (got <= 0)
			return;
		int len = (int)got;
		for (const struct nlmsghdr *n = &buffer.align; mnl_nlmsg_ok(n, len); n = mnl_nlmsg_next(n, &len))
			message(n, false);
	}
}

void netlink_read(void)
{
	uint64_t before = fib_version();
	drain();
	resync_if_due();
	drain(); /* what came while the dump ran is newer than it */
	if (fib_version() != before)
		resolve_routes_changed();
}

void netlink_tick(uint64_t now_ns)
{
	(void)now_ns;
	if (resync_why)
		netlink_read();
}

bool netlink_pending(void)
{
	return resync_why;
}

/* ---- requests ---- */

static int request(struct nlmsghdr *n)
{
	n->nlmsg_seq = ++request_seq;
	return mnl_socket_sendto(requests, n, n->nlmsg_len) < 0 ? -errno : 0;
}

/* Reads answers to the last request until its end, giving messages to message(). 0, -errno, -EINTR: the dump is not consistent. */
static int answers(void)
{
	static union {
		uint8_t b[READ_SIZE];
		struct nlmsghdr align;
	} reply;
	bool torn = false;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(requests, reply.b, sizeof(reply.b));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EIO;
		int len = (int)got;
		for (const struct nlmsghdr *n = &reply.align; mnl_nlmsg_ok(n, len); n = mnl_nlmsg_next(n, &len)) {
			if (n->nlmsg_seq != request_seq)
				continue; /* rest of a request that was given up */
			torn = torn || n->nlmsg_flags & NLM_F_DUMP_INTR;
			if (n->nlmsg_type == NLMSG_DONE)
				return torn ? -EINTR : 0;
			if (n->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(n))->error;
			message(n, true);
		}
	}
}

int nl_talk(struct nlmsghdr *n)
{
	n->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	int rc = request(n);
	return rc < 0 ? rc : answers();
}

static int dump(uint16_t type, uint8_t family)
{
	union {
		uint8_t b[256];
		struct nlmsghdr align;
	} q;
	int rc = 0;
	for (int i = 0; i < DUMP_TRIES; i++) {
		memset(&q, 0, sizeof(q));
		struct nlmsghdr *n = mnl_nlmsg_put_header(q.b);
		n->nlmsg_type = type;
		n->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		size_t head = type == RTM_GETLINK    ? sizeof(struct ifinfomsg)
			      : type == RTM_GETADDR  ? sizeof(struct ifaddrmsg)
			      : type == RTM_GETROUTE ? sizeof(struct rtmsg)
			      : type == RTM_GETNEIGH ? sizeof(struct ndmsg)
						     : sizeof(struct nhmsg);
		*(uint8_t *)mnl_nlmsg_put_extra_header(n, head) = family; /* all of them begin with the family */
		rc = request(n);
		if (rc == 0)
			rc = answers();
		if (rc != -EINTR)
			return rc;
	}
	return rc;
}

static int dump_all(struct err *e)
{
	static const struct {
		uint16_t type;
		uint8_t family;
		const char *what;
	} rows[] = {
		{ RTM_GETLINK, AF_UNSPEC, "links" },        { RTM_GETADDR, AF_UNSPEC, "addresses" },
		{ RTM_GETNEXTHOP, AF_UNSPEC, "next hops" }, { RTM_GETROUTE, AF_INET, "IPv4 routes" },
		{ RTM_GETROUTE, AF_INET6, "IPv6 routes" },  { RTM_GETNEIGH, AF_UNSPEC, "neighbours" },
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		int rc = dump(rows[i].type, rows[i].family);
		bool absent = rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT; /* a kernel without it */
		if (rc < 0 && !absent)
			return err_set(e, rc, "netlink: dump of %s: %s", rows[i].what,
				       rc == -EINTR ? "it changes faster than it can be read" : strerror(-rc));
	}
	return 0;
}

static int resync(struct err *e)
{
	uint64_t start = clock_ns();
	resync_why = NULL;
	nl_links_begin();
	nl_nexthops_begin();
	fib_resync_begin();
	resolve_resync_begin();
	int rc = dump_all(e);
	if (rc == 0) {
		nl_links_end();
		fib_resync_end();
		resolve_resync_end();
	} else {
		/* nothing is swept: an incomplete dump is no proof that something is gone */
		nl_want_resync("the last dump failed");
	}
	uint64_t end = clock_ns();
	resync_earliest_ns = end + MIN(REST_FACTOR * (end - start), REST_MAX_S * NS_PER_S);
	return rc;
}

static void message(const struct nlmsghdr *n, bool dump)
{
	switch (n->nlmsg_type) {
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		nl_route(n, dump);
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		nl_neigh(n);
		break;
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		nl_nexthop(n, dump);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		nl_address(n, dump);
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		nl_link(n, dump);
		break;
	default:
		break;
	}
}

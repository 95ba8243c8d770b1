/* SPDX-License-Identifier: BSD-2-Clause */
/* Between netlink.c (sockets, re-dump), netlink_link.c (links, addresses), netlink_route.c and netlink_neigh.c. Control thread only. */
#pragma once

#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include "fwd/netlink.h"

/* Attributes by type; NULL = absent. Types past 'max' are left out. */
void nl_attrs(const struct nlattr *first, int len, const struct nlattr **tb, unsigned max);
void nl_message_attrs(const struct nlmsghdr *n, size_t offset, const struct nlattr **tb, unsigned max);
/* Address of 'family' out of an attribute; false when its size is wrong. */
bool nl_addr(const struct nlattr *a, int family, struct ipaddr *out);
uint32_t nl_u32(const struct nlattr *a); /* 0 when absent */
/* One request with answer: 0 or -errno. */
int nl_talk(struct nlmsghdr *n);
/* Something changed that the kernel does not tell in detail: dump again, soon. */
void nl_want_resync(const char *why);

/* netlink_link.c */
void nl_link(const struct nlmsghdr *n, bool dump);
void nl_address(const struct nlmsghdr *n, bool dump);
void nl_links_begin(void);
void nl_links_end(void); /* links that were not dumped since are gone */
void nl_links_fini(void);
/* netlink_route.c; 'dump': part of a re-dump */
void nl_route(const struct nlmsghdr *n, bool dump);
void nl_nexthop(const struct nlmsghdr *n, bool dump);
void nl_nexthops_begin(void);
void nl_routes_fini(void);
/* netlink_neigh.c */
int nl_neigh_init(struct err *e);
void nl_neigh_fini(void);
void nl_neigh(const struct nlmsghdr *n);

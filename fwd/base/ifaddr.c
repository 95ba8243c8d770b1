/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/base/ifaddr.h"

#include <ifaddrs.h>
#include <netinet/in.h>

bool ifaddr_under(const struct ipnet *n, struct ipaddr *which)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list))
		return false;
	for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		struct ipaddr x;
		if (!i->ifa_addr)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
			x = ip_from4(((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr);
		else if (i->ifa_addr->sa_family == AF_INET6)
			x = ip_from6(&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr);
		else
			continue;
		if ((found = ipnet_contains(n, &x)))
			*which = x;
	}
	freeifaddrs(list);
	return found;
}

bool ifaddr_has(const struct ipaddr *a)
{
	const struct ipnet n = { *a, 128 };
	struct ipaddr same;

	return ifaddr_under(&n, &same);
}

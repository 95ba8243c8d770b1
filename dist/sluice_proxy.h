/* SPDX-License-Identifier: BSD-2-Clause */
/* For proxies that take connections by a policy rule 'redirect PORT': who is the client, where did it mean to go? getpeername()
 * and getsockname() tell the addresses; this asks sluiced for what they cannot tell, the client's identity and the destination
 * before a NAT mapping. One file, no library. The request is a line over the command socket and may be made without this:
 *
 *	-j lookup proxy tcp from 10.1.0.10:40000 to 198.51.100.2:80
 *	-> "ok LENGTH\n" and an array of one object as 'sluicectl -j show proxy' prints them, or "err ERRNO LENGTH\n" and a sentence */
#ifndef SLUICE_PROXY_H
#define SLUICE_PROXY_H

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct sluice_proxy {
	uint32_t identity;
	char original_dst[INET6_ADDRSTRLEN];
	uint16_t original_dport;
};

static inline void sluice_proxy_print(const struct sockaddr_storage *a, char *buf, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "";
	const struct sockaddr_in *a4 = (const void *)a;
	const struct sockaddr_in6 *a6 = (const void *)a;

	if (a->ss_family == AF_INET) {
		inet_ntop(AF_INET, &a4->sin_addr, ip, sizeof(ip));
		snprintf(buf, size, "%s:%u", ip, ntohs(a4->sin_port));
	} else if (IN6_IS_ADDR_V4MAPPED(&a6->sin6_addr)) {
		inet_ntop(AF_INET, (const uint8_t *)&a6->sin6_addr + 12, ip, sizeof(ip));
		snprintf(buf, size, "%s:%u", ip, ntohs(a6->sin6_port));
	} else {
		inet_ntop(AF_INET6, &a6->sin6_addr, ip, sizeof(ip));
		snprintf(buf, size, "[%s]:%u", ip, ntohs(a6->sin6_port));
	}
}

/* About the accepted TCP socket 'fd'; 'path' of the command socket, NULL: of the default instance. 0, or -1: no such connection, no
 * daemon, or no right to ask it. Blocks for the answer, which takes some ten microseconds. Any thread. */
static inline int sluice_proxy_lookup(const char *path, int fd, struct sluice_proxy *p)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_storage peer, own;
	socklen_t peer_len = sizeof(peer), own_len = sizeof(own);
	char from[64], to[64], buf[1024];
	const char *id, *dst, *port;
	size_t have = 0;
	ssize_t n;
	int s;

	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) || getsockname(fd, (struct sockaddr *)&own, &own_len))
		return -1;
	sluice_proxy_print(&peer, from, sizeof(from));
	sluice_proxy_print(&own, to, sizeof(to));
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path ? path : "/run/sluice/sluice.sock");
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	n = snprintf(buf, sizeof(buf), "-j lookup proxy tcp from %s to %s\n", from, to);
	if (s < 0 || connect(s, (struct sockaddr *)&un, sizeof(un)) || send(s, buf, (size_t)n, MSG_NOSIGNAL) != n ||
	    shutdown(s, SHUT_WR)) {
		if (s >= 0)
			close(s);
		return -1;
	}
	while (have < sizeof(buf) - 1 && (n = read(s, buf + have, sizeof(buf) - 1 - have)) > 0)
		have += (size_t)n;
	close(s);
	buf[have] = 0;
	id = strstr(buf, "\"identity\":");
	dst = strstr(buf, "\"original_dst\":\"");
	port = strstr(buf, "\"original_dport\":");
	if (strncmp(buf, "ok ", 3) || !id || !dst || !port)
		return -1;
	return sscanf(id, "\"identity\":%u", &p->identity) == 1 &&
			       sscanf(dst, "\"original_dst\":\"%45[^\"]", p->original_dst) == 1 &&
			       sscanf(port, "\"original_dport\":%hu", &p->original_dport) == 1
		       ? 0
		       : -1;
}

#endif

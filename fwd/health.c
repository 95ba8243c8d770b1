/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/health.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/gate.h"
#include "xdp/health.h"

enum { CLIENTS = 16, REQUEST_MAX = 1024, PATIENCE_S = 5 };

/* A client is given up when a newer one needs its place or its time is over: nobody can keep the others out. */
struct client {
	int fd; /* 0 = free */
	unsigned len;
	uint64_t since_ns;
	char text[REQUEST_MAX];
};

static struct {
	int epoll, netns, listener;
	uint32_t ifindex;
	unsigned n;
	struct ipaddr addr[ENDPOINT_ADDRS];
	struct err failure; /* of the last attempt */
	struct client client[CLIENTS];
} my = { .epoll = -1, .netns = -1, .listener = -1 };

static void drop(struct client *c)
{
	close(c->fd);
	c->fd = 0;
}

void health_stop(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (my.client[i].fd)
			drop(&my.client[i]);
	if (my.listener >= 0)
		close(my.listener);
	if (my.netns >= 0)
		close(my.netns);
	my.listener = my.netns = -1;
	my.ifindex = my.n = 0;
}

static int watch(int fd, uint32_t index)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = index };
	return epoll_ctl(my.epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int make(struct err *e)
{
	int rc = health_device(my.addr, my.n, &gate_gateway_mac, &my.ifindex, &my.netns, &my.listener, e);
	if (rc)
		return rc;
	rc = health_fd() < 0 ? health_fd() : watch(my.listener, CLIENTS);
	return rc ? err_set(e, rc, "health endpoint: epoll: %s", strerror(-rc)) : 0;
}

static bool is_there(void)
{
	return my.ifindex && if_nametoindex(HEALTH_DEVICE) == my.ifindex;
}

uint32_t health_ifindex(void)
{
	return is_there() ? my.ifindex : 0;
}

int health_set(const struct endpoint *ep, struct err *e)
{
	if (!ep) {
		health_stop();
		return 0;
	}
	if (my.n == ep->n_addrs && !memcmp(my.addr, ep->addr, my.n * sizeof(my.addr[0])) && is_there())
		return 0;
	health_stop();
	my.n = ep->n_addrs;
	memcpy(my.addr, ep->addr, my.n * sizeof(my.addr[0]));
	int rc = make(e);
	my.failure = *e;
	return rc;
}

int health_fd(void)
{
	if (my.epoll < 0)
		my.epoll = epoll_create1(EPOLL_CLOEXEC);
	return my.epoll < 0 ? -errno : my.epoll;
}

void health_tick(void)
{
	struct err e = { "" };
	const uint64_t now = clock_ns();
	for (unsigned i = 0; i < CLIENTS; i++)
		if (my.client[i].fd && now - my.client[i].since_ns > PATIENCE_S * NS_PER_S)
			drop(&my.client[i]);
	if (!my.n || is_there())
		return;
	const unsigned n = my.n;
	health_stop();
	my.n = n;
	if (!make(&e))
		log_warn("%s was gone: made again", HEALTH_DEVICE);
	else if (strcmp(e.text, my.failure.text) != 0) /* every second until it succeeds: said once */
		log_error("%s", e.text);
	my.failure = e;
}

static void accept_one(void)
{
	int fd = accept4(my.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *c = &my.client[0];
	if (fd < 0)
		return;
	for (unsigned i = 1; i < CLIENTS && c->fd; i++)
		if (!my.client[i].fd || my.client[i].since_ns < c->since_ns)
			c = &my.client[i];
	if (c->fd)
		drop(c);
	*c = (struct client){ .fd = fd, .since_ns = clock_ns() };
	if (watch(fd, (uint32_t)(c - my.client)))
		drop(c);
}

static void answer(struct client *c)
{
	static const char body[] = "{\"status\":\"ok\",\"version\":\"" SLUICE_VERSION "\"}\n";
	char text[256];
	const bool get = !strncmp(c->text, "GET ", 4) || !strncmp(c->text, "HEAD ", 5);
	const char *path = get ? strchr(c->text, ' ') + 1 : "";
	const bool found = !strncmp(path, "/hello", 6) && strchr(" ?\r\n", path[6]) != NULL;
	int len = snprintf(text, sizeof(text),
			   "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
			   "Connection: close\r\n\r\n%s",
			   found ? "200 OK"
			   : get ? "404 Not Found"
				 : "405 Method Not Allowed",
			   found ? sizeof(body) - 1 : 0, found && c->text[0] == 'G' ? body : "");
	/* less than a socket buffer: taken at once, or the client is gone */
	if (send(c->fd, text, (size_t)len, MSG_NOSIGNAL) == len)
		shutdown(c->fd, SHUT_WR);
	drop(c);
}

/* The request ends with an empty line; what is longer than the buffer is no probe. */
static void read_some(struct client *c)
{
	ssize_t n = recv(c->fd, c->text + c->len, REQUEST_MAX - 1 - c->len, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->len += (unsigned)n;
	c->text[c->len] = 0;
	if (strstr(c->text, "\r\n\r\n") || strstr(c->text, "\n\n"))
		answer(c);
	else if (c->len == REQUEST_MAX - 1)
		drop(c);
}

void health_serve(void)
{
	struct epoll_event ev[CLIENTS + 1];
	int n = epoll_wait(my.epoll, ev, CLIENTS + 1, 0);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u32 == CLIENTS)
			accept_one();
		else if (my.client[ev[i].data.u32].fd)
			read_some(&my.client[ev[i].data.u32]);
	}
}

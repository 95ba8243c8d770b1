/* SPDX-License-Identifier: BSD-2-Clause */
/* One question to a backend and its answer (contract in probe_private.h), by a socket of its own that is connected to the
 * backend, so that errors the network reports come to the right one. TCP sockets are closed by a reset: the box keeps no TIME_WAIT
 * for each probe. */
#include "fwd/probe_private.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fwd/base/sysctl.h"
#include "fwd/probe_http.h"

enum { ANSWER_MAX = 1024, ECHO_DATA = 16, ECHO_SIZE = 8 + ECHO_DATA };

struct asking {
	int fd; /* -1: unused */
	void *owner;
	const struct target *t; /* the owner's */
	uint64_t deadline_ns;
	bool connected; /* http: the request is out */
	unsigned n;     /* bytes of 'in' */
	union {
		char in[ANSWER_MAX];     /* http: what came */
		uint8_t echo[ECHO_SIZE]; /* icmp: what was sent */
	};
};
static struct asking asking[PROBE_ASKING_MAX];
static unsigned n_asking;
static int epoll = -1;
static unsigned port_lo, port_hi;

int probe_io_init(struct err *e)
{
	for (unsigned i = 0; i < PROBE_ASKING_MAX; i++)
		asking[i].fd = -1;
	n_asking = 0;
	local_port_range(&port_lo, &port_hi);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	return epoll < 0 ? err_set(e, -errno, "probes: epoll: %s", strerror(errno)) : 0;
}

static void end(struct asking *a)
{
	close(a->fd);
	a->fd = -1;
	n_asking--;
}

void probe_io_fini(void)
{
	for (unsigned i = 0; i < PROBE_ASKING_MAX && epoll >= 0; i++)
		if (asking[i].fd >= 0)
			end(&asking[i]);
	if (epoll >= 0)
		close(epoll);
	epoll = -1;
}

int probe_io_fd(void)
{
	return epoll;
}

bool probe_io_full(void)
{
	return n_asking == PROBE_ASKING_MAX;
}

void probe_io_forget(const void *owner)
{
	for (unsigned i = 0; i < PROBE_ASKING_MAX; i++)
		if (asking[i].fd >= 0 && asking[i].owner == owner)
			end(&asking[i]);
}

/* ---- answers ---- */

static enum answer bad(struct heard *h, const char *reason)
{
	snprintf(h->reason, sizeof(h->reason), "%s", reason);
	return ANSWER_BAD;
}

/* Of the network or the backend. */
static enum answer failed(struct heard *h, int err)
{
	switch (err) {
	case ECONNREFUSED:
		return bad(h, "connection refused");
	case ECONNRESET:
	case EPIPE:
		return bad(h, "connection reset");
	case EHOSTUNREACH:
		return bad(h, "host unreachable");
	case ENETUNREACH:
		return bad(h, "no route");
	case EADDRNOTAVAIL:
		return bad(h, "the box has no address to send from");
	case ETIMEDOUT:
		return bad(h, "no answer");
	default:
		return bad(h, strerror(err));
	}
}

/* Of the box itself. */
static enum answer unasked(struct heard *h, int err)
{
	snprintf(h->reason, sizeof(h->reason), "not probed: %s", strerror(err));
	return ANSWER_UNASKED;
}

static bool is_own_trouble(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS || err == EAGAIN;
}

static const char *silence(const struct asking *a)
{
	if (!a->connected)
		return "no answer";
	return a->n ? "no whole HTTP answer" : "connected, but no HTTP answer";
}

/* ---- sending ---- */

static socklen_t socket_address(const struct target *t, struct sockaddr_storage *s)
{
	const be16 port = htons(t->conf.port);

	memset(s, 0, sizeof(*s));
	if (ip_is4(&t->addr)) {
		struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = t->addr.w[3] };
		memcpy(s, &v4, sizeof(v4));
		return sizeof(v4);
	}
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = port };
	memcpy(&v6.sin6_addr, t->addr.b, 16);
	memcpy(s, &v6, sizeof(v6));
	return sizeof(v6);
}

static int open_socket(const struct target *t)
{
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	const bool v4 = ip_is4(&t->addr);
	const int family = v4 ? AF_INET : AF_INET6;
	int fd;

	if (t->conf.kind != PROBE_ICMP) {
		fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return fd;
	}
	/* not SOCK_DGRAM: that is closed to everybody (net.ipv4.ping_group_range) unless the operator opens it */
	fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (fd < 0)
		return fd;
	if (v4) {
		const struct icmp_filter only = { ~(1u << ICMP_ECHOREPLY) };
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &only, sizeof(only));
	} else {
		struct icmp6_filter only;
		ICMP6_FILTER_SETBLOCKALL(&only);
		ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
		setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof(only));
	}
	return fd;
}

/* The identifier is one the kernel might choose as port: replies with others may be for a NAT pool on the same address. */
static enum answer send_echo(struct asking *a, struct heard *h)
{
	const bool v4 = ip_is4(&a->t->addr);
	uint8_t *p = a->echo;

	memset(p, 0, ECHO_SIZE);
	if (getrandom(p + 4, ECHO_SIZE - 4, GRND_NONBLOCK) != ECHO_SIZE - 4)
		return unasked(h, EAGAIN);
	p[0] = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	wr16(p + 4, (uint16_t)(port_lo + rd16(p + 4) % (port_hi - port_lo + 1)));
	if (v4) /* else the kernel does it */
		st16(p + 2, (uint16_t)~csum_fold(csum_add(p, ECHO_SIZE, 0)));
	if (send(a->fd, p, ECHO_SIZE, 0) == ECHO_SIZE)
		return ANSWER_NONE;
	return is_own_trouble(errno) ? unasked(h, errno) : failed(h, errno);
}

static enum answer send_request(struct asking *a, struct heard *h)
{
	const struct service_key *host = &a->t->host;
	char text[HTTP_REQUEST_MAX];
	const unsigned len = http_request(text, a->t->conf.path, &host->vip, host->port);
	const ssize_t sent = send(a->fd, text, len, MSG_NOSIGNAL);

	if (sent < 0)
		return failed(h, errno);
	if (sent != (ssize_t)len)
		return bad(h, "the request was not taken");
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = a };
	a->connected = true;
	return epoll_ctl(epoll, EPOLL_CTL_MOD, a->fd, &ev) ? unasked(h, errno) : ANSWER_NONE;
}

static enum answer start(struct asking *a, struct heard *h)
{
	const bool icmp = a->t->conf.kind == PROBE_ICMP;
	struct sockaddr_storage to;
	const socklen_t len = socket_address(a->t, &to);
	struct epoll_event ev = { .events = icmp ? EPOLLIN : EPOLLOUT, .data.ptr = a };

	if (connect(a->fd, (const struct sockaddr *)&to, len) && errno != EINPROGRESS)
		return is_own_trouble(errno) ? unasked(h, errno) : failed(h, errno);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, a->fd, &ev))
		return unasked(h, errno);
	return icmp ? send_echo(a, h) : ANSWER_NONE;
}

void probe_io_ask(const struct target *t, void *owner, uint64_t deadline_ns, struct heard *h)
{
	struct asking *a = asking;
	const int fd = open_socket(t);

	h->owner = owner;
	if (fd < 0) {
		h->answer = unasked(h, errno);
		return;
	}
	while (a->fd >= 0)
		a++;
	a->fd = fd;
	a->owner = owner;
	a->t = t;
	a->deadline_ns = deadline_ns;
	a->connected = false;
	a->n = 0;
	n_asking++;
	h->answer = start(a, h);
	if (h->answer != ANSWER_NONE)
		end(a);
}

/* ---- receiving ---- */

/* What comes from the backend is anybody's until it repeats what only we know. */
static bool is_our_echo(const struct asking *a, const uint8_t *p, ssize_t n)
{
	const bool v4 = ip_is4(&a->t->addr);

	if (v4 && n >= IP4_HLEN) { /* with its IP header */
		const ssize_t head = (p[0] & 15) * 4;
		p += head;
		n -= head;
	}
	return n >= ECHO_SIZE && p[0] == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) && !p[1] &&
	       !memcmp(p + 4, a->echo + 4, ECHO_SIZE - 4);
}

static enum answer receive_echo(struct asking *a, struct heard *h)
{
	uint8_t p[256];

	for (unsigned i = 0; i < 64; i++) { /* others' replies: bounded, the rest at the next look */
		const ssize_t n = recv(a->fd, p, sizeof(p), 0);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? ANSWER_NONE : failed(h, errno);
		if (is_our_echo(a, p, n))
			return ANSWER_GOOD;
	}
	return ANSWER_NONE;
}

static enum answer receive_http(struct asking *a, struct heard *h)
{
	const ssize_t n = recv(a->fd, a->in + a->n, ANSWER_MAX - a->n, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? ANSWER_NONE : failed(h, errno);
	a->n += (unsigned)n;
	const int status = http_status(a->in, a->n, !n);
	if (status == HTTP_MORE)
		return a->n < ANSWER_MAX ? ANSWER_NONE : bad(h, "no HTTP status in time");
	if (status == HTTP_BAD)
		return bad(h, a->n ? "the answer is not HTTP" : "connection closed without an answer");
	if (status < 400)
		return ANSWER_GOOD;
	snprintf(h->reason, sizeof(h->reason), "HTTP status %d", status);
	return ANSWER_BAD;
}

static enum answer look(struct asking *a, struct heard *h)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (a->t->conf.kind == PROBE_ICMP)
		return receive_echo(a, h);
	if (a->connected)
		return receive_http(a, h);
	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err)
		return failed(h, err ? err : errno);
	return a->t->conf.kind == PROBE_TCP ? ANSWER_GOOD : send_request(a, h);
}

unsigned probe_io_hear(uint64_t now_ns, struct heard h[static PROBE_ASKING_MAX])
{
	static struct epoll_event ev[PROBE_ASKING_MAX];
	const int events = epoll_wait(epoll, ev, PROBE_ASKING_MAX, 0);
	unsigned n = 0;

	for (int i = 0; i < events; i++) {
		struct asking *a = ev[i].data.ptr;
		h[n].owner = a->owner;
		h[n].answer = look(a, &h[n]);
		if (h[n].answer == ANSWER_NONE)
			continue;
		end(a);
		n++;
	}
	for (unsigned i = 0; i < PROBE_ASKING_MAX && n_asking; i++) {
		struct asking *a = &asking[i];
		if (a->fd < 0 || now_ns < a->deadline_ns)
			continue;
		h[n].owner = a->owner;
		h[n].answer = bad(&h[n], silence(a));
		end(a);
		n++;
	}
	return n;
}

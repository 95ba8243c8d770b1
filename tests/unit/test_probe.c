/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes: rise and fall, what counts as an HTTP answer, and both with real sockets on the loopback device, where the test itself is
 * the backend. Time is set; what is waited for are the sockets. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/base/rcu.h"
#include "fwd/probe_http.h"
#include "fwd/probe_private.h"
#include "tables/endpoint.h"
#include "tables/ipcache.h"
#include "tables/maglev.h"

/* ---- rise and fall ---- */

/* '+' and '-' are results; the health after each: '?', 'u', 'd'. */
static void verdicts(const char *results, const char *want, unsigned rise, unsigned fall)
{
	struct verdict v = { 0 };

	for (unsigned i = 0; results[i]; i++) {
		const uint8_t was = v.health;
		const bool changed = verdict_add(&v, results[i] == '+', rise, fall);
		assert_int_equal("?ud"[v.health], want[i]);
		assert_int_equal(changed, was != v.health);
	}
}

static void test_verdict(void **state)
{
	(void)state;
	verdicts("+", "u", 5, 1);
	verdicts("---+", "??du", 1, 3);
	verdicts("--+--+---", "??uuuuuud", 1, 3);
	verdicts("--+--", "??uuu", 2, 3);
	verdicts("---++", "??ddu", 2, 3);
	verdicts("---+-+-++-", "??dddddduu", 2, 3);
	verdicts("-+-+", "dudu", 1, 1);
	struct verdict v = { 0 };
	for (unsigned i = 1; i < 100; i++)
		assert_false(verdict_add(&v, false, 1, 100));
	assert_true(verdict_add(&v, false, 1, 100));
}

/* ---- HTTP ---- */

static void test_http_status(void **state)
{
	static const struct {
		const char *text;
		int open, ended; /* while the connection is open; once it is not */
	} row[] = {
		{ "", HTTP_MORE, HTTP_BAD },
		{ "HTTP/1.1 200 OK\r\n", 200, 200 },
		{ "HTTP/1.0 204\r\n", 204, 204 },
		{ "HTTP/1.0 302\n", 302, 302 },
		{ "HTTP/1.1 399 ", 399, 399 },
		{ "HTTP/1.1 500 Internal Server Error\r\nX: HTTP/1.1 200 OK\r\n", 500, 500 },
		{ "HTTP/1.1 200", HTTP_MORE, HTTP_BAD }, /* 2000? */
		{ "HTTP/1.1 2000 OK\r\n", HTTP_BAD, HTTP_BAD },
		{ "HTTP/1.1 20", HTTP_MORE, HTTP_BAD },
		{ "HTTP/1.1  200 OK\r\n", HTTP_BAD, HTTP_BAD },
		{ "HTTP/1.1 099 ?\r\n", HTTP_BAD, HTTP_BAD },
		{ "HTTP/11 200 OK\r\n", HTTP_BAD, HTTP_BAD },
		{ "http/1.1 200 OK\r\n", HTTP_BAD, HTTP_BAD },
		{ "HTTP", HTTP_MORE, HTTP_BAD },
		{ "SSH-2.0-OpenSSH_9.2\r\n", HTTP_BAD, HTTP_BAD },
		{ "\r\nHTTP/1.1 200 OK\r\n", HTTP_BAD, HTTP_BAD },
		{ "\x15\x03\x01\x00\x02\x02P", HTTP_BAD, HTTP_BAD }, /* a TLS alert */
		{ "HTTP/1.1 100 Continue\r\n", HTTP_MORE, HTTP_BAD },
		{ "HTTP/1.1 100 Continue\r\n\r\n", HTTP_MORE, HTTP_BAD },
		{ "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 \n\nHTTP/1.1 503 \r\n", 503, 503 },
		{ "HTTP/1.1 100 Continue\r\n\r\ngarbage", HTTP_BAD, HTTP_BAD },
	};
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		const unsigned n = (unsigned)strlen(row[i].text);
		char *copy = malloc(n + 1); /* exact, so that reading past it is seen */
		assert_non_null(copy);
		for (unsigned k = 0; k <= n; k++) { /* pieces never say more than the whole */
			memcpy(copy + n + 1 - k - 1, row[i].text, k);
			const int got = http_status(copy + n - k, k, false);
			if (got != HTTP_MORE)
				assert_int_equal(got, row[i].open);
			if (k == n)
				assert_int_equal(got, row[i].open);
		}
		assert_int_equal(http_status(row[i].text, n, true), row[i].ended);
		free(copy);
	}
	/* a NUL inside is a byte like any other */
	assert_int_equal(http_status("HTTP/1.1\0 200 ", 14, false), HTTP_BAD);
}

static void test_http_request(void **state)
{
	char buf[HTTP_REQUEST_MAX], path[PROBE_PATH_MAX];
	struct ipaddr a;
	(void)state;
	assert_true(ip_parse("203.0.113.80", &a));
	unsigned n = http_request(buf, "/healthz?x=1", &a, 80);
	assert_int_equal(n, strlen(buf));
	assert_ptr_equal(strstr(buf, "GET /healthz?x=1 HTTP/1.1\r\nHost: 203.0.113.80\r\n"), buf);
	assert_string_equal(buf + n - 4, "\r\n\r\n");
	assert_true(ip_parse("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", &a));
	memset(path, '/', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	n = http_request(buf, path, &a, 65535);
	assert_true(n < HTTP_REQUEST_MAX && n == strlen(buf));
	assert_non_null(strstr(buf, "\r\nHost: [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535\r\n"));
}

/* ---- with sockets ---- */

static struct err e;
static uint64_t now;
static struct service_conf conf;
static struct probe_conf probe;
static struct ipaddr self;

static int listen_at(const char *text, uint16_t *port)
{
	struct sockaddr_storage s = { 0 };
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&s;
	socklen_t len = sizeof(s);

	assert_true(ip_parse(text, &self));
	const bool is4 = ip_is4(&self);
	if (is4)
		*v4 = (struct sockaddr_in){ .sin_family = AF_INET,
					    .sin_port = htons(*port),
					    .sin_addr.s_addr = self.w[3] };
	else
		*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(*port) };
	if (!is4)
		memcpy(&v6->sin6_addr, self.b, 16);
	const int fd = socket(s.ss_family, SOCK_STREAM, 0), on = 1;
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&s, is4 ? sizeof(*v4) : sizeof(*v6)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&s, &len), 0);
	*port = ntohs(is4 ? v4->sin_port : v6->sin6_port);
	return fd;
}

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_ERROR);
	now = 1000 * NS_PER_S;
	clock_set(now);
	assert_int_equal(endpoint_init(&e) | ipcache_init(&e) | service_init(&e) | probe_init(&e), 0);
	conf = (struct service_conf){ .key = { .port = 80, .proto = PROTO_TCP }, .maglev_size = MAGLEV_DEFAULT };
	probe = (struct probe_conf){ .interval_ms = 1000, .timeout_ms = 500, .rise = 2, .fall = 2, .path = "/x" };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	probe_fini();
	service_fini();
	ipcache_fini();
	endpoint_fini();
	rcu_wait();
	clock_set(0);
	return 0;
}

static uint32_t make(const char *vip, uint16_t port)
{
	assert_true(ip_parse(vip, &conf.key.vip));
	assert_int_equal(service_set(&conf, NULL, 0, &e) | service_probe_set(&conf.key, &probe, &e) |
				 backend_set(&conf.key, &self, port, 1, BACKEND_ACTIVE, &e) | service_commit(&e),
			 0);
	return backend_find(service_by_key(&conf.key), &self, port);
}

static struct probe_info info(uint32_t b)
{
	struct probe_info h = { 0 };
	assert_true(probe_of(b, &h));
	return h;
}

static void step(uint64_t ms)
{
	now += ms * 1000000;
	clock_set(now);
	probe_tick(now);
}

/* Until the probe has one more answer; what it says. */
static struct probe_info answer(uint32_t b)
{
	struct pollfd p = { .fd = probe_fd(), .events = POLLIN };
	struct probe_info h;
	bool have = probe_of(b, &h);
	const uint64_t before = have ? h.sent : 0;

	step(1000);
	while ((h = info(b)).sent == before) {
		assert_int_equal(poll(&p, 1, 10000), 1);
		probe_handle();
	}
	assert_int_equal(h.sent, before + 1);
	return h;
}

static void use_is(uint32_t b, enum backend_health health, enum backend_use use)
{
	assert_int_equal(info(b).health, health);
	assert_int_equal(backend_at(b)->health, health);
	assert_int_equal(backend_at(b)->use, use);
}

static void tcp_at(const char *vip, const char *text)
{
	uint16_t port = 0;
	int fd = listen_at(text, &port);

	probe.kind = PROBE_TCP;
	const uint32_t b = make(vip, port);
	assert_int_equal(backend_at(b)->use, USE_NEW); /* unknown is as good as up */
	assert_null(answer(b).reason);
	use_is(b, HEALTH_UP, USE_NEW);
	close(fd);
	assert_string_equal(answer(b).reason, "connection refused");
	use_is(b, HEALTH_UP, USE_NEW);
	answer(b);
	use_is(b, HEALTH_DOWN, USE_NONE);
	assert_string_equal(info(b).reason, "connection refused");
	fd = listen_at(text, &port);
	assert_non_null(answer(b).reason); /* still down, and why it is */
	use_is(b, HEALTH_DOWN, USE_NONE);
	assert_null(answer(b).reason);
	use_is(b, HEALTH_UP, USE_NEW);
	const struct probe_info h = info(b);
	assert_int_equal(h.sent, 5);
	assert_int_equal(h.failed, 2);
	close(fd);
}

static void test_tcp4(void **state)
{
	(void)state;
	tcp_at("203.0.113.80", "127.0.0.1");
}

static void test_tcp6(void **state)
{
	(void)state;
	tcp_at("2001:db8::80", "::1");
}

/* The backend's side of one HTTP probe: takes the connection, reads the request, answers in two pieces. */
static void serve(int fd, uint32_t b, const char *text)
{
	struct pollfd p = { .fd = probe_fd(), .events = POLLIN };
	char in[HTTP_REQUEST_MAX];
	ssize_t n = 0;

	step(1000);
	const int c = accept(fd, NULL, NULL);
	assert_true(c >= 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	probe_handle(); /* connected: the request goes out */
	while (n < 4 || memcmp(in + n - 4, "\r\n\r\n", 4) != 0) {
		const ssize_t more = recv(c, in + n, sizeof(in) - (size_t)n, 0);
		assert_true(more > 0);
		n += more;
	}
	assert_memory_equal(in, "GET /x HTTP/1.1\r\nHost: 203.0.113.80\r\n", 37);
	if (text) {
		const size_t len = strlen(text), half = len / 2;
		const uint64_t sent = info(b).sent;
		send(c, text, half, MSG_NOSIGNAL);
		assert_int_equal(poll(&p, 1, 10000), 1);
		probe_handle();
		send(c, text + half, len - half, MSG_NOSIGNAL);
		shutdown(c, SHUT_WR);
		while (info(b).sent == sent) {
			assert_int_equal(poll(&p, 1, 10000), 1);
			probe_handle();
		}
	} else {
		step(400);
		assert_int_equal(info(b).sent, 0);
		step(100); /* the timeout is over */
		assert_int_equal(info(b).sent, 1);
	}
	close(c);
}

static void http_answer(const char *text, const char *reason)
{
	uint16_t port = 0;
	const int fd = listen_at("127.0.0.1", &port);

	probe.kind = PROBE_HTTP;
	probe.fall = 1;
	const uint32_t b = make("203.0.113.80", port);
	serve(fd, b, text);
	if (reason)
		assert_string_equal(info(b).reason, reason);
	else
		assert_null(info(b).reason);
	use_is(b, reason ? HEALTH_DOWN : HEALTH_UP, reason ? USE_NONE : USE_NEW);
	close(fd);
	assert_int_equal(backend_del(&conf.key, &self, port, &e) | service_del(&conf.key, &e) | service_commit(&e), 0);
	step(100);
	assert_int_equal(probe_count(), 0);
}

static void test_http(void **state)
{
	(void)state;
	http_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL);
	http_answer("HTTP/1.1 301 Moved\r\n\r\n", NULL);
	http_answer("HTTP/1.1 500 No\r\n\r\n", "HTTP status 500");
	http_answer("HTTP/1.1 404 No\r\n\r\n", "HTTP status 404");
	http_answer("220 mail ready\r\n", "the answer is not HTTP");
	http_answer("HTTP/1.1 2", "the answer is not HTTP");
	http_answer(NULL, "connected, but no HTTP answer");
}

/* It says nothing but interim answers: what is read is bounded. */
static void test_http_endless(void **state)
{
	char text[3000];
	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memcpy(text, "HTTP/1.1 100 ", 13);
	http_answer(text, "no HTTP status in time");
}

static void test_icmp(void **state)
{
	static const char *const vip[] = { "203.0.113.80", "2001:db8::80" }, *const at[] = { "127.0.0.1", "::1" };
	uint16_t port = 0;
	(void)state;
	probe.kind = PROBE_ICMP;
	for (unsigned i = 0; i < 2; i++) {
		close(listen_at(at[i], &port)); /* is there such an address? */
		const uint32_t b = make(vip[i], port);
		assert_null(answer(b).reason);
		use_is(b, HEALTH_UP, USE_NEW);
		assert_int_equal(info(b).port, 0);
	}
}

/* Nothing can be sent there, as without a route: that is an answer, too. */
static void test_unsent(void **state)
{
	(void)state;
	assert_true(ip_parse("255.255.255.255", &self)); /* TCP has no route to it, whatever the box has */
	probe.kind = PROBE_TCP;
	const uint32_t b = make("203.0.113.80", 80);
	step(100);
	assert_int_equal(info(b).sent, 1);
	assert_string_equal(info(b).reason, "no route");
	use_is(b, HEALTH_UNKNOWN, USE_NEW);
	step(1000);
	use_is(b, HEALTH_DOWN, USE_NONE);
}

/* Equal targets of two services are one probe; it ends with the last. What was known survives another pace. */
static void test_shared(void **state)
{
	uint16_t port = 0;
	(void)state;
	const int fd = listen_at("127.0.0.1", &port);
	probe.kind = PROBE_TCP;
	const uint32_t one = make("203.0.113.80", port), two = make("203.0.113.81", port);
	step(100);
	assert_int_equal(probe_count(), 1);
	assert_int_equal(info(one).backends, 2);
	close(fd);
	answer(one);
	answer(one);
	use_is(one, HEALTH_DOWN, USE_NONE);
	use_is(two, HEALTH_DOWN, USE_NONE);
	/* 'two' asks more often from now on: one probe each, and it is not up meanwhile */
	probe.interval_ms = 500;
	assert_int_equal(service_probe_set(&conf.key, &probe, &e) | service_commit(&e), 0);
	step(1);
	assert_int_equal(probe_count(), 2);
	use_is(two, HEALTH_DOWN, USE_NONE);
	assert_string_equal(info(two).reason, "connection refused");
	/* in maintenance nobody looks */
	assert_int_equal(backend_set(&conf.key, &self, port, 1, BACKEND_MAINTENANCE, &e) | service_commit(&e), 0);
	step(1);
	struct probe_info h;
	assert_false(probe_of(two, &h));
	assert_int_equal(backend_at(two)->health, HEALTH_UNKNOWN);
	assert_int_equal(probe_count(), 1);
	/* without probes a backend is as it was before there were any */
	assert_true(ip_parse("203.0.113.80", &conf.key.vip));
	assert_int_equal(service_probe_set(&conf.key, &(struct probe_conf){ 0 }, &e) | service_commit(&e), 0);
	step(1);
	assert_int_equal(probe_count(), 0);
	assert_int_equal(backend_at(one)->use, USE_NEW);
}

static unsigned count_lines(int fd)
{
	char b[4096];
	unsigned n = 0;
	ssize_t r;

	lseek(fd, 0, SEEK_SET);
	while ((r = read(fd, b, sizeof(b))) > 0)
		for (ssize_t i = 0; i < r; i++)
			n += b[i] == '\n';
	return n;
}

/* More than may be asked at a time: everybody's turn comes. That all are down is told in a few lines. */
static void test_many(void **state)
{
	char path[] = "/tmp/sluice-test-probe-XXXXXX";
	const int fd = mkstemp(path), err = dup(STDERR_FILENO);
	assert_true(fd >= 0 && err >= 0);
	unlink(path);
	enum { N = 3 * PROBE_ASKING_MAX };
	struct pollfd p = { .events = POLLIN };
	uint16_t port = 0;
	(void)state;
	close(listen_at("127.0.0.1", &port));
	probe.kind = PROBE_TCP;
	probe.fall = 1;
	for (unsigned i = 1; i <= N; i++) {
		self = ip_from4(htonl(0x7f000000 + i));
		make("203.0.113.80", port);
	}
	p.fd = probe_fd();
	log_set_level(LOG_WARN);
	dup2(fd, STDERR_FILENO);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t asked = 0;
		struct probe_info h;
		step(100);
		while (poll(&p, 1, 0) == 1)
			probe_handle();
		for (uint32_t n = 0; probe_at(n, &h); n++)
			asked += h.sent > 0;
		if (asked == N)
			break;
		assert_true(asked <= (i + 1) * PROBE_ASKING_MAX);
	}
	step(1000);
	dup2(err, STDERR_FILENO);
	assert_in_range(count_lines(fd), 33, 32 + 32 + 2);
	close(fd);
	close(err);
	assert_int_equal(probe_count(), N);
	bool vip;
	const struct service *s = service_find(&conf.key.vip, 80, PROTO_TCP, &vip);
	assert_int_equal(service_choose(s, &self, 1, 0, true), 0);
}

/* A namespace of its own, whose loopback has both families whatever the machine's has. Needs root. */
static int own_network(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET) || system("ip link set lo up") ? -1 : 0;
}

#define WITH_SOCKETS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_http_status),
		cmocka_unit_test(test_http_request),
		WITH_SOCKETS(test_tcp4),
		WITH_SOCKETS(test_tcp6),
		WITH_SOCKETS(test_http),
		WITH_SOCKETS(test_http_endless),
		WITH_SOCKETS(test_icmp),
		WITH_SOCKETS(test_unsent),
		WITH_SOCKETS(test_shared),
		WITH_SOCKETS(test_many),
	};
	hash_init(1);
	rcu_thread_register();
	return cmocka_run_group_tests(tests, own_network, NULL);
}

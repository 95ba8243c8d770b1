/* SPDX-License-Identifier: BSD-2-Clause */
/* Observers: words of filters, which frames they take, what comes through a ring and what is lost, what a trace says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>

#include "cli/pkttext.h"
#include "fwd/gate.h"
#include "fwd/observe_match.h"
#include "tests/support/box.h"

static unsigned n_seen;
static struct observed last;
static uint8_t last_frame[OBSERVE_SNAP];
static char last_steps[512];

static int setup(void **state)
{
	static const struct box_limits none;
	char conf[] = "add port up0 mem\n"
		      "add vtep 192.0.2.1 port 4789 vni-mode network\n"
		      "add endpoint 10 device c10 ipv4 10.1.0.10 ipv6 fd01::10 mac 02:00:00:00:0a:0a identity 1001\n"
		      "add endpoint 11 device c11 ipv4 10.1.0.11 mac 02:00:00:00:0a:0b identity 1002\n"
		      "add policy endpoint 11 ingress deny any tcp port 22\nadd policy endpoint 11 ingress allow any\n";
	struct err e = { "" };
	FILE *f = fopen("/dev/null", "w");
	(void)state;
	if (box_open(&none, &e) || box_commands("test", conf, f, &e) || observe_init(&e))
		fail_msg("%s", e.text);
	fclose(f);
	return 0;
}

static int nothing_seen(void **state)
{
	(void)state;
	n_seen = 0;
	return 0;
}

static int teardown(void **state)
{
	struct err e = { "" };
	(void)state;
	observe_fini();
	if (!box_balanced(&e) || !box_close(&e))
		fail_msg("%s", e.text);
	return 0;
}

static struct observe_filter filter(enum observe_kind kind, const char *words)
{
	struct observe_filter f = { 0 };
	char copy[200], *save = NULL;
	struct err e = { "" };
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *eq = strchr(w, '=');
		*eq = 0;
		if (observe_filter_add(&f, kind, w, eq + 1, &e))
			fail_msg("%s: %s", words, e.text);
	}
	return f;
}

static uint32_t build(const char *text, uint8_t *frame)
{
	struct err e = { "" };
	int n = pkttext_parse(text, frame, &e);
	if (n < 0)
		fail_msg("%s", e.text);
	return (uint32_t)n;
}

static bool matches(const char *words, uint16_t port, const char *text)
{
	const struct observe_filter f = filter(OBSERVE_TRACE, words);
	uint8_t frame[PKTTEXT_FRAME_MAX];
	return observe_frame_match(&f, port, frame, build(text, frame));
}

static void test_match(void **state)
{
	static const char tcp4[] = "ip 10.1.0.10 > 198.51.100.2 | tcp 40000 > 80 S";
	static const char udp6[] = "ip fd01::10 > 2001:db8::9 | udp 5000 > 53";
	static const char vxlan[] =
		"ip 192.0.2.2 > 192.0.2.1 | udp 50000 > 4789 | vxlan vni=300 | eth 02:00:00:00:00:01 > "
		"02:00:00:00:00:02 | ip 10.2.0.7 > 10.1.0.10 | tcp 1 > 2 S";
	(void)state;
	assert_true(matches("", PORT_GATE, tcp4));
	assert_true(matches("src=10.1.0.10 dst=198.51.100.0/24 sport=40000 dport=80 proto=tcp", PORT_GATE, tcp4));
	assert_false(matches("src=10.1.0.11", PORT_GATE, tcp4));
	assert_false(matches("dst=10.1.0.10", PORT_GATE, tcp4));
	assert_true(matches("host=10.1.0.10", PORT_GATE, tcp4) && matches("host=198.51.100.2", PORT_GATE, tcp4));
	assert_false(matches("host=10.1.0.12", PORT_GATE, tcp4));
	assert_false(matches("sport=80", PORT_GATE, tcp4));
	assert_false(matches("proto=udp", PORT_GATE, tcp4));
	assert_true(matches("port=gate", PORT_GATE, tcp4));
	assert_false(matches("port=up0", PORT_GATE, tcp4));
	assert_true(matches("endpoint=10", PORT_GATE, tcp4));
	assert_false(matches("endpoint=11", PORT_GATE, tcp4));
	/* by the stamp, when the addresses are nobody's */
	assert_true(matches("endpoint=11", PORT_GATE,
			    "eth 02:e1:00:00:00:0b > 02:00:00:00:00:01 | ip 9.9.9.9 > 8.8.8.8 | udp 1 > 2"));
	assert_true(matches("src=fd01::/64 dport=53 proto=udp", PORT_FIRST, udp6));
	assert_false(matches("src=10.0.0.0/8", PORT_FIRST, udp6));
	assert_true(matches("proto=icmp", PORT_FIRST, "ip 1.1.1.1 > 2.2.2.2 | icmp echo"));
	assert_false(matches("sport=0", PORT_FIRST, "ip 1.1.1.1 > 2.2.2.2 | icmp echo"));
	assert_true(matches("host=10.1.0.1", PORT_FIRST, "arp request 10.1.0.10 > 10.1.0.1"));
	/* behind extension headers; later fragments have no ports */
	assert_true(matches("dport=53", PORT_FIRST, "ip fd01::10 > 2001:db8::9 | dstopts 8 | udp 5000 > 53"));
	assert_false(matches("dport=53", PORT_FIRST, "ip fd01::10 > 2001:db8::9 | frag off=64 | udp 5000 > 53"));
	/* outside or inside a tunnel of ours */
	assert_true(matches("src=192.0.2.2 dport=4789", PORT_FIRST, vxlan));
	assert_true(matches("src=10.2.0.7 proto=tcp dport=2", PORT_FIRST, vxlan));
	assert_false(matches("src=192.0.2.2 dport=2", PORT_FIRST, vxlan));
}

/* Any bytes, cut anywhere. */
static void test_garbage(void **state)
{
	uint8_t frame[PKTTEXT_FRAME_MAX];
	struct ends x[2];
	const uint32_t n = build("ip fd01::10 > 2001:db8::9 | dstopts 8 | udp 5000 > 4789 | data 60", frame);
	(void)state;
	for (uint32_t len = 0; len <= n; len++) {
		uint8_t *exact = malloc(len + !len);
		memcpy(exact, frame, len);
		for (unsigned i = 0; i < 300 && len; i++) {
			exact[(uint32_t)rand() % len] = (uint8_t)rand();
			assert_in_range(observe_look(exact, len, x), 1, 2);
		}
		free(exact);
	}
}

static void refused(enum observe_kind kind, const char *field, const char *value, const char *says)
{
	struct observe_filter f = { 0 };
	struct err e = { "" };
	assert_int_equal(observe_filter_add(&f, kind, field, value, &e), -EINVAL);
	if (!strstr(e.text, says))
		fail_msg("'%s' does not say '%s'", e.text, says);
}

static void test_words(void **state)
{
	struct observe_filter f = filter(OBSERVE_DROPS, "reason=POLICY_DENY port=up0");
	struct err e;
	(void)state;
	assert_int_equal(f.reason, DROP_POLICY_DENY);
	assert_int_equal(f.port, port_by_name("up0")->index);
	assert_int_equal(filter(OBSERVE_DROPS, "reason=133").reason, DROP_POLICY);
	assert_int_equal(filter(OBSERVE_FLOWS, "proto=132").proto, 132);
	assert_int_equal(observe_filter_add(&f, OBSERVE_DROPS, "reason", "133", &e), -EINVAL); /* twice */
	refused(OBSERVE_TRACE, "reason", "133", "no field reason");
	refused(OBSERVE_FLOWS, "port", "up0", "no field port");
	refused(OBSERVE_TRACE, "what", "1", "src dst host sport dport proto port endpoint");
	refused(OBSERVE_DROPS, "reason", "1", "'1' is no");
	refused(OBSERVE_DROPS, "reason", "NONSENSE", "NONSENSE");
	refused(OBSERVE_TRACE, "src", "10.0.0.300", "10.0.0.300");
	refused(OBSERVE_TRACE, "sport", "65536", "65536");
	refused(OBSERVE_TRACE, "dport", "-1", "-1");
	refused(OBSERVE_TRACE, "port", "up9", "up9");
	refused(OBSERVE_TRACE, "endpoint", "12", "12");
	refused(OBSERVE_TRACE, "proto", "0", "protocol");
}

/* ---- through the box ---- */
static void see(const struct observed *o)
{
	n_seen++;
	last = *o;
	memcpy(last_frame, o + 1, o->cap);
	const char *t = (const char *)(o + 1) + observed_pad(o->cap);
	last_steps[0] = 0;
	for (uint32_t at = 0; o->kind == OBSERVE_TRACE && at < o->text; at += (uint32_t)strlen(t + at) + 1)
		snprintf(last_steps + strlen(last_steps), sizeof(last_steps) - strlen(last_steps), "%s;", t + at);
}

static void from_endpoint(uint16_t dport, uint8_t flags)
{
	uint8_t frame[PKTTEXT_FRAME_MAX];
	char text[200];
	const struct mac stamp = gate_stamp(GATE_ENDPOINT, 10);
	snprintf(text, sizeof(text),
		 "eth 02:00:00:00:0a:0a > 02:e9:00:00:00:01 | ip 10.1.0.10 > 10.1.0.11 | tcp 40000 > %u %s", dport,
		 flags ? "A" : "S");
	const uint32_t n = build(text, frame);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, stamp.b, 6);
	assert_int_equal(box_send(ports[PORT_GATE], frame, n), 0);
	box_run();
	while (box_take(ports[PORT_GATE], frame))
		;
}

static int start(enum observe_kind kind, const char *words, uint32_t left)
{
	const struct observe_filter f = filter(kind, words);
	struct err e = { "" };
	int n = observe_start(kind, &f, left, &e);
	if (n < 0)
		fail_msg("%s", e.text);
	return n;
}

static void test_trace(void **state)
{
	(void)state;
	const int a = start(OBSERVE_TRACE, "dport=80", 2), b = start(OBSERVE_TRACE, "dport=22", 1);
	from_endpoint(81, 0);
	observe_drain(see);
	assert_int_equal(n_seen, 0);
	from_endpoint(80, 0);
	observe_drain(see);
	assert_int_equal(n_seen, 1);
	assert_int_equal(last.mask, 1u << a);
	assert_int_equal(last.verdict, OBSERVED_FORWARDED);
	assert_int_equal(last.out, 1);
	assert_int_equal(last.record, 0);
	assert_non_null(strstr(last_steps, "entry;endpoint 10, identity 1001;"));
	assert_non_null(strstr(last_steps, "route;local endpoint 1"));
	from_endpoint(22, 0);
	observe_drain(see);
	assert_int_equal(n_seen, 2);
	assert_int_equal(last.mask, 1u << b);
	assert_int_equal(last.verdict, OBSERVED_DROPPED);
	assert_int_equal(last.reason, DROP_POLICY_DENY);
	assert_int_equal(last.out, 0);
	/* the limit */
	for (unsigned i = 0; i < 3; i++) {
		from_endpoint(80, 0);
		from_endpoint(22, 0);
	}
	observe_drain(see);
	assert_int_equal(n_seen, 3);
	observe_stop((unsigned)a);
	observe_stop((unsigned)b);
	assert_int_equal(observe_on, 0);
	from_endpoint(80, 0);
	observe_drain(see);
	assert_int_equal(n_seen, 3);
	assert_int_equal(observe_lost((unsigned)a), 0);
}

static void test_loss(void **state)
{
	enum { MANY = 20000 };
	(void)state;
	const int a = start(OBSERVE_FRAMES, "", 0), drops = start(OBSERVE_DROPS, "reason=POLICY_DENY", 0);
	for (unsigned i = 0; i < MANY; i++) /* each comes in, and is dropped */
		from_endpoint(22, 0);
	observe_drain(see);
	const uint64_t lost = observe_lost((unsigned)a) + observe_lost((unsigned)drops);
	assert_true(observe_lost((unsigned)a) > 0 && n_seen > 1000);
	assert_true(observe_lost((unsigned)drops) >= MANY - OBSERVE_RATE); /* the clock stands: one second */
	assert_int_equal(n_seen + lost, 2 * MANY);
	/* the ring goes on after it was full, around its end */
	for (unsigned i = 0; i < 10; i++) {
		const unsigned before = n_seen;
		for (unsigned k = 0; k < 1000; k++)
			from_endpoint(22, 0);
		observe_drain(see);
		assert_int_equal(n_seen, before + 1000);
	}
	assert_int_equal(last.kind, OBSERVE_FRAMES);
	assert_int_equal(rd16(last_frame + 12), ET_IP4);
	observe_stop((unsigned)a);
	observe_stop((unsigned)drops);
}

static void test_many(void **state)
{
	const struct observe_filter f = { 0 };
	struct err e = { "" };
	(void)state;
	for (int i = 0; i < OBSERVERS_MAX; i++)
		assert_int_equal(start(OBSERVE_DROPS, "", 0), i);
	assert_int_equal(observe_start(OBSERVE_DROPS, &f, 0, &e), -EBUSY);
	observe_stop(3);
	assert_int_equal(start(OBSERVE_FLOWS, "dport=90", 0), 3);
	from_endpoint(90, 0);
	observe_drain(see);
	assert_int_equal(n_seen, 1);
	assert_int_equal(last.mask, 1u << 3);
	for (unsigned i = 0; i < OBSERVERS_MAX; i++)
		observe_stop(i);
}

#define T(f) cmocka_unit_test_setup(f, nothing_seen)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_match), T(test_garbage), T(test_words), T(test_trace), T(test_loss), T(test_many),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

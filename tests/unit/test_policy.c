/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy against a naive twin: rules come and go at random, and after every commit each probe must agree in verdict,
 * enforcement and cause, and name one of the rules that tie. Then what is hard to meet at random: limits, sharing,
 * undo, counters, and a reader while sets are replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "tables/ipcache.h"
#include "tables/policy.h"
#include "tables/policy_set.h"
#include "tables/tunnel.h"
#include "tests/support/turns.h"

enum { ENDPOINTS = 4, RULES = 60 };
static const uint32_t identity_of[ENDPOINTS + 1] = { 0, 1001, 1001, 1002, 1003 };

static struct ipaddr ip(const char *s)
{
	struct ipaddr a;
	assert_true(ip_parse(s, &a));
	return a;
}

static uint64_t seed = 88172645463325252ull;
static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % n;
}

static int setup(void **state)
{
	struct err e = { "" };
	(void)state;
	hash_init(7);
	rcu_thread_register();
	assert_int_equal(tunnel_init(&e), 0);
	assert_int_equal(ipcache_init(&e), 0);
	assert_int_equal(endpoint_init(&e), 0);
	assert_int_equal(policy_init(&e), 0);
	policy_mode = POLICY_MODE_DEFAULT;
	for (uint32_t id = 1; id <= ENDPOINTS; id++) {
		struct endpoint ep = { .id = id, .identity = identity_of[id], .n_addrs = 1 };
		ep.addr[0] = ip_from4(htonl(0x0a010000 + id));
		assert_int_equal(endpoint_set(&ep, &e), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_fini();
	endpoint_fini();
	ipcache_fini();
	tunnel_fini();
	return 0;
}

/* ---- the twin ---- */

static struct policy_rule twin[RULES];
static bool in_twin[RULES];

/* Length of the port prefix of [lo, hi]'s decomposition that holds 'port': walk down the binary trie of ports until
 * the node lies inside the range. */
static unsigned piece_bits(uint32_t lo, uint32_t hi, uint32_t port)
{
	uint32_t a = 0, size = 65536;
	unsigned depth = 0;
	while (a < lo || a + size - 1 > hi) {
		size /= 2;
		depth++;
		if (port >= a + size)
			a += size;
	}
	return depth;
}

struct probe {
	uint32_t endpoint; /* 0: host */
	enum policy_direction direction;
	uint32_t identity;
	struct ipaddr peer;
	uint8_t proto;
	uint16_t port;
};

static bool applies(const struct policy_rule *r, const struct probe *p)
{
	uint32_t identity = p->endpoint ? identity_of[p->endpoint] : 1;
	bool mine = r->subject == POLICY_IDENTITY ? r->subject_id == identity
		    : r->subject == POLICY_HOST   ? p->endpoint == 0
						  : p->endpoint && r->subject_id == p->endpoint;
	return mine && r->direction == p->direction;
}

static bool matches(const struct policy_rule *r, const struct probe *p)
{
	if (!applies(r, p))
		return false;
	if (r->peer == POLICY_PEER_IDENTITY && r->peer_identity != p->identity)
		return false;
	if (r->peer == POLICY_PEER_CIDR && !ipnet_contains(&r->peer_cidr, &p->peer))
		return false;
	if (r->proto && r->proto != p->proto)
		return false;
	return !r->has_port || (p->port >= r->port_lo && p->port <= r->port_hi);
}

/* > 0 when a beats b */
static int compare(const struct policy_rule *a, const struct policy_rule *b, const struct probe *p)
{
	int la = a->has_port ? 8 + (int)piece_bits(a->port_lo, a->port_hi, p->port) : a->proto ? 8 : 0;
	int lb = b->has_port ? 8 + (int)piece_bits(b->port_lo, b->port_hi, p->port) : b->proto ? 8 : 0;
	bool na = a->peer != POLICY_PEER_ANY, nb = b->peer != POLICY_PEER_ANY;
	if (a->precedence != b->precedence)
		return a->precedence > b->precedence ? 1 : -1;
	if (la != lb)
		return la - lb;
	if (na != nb)
		return na - nb;
	return (a->verdict == POLICY_REDIRECT) - (b->verdict == POLICY_REDIRECT);
}

static void expect(const struct probe *p, const struct policy_result *got)
{
	const struct policy_rule *best = NULL;
	bool any = false, deny = false;
	for (unsigned i = 0; i < RULES; i++) {
		if (!in_twin[i] || !applies(&twin[i], p))
			continue;
		any = true;
		if (!matches(&twin[i], p))
			continue;
		if (twin[i].verdict == POLICY_DENY)
			deny = true;
		else if (!best || compare(&twin[i], best, p) > 0)
			best = &twin[i];
	}
	bool enforced = policy_mode == POLICY_MODE_ALWAYS || (policy_mode == POLICY_MODE_DEFAULT && any);
	assert_int_equal(got->enforced, enforced);
	if (!enforced) {
		assert_int_equal(got->verdict, POLICY_ALLOW);
		assert_int_equal(got->rule, 0);
		return;
	}
	assert_int_equal(got->verdict, deny || !best ? POLICY_DENY : best->verdict);
	assert_int_equal(got->explicit_deny, deny);
	if (!deny && !best) {
		assert_int_equal(got->rule, 0);
		return;
	}
	const struct policy_rule *named = policy_rule_at(got->rule);
	assert_non_null(named);
	assert_true(matches(named, p));
	if (deny) {
		assert_int_equal(named->verdict, POLICY_DENY);
		return;
	}
	assert_int_equal(named->verdict, best->verdict);
	assert_int_equal(compare(named, best, p), 0);
	assert_int_equal(got->redirect_port, named->verdict == POLICY_REDIRECT ? named->redirect_port : 0);
}

/* ---- random rules and packets: small worlds, so that much matches ---- */

static const char *const nets[] = { "10.2.0.0/16",   "10.2.3.0/24", "10.2.3.4",    "0.0.0.0/0",
				    "10.2.3.128/25", "10.0.0.0/8",  "::/0",        "fd00::/8",
				    "fd00:1::/32",   "fd00:1::5",   "fd00:1::/127" };
static const char *const peers[] = { "10.2.3.4",  "10.2.3.200", "10.2.9.9",  "10.77.0.1",  "192.0.2.1",
				     "fd00:1::5", "fd00:1::4",  "fd00:2::1", "2001:db8::1" };
static const uint8_t protos[] = { PROTO_TCP, PROTO_UDP, PROTO_SCTP, PROTO_ICMP, PROTO_ICMP6 };

static uint16_t random_port(uint8_t proto)
{
	static const uint16_t ports[] = { 0, 1, 79, 80, 81, 443, 1023, 1024, 8080, 32767, 32768, 65534, 65535 };
	if (proto == PROTO_ICMP || proto == PROTO_ICMP6)
		return (uint16_t)(rnd(2) ? 8 * rnd(2) : rnd(256));
	return rnd(4) ? ports[rnd(ARRAY_LEN(ports))] : (uint16_t)rnd(65536);
}

static struct policy_rule random_rule(void)
{
	static const uint32_t precedences[] = { 1, 2, 0x80000000u, 0xffffffffu };
	struct policy_rule r = { .direction = (uint8_t)rnd(2), .peer = (uint8_t)rnd(3), .subject = (uint8_t)rnd(3) };
	r.subject_id = r.subject == POLICY_ENDPOINT ? 1 + rnd(ENDPOINTS) : rnd(5) ? 1001 + rnd(3) : 1;
	r.verdict = (uint8_t)(rnd(8) == 0 ? POLICY_DENY : rnd(3) ? POLICY_ALLOW : POLICY_REDIRECT);
	if (r.verdict == POLICY_REDIRECT)
		r.redirect_port = (uint16_t)(10000 + rnd(3));
	r.peer_identity = 2000 + rnd(4);
	assert_true(ipnet_parse(nets[rnd(ARRAY_LEN(nets))], &r.peer_cidr));
	r.precedence = rnd(3) ? 0 : precedences[rnd(ARRAY_LEN(precedences))];
	if (rnd(4)) {
		r.proto = protos[rnd(ARRAY_LEN(protos))];
		r.has_port = rnd(4) != 0;
		r.port_lo = random_port(r.proto);
		r.port_hi = rnd(2) ? r.port_lo : random_port(r.proto);
		if (r.port_lo > r.port_hi) {
			uint16_t t = r.port_lo;
			r.port_lo = r.port_hi;
			r.port_hi = t;
		}
	}
	return r;
}

static void mutate(void)
{
	struct err e = { "" };
	unsigned n = 1 + rnd(8);
	while (n--) {
		unsigned i = rnd(RULES);
		if (in_twin[i]) {
			assert_int_equal(policy_del(&twin[i], &e), 0);
			in_twin[i] = false;
			if (rnd(2))
				continue;
		}
		twin[i] = random_rule();
		int r = policy_add(&twin[i], &e);
		assert_true(r == 0 || r == -EEXIST);
		in_twin[i] = r == 0;
	}
}

static void probe_all(unsigned n)
{
	while (n--) {
		struct probe p = { .endpoint = rnd(ENDPOINTS + 1),
				   .direction = (enum policy_direction)rnd(2),
				   .identity = 2000 + rnd(5),
				   .peer = ip(peers[rnd(ARRAY_LEN(peers))]) };
		struct policy_result got;
		p.proto = rnd(10) ? protos[rnd(ARRAY_LEN(protos))] : (uint8_t)rnd(256);
		p.port = random_port(p.proto);
		uint32_t set = p.endpoint ? endpoint_by_id(p.endpoint)->policy_set : policy_host_set();
		if (p.endpoint)
			assert_int_equal(set, policy_set_of(p.endpoint, identity_of[p.endpoint]));
		policy_check(set, p.direction, p.identity, &p.peer, p.proto, p.port, &got);
		expect(&p, &got);
	}
}

static void test_twin(void **state)
{
	struct err e = { "" };
	(void)state;
	for (unsigned round = 0; round < TURNS(6000); round++) {
		unsigned count = 0;
		mutate();
		if (round % 100 == 99) /* few rules: default allow, single shapes */
			for (unsigned i = 0; i < RULES; i++)
				if (in_twin[i] && rnd(10)) {
					assert_int_equal(policy_del(&twin[i], &e), 0);
					in_twin[i] = false;
				}
		policy_mode = (uint8_t)(rnd(10) ? POLICY_MODE_DEFAULT : rnd(3));
		if (policy_commit(&e))
			fail_msg("commit: %s", e.text);
		for (unsigned i = 0; i < RULES; i++)
			count += in_twin[i];
		assert_int_equal(count, policy_rule_count());
		probe_all(60);
		rcu_poll_deferred();
	}
	memset(in_twin, 0, sizeof(in_twin));
}

/* ---- single cases ---- */

static struct policy_rule allow_tcp(uint32_t identity, uint32_t peer, uint16_t port)
{
	return (struct policy_rule){ .subject = POLICY_IDENTITY,
				     .subject_id = identity,
				     .direction = POLICY_INGRESS,
				     .verdict = POLICY_ALLOW,
				     .peer = POLICY_PEER_IDENTITY,
				     .peer_identity = peer,
				     .proto = PROTO_TCP,
				     .has_port = true,
				     .port_lo = port,
				     .port_hi = port };
}

static enum policy_verdict ask(uint32_t endpoint, uint32_t identity, uint16_t port)
{
	struct ipaddr peer = ip("192.0.2.1");
	struct policy_result r;
	policy_check(endpoint_by_id(endpoint)->policy_set, POLICY_INGRESS, identity, &peer, PROTO_TCP, port, &r);
	return r.verdict;
}

static void test_sharing(void **state)
{
	struct policy_rule r = allow_tcp(1001, 7, 80), own = allow_tcp(0, 8, 80);
	struct err e = { "" };
	(void)state;
	assert_int_equal(policy_add(&r, &e), 0);
	assert_int_equal(endpoint_by_id(1)->policy_set, 0);
	assert_int_equal(policy_commit(&e), 0);
	uint32_t shared = endpoint_by_id(1)->policy_set;
	assert_int_not_equal(shared, 0);
	assert_int_equal(endpoint_by_id(2)->policy_set, shared);
	assert_int_equal(endpoint_by_id(3)->policy_set, 0);
	assert_int_equal(ask(1, 7, 80), POLICY_ALLOW);
	assert_int_equal(ask(1, 7, 81), POLICY_DENY);
	assert_int_equal(ask(3, 7, 81), POLICY_ALLOW);

	/* only endpoint 2 changes, and only its counter moves */
	uint32_t g1 = gen_load(endpoint_by_id(1)->gen), g2 = gen_load(endpoint_by_id(2)->gen);
	uint32_t gh = gen_load(policy_host_gen());
	own.subject = POLICY_ENDPOINT;
	own.subject_id = 2;
	assert_int_equal(policy_add(&own, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(1)->policy_set, shared);
	assert_int_not_equal(endpoint_by_id(2)->policy_set, shared);
	assert_int_equal(gen_load(endpoint_by_id(1)->gen), g1);
	assert_int_equal(gen_load(endpoint_by_id(2)->gen), g2 + 1);
	assert_int_equal(gen_load(policy_host_gen()), gh);
	assert_int_equal(ask(2, 8, 80), POLICY_ALLOW);
	assert_int_equal(ask(1, 8, 80), POLICY_DENY);

	/* back to equal rules: shared again */
	assert_int_equal(policy_del(&own, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(2)->policy_set, shared);
}

static void test_new_endpoint(void **state)
{
	struct policy_rule r = allow_tcp(1001, 7, 80), host = { .subject = POLICY_HOST, .verdict = POLICY_ALLOW };
	struct endpoint ep = { .id = 9, .identity = 1001 };
	struct policy_result res;
	struct err e = { "" };
	(void)state;
	assert_int_equal(policy_add(&r, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	/* an endpoint can have its set before the commit: no moment without policy */
	ep.policy_set = policy_set_of(9, 1001);
	assert_int_equal(ep.policy_set, endpoint_by_id(1)->policy_set);
	ep.policy_set = 0;
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(9)->policy_set, endpoint_by_id(1)->policy_set);
	/* a change that forgets the set, or the identity, is mended by the next commit */
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(ask(9, 7, 81), POLICY_DENY);
	ep = *endpoint_by_id(9);
	ep.identity = 1003;
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(9)->policy_set, 0);
	/* a set that nobody but a new endpoint has */
	r = allow_tcp(1005, 7, 80);
	assert_int_equal(policy_add(&r, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	ep.identity = 1005;
	ep.policy_set = policy_set_of(9, 1005);
	assert_int_not_equal(ep.policy_set, 0);
	assert_int_equal(endpoint_set(&ep, &e), 0);
	assert_int_equal(ask(9, 7, 81), POLICY_DENY);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(9)->policy_set, ep.policy_set);
	assert_int_equal(endpoint_del(9, &e), 0);
	assert_int_equal(policy_commit(&e), 0);

	uint32_t gen = gen_load(policy_host_gen());
	assert_int_equal(policy_host_set(), 0);
	assert_int_equal(policy_add(&host, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_not_equal(policy_host_set(), 0);
	assert_int_equal(gen_load(policy_host_gen()), gen + 1);
	struct ipaddr peer = ip("192.0.2.1");
	policy_check(policy_host_set(), POLICY_INGRESS, 7, &peer, 17, 53, &res);
	assert_int_equal(res.verdict, POLICY_ALLOW);
	assert_int_equal(res.rule, host.id);
	policy_check(policy_host_set(), POLICY_EGRESS, 7, &peer, 17, 53, &res);
	assert_false(res.enforced);
}

static void test_refusals(void **state)
{
	struct policy_rule r = allow_tcp(1001, 7, 80), same = r;
	struct err e = { "" };
	(void)state;
	assert_int_equal(policy_add(&r, &e), 0);
	assert_int_equal(policy_add(&same, &e), -EEXIST);
	assert_int_equal(same.id, r.id);
	assert_null(strstr(e.text, "set"));
	same.precedence = 5;
	assert_int_equal(policy_add(&same, &e), -EEXIST);
	assert_non_null(strstr(e.text, "precedence 0: use 'set'"));
	same = r;
	snprintf(same.name, sizeof(same.name), "web");
	assert_int_equal(policy_add(&same, &e), -EEXIST);
	assert_non_null(strstr(e.text, "use 'set'"));
	same.port_hi = 79;
	assert_int_equal(policy_add(&same, &e), -EINVAL);
	same = allow_tcp(1001, 7, 256);
	same.proto = PROTO_ICMP;
	assert_int_equal(policy_add(&same, &e), -EINVAL);
	same.proto = 0;
	assert_int_equal(policy_add(&same, &e), -EINVAL);
	same = allow_tcp(1001, 0x1000000, 80);
	assert_int_equal(policy_add(&same, &e), -EINVAL);
	same = allow_tcp(1001, 7, 81);
	assert_int_equal(policy_del(&same, &e), -ENOENT);
	assert_int_equal(policy_del(&r, &e), 0);
	assert_int_equal(policy_del(&r, &e), -ENOENT);
	assert_int_equal(policy_rule_count(), 0);
	assert_null(policy_rule_at(r.id));
	assert_int_equal(policy_next(0), 0);
}

/* 16 Ki rules fit, one more is refused by commit, and after undoing it everything is as before. */
static void test_set_limit(void **state)
{
	struct err e = { "" };
	(void)state;
	for (uint32_t i = 0; i < POLICY_SET_RULES_MAX; i++) {
		struct policy_rule r = allow_tcp(1001, i / 1000, (uint16_t)(i % 1000));
		assert_int_equal(policy_add(&r, &e), 0);
	}
	assert_int_equal(policy_commit(&e), 0);
	uint32_t set = endpoint_by_id(1)->policy_set;
	struct policy_rule other = allow_tcp(1002, 7, 80), over = allow_tcp(0, 99, 80);
	over.subject = POLICY_ENDPOINT;
	over.subject_id = 2;
	assert_int_equal(policy_add(&other, &e), 0);
	assert_int_equal(policy_add(&over, &e), 0);
	assert_int_equal(policy_commit(&e), -ENOSPC);
	assert_non_null(strstr(e.text, "endpoint 2 with identity 1001"));
	assert_non_null(strstr(e.text, "16385"));
	assert_int_equal(endpoint_by_id(1)->policy_set, set);
	assert_int_equal(endpoint_by_id(2)->policy_set, set);
	assert_int_equal(endpoint_by_id(3)->policy_set, 0);
	assert_int_equal(policy_del(&over, &e), 0);
	assert_int_equal(policy_del(&other, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	assert_int_equal(endpoint_by_id(2)->policy_set, set);
	assert_int_equal(ask(2, 15, 999), POLICY_ALLOW);
	assert_int_equal(ask(2, 16, 500), POLICY_DENY);
}

/* Sets so large that some bucket has too many keys at the first size: every rule is still found. */
static void test_crowded_buckets(void **state)
{
	enum { N = POLICY_SET_RULES_MAX, SETS = 150 };
	static struct policy_rule rules[N];
	static const struct policy_rule *list[N];
	struct ipaddr peer = ip("192.0.2.1");
	(void)state;
	for (uint32_t set = 0; set < SETS; set++) {
		for (uint32_t i = 0; i < N; i++) {
			rules[i] = allow_tcp(1001, set * N + i, 80);
			rules[i].id = i + 1;
			list[i] = &rules[i];
		}
		struct policy_set *s = policy_set_compile(list, N);
		assert_non_null(s);
		for (uint32_t i = 0; i < N; i++) {
			struct policy_result r;
			policy_set_check(s, POLICY_INGRESS, set * N + i, &peer, PROTO_TCP, 80, &r);
			assert_int_equal(r.rule, i + 1);
		}
		policy_set_free(s);
	}
}

static void test_counters(void **state)
{
	struct policy_rule r = allow_tcp(1001, 7, 80), many;
	struct err e = { "" };
	(void)state;
	assert_int_equal(policy_add(&r, &e), 0);
	policy_count(r.id, 0);
	policy_count(r.id, 0);
	policy_count(r.id, SLOT_CONTROL);
	policy_count(0, 0);
	policy_count(r.id + 1, 0); /* not given out */
	assert_int_equal(policy_packets(r.id), 3);
	assert_int_equal(policy_packets(0), 0);
	assert_int_equal(policy_del(&r, &e), 0);
	/* numbers come back, late, and start from nothing; 5000 rules also cross a block of counters */
	uint32_t first = r.id, last = 0;
	for (unsigned round = 0; round < 4 && last != first; round++)
		for (uint32_t i = 0; i < 5000 && last != first; i++) {
			many = allow_tcp(1002, i, 80);
			assert_int_equal(policy_add(&many, &e), 0);
			assert_int_equal(policy_packets(many.id), 0);
			policy_count(many.id, 3);
			assert_int_equal(policy_packets(many.id), 1);
			last = many.id;
			assert_int_equal(policy_del(&many, &e), 0);
			if (i % 16 == 0)
				assert_int_equal(policy_commit(&e), 0);
		}
	assert_int_equal(last, first);
}

/* ---- a reader while sets are replaced ---- */

static volatile bool stop;
static uint64_t n_read;

static void *reader(void *arg)
{
	struct ipaddr peer = ip_from4(htonl(0xc0000201));
	unsigned *bad = arg;
	rcu_thread_register();
	while (!LOAD_ACQUIRE(&stop)) {
		struct policy_result r;
		policy_check(endpoint_by_id(1)->policy_set, POLICY_INGRESS, 7, &peer, PROTO_TCP, 80, &r);
		/* every published set allows this and enforces */
		if (r.verdict != POLICY_ALLOW || !r.enforced || !r.rule)
			++*bad;
		policy_count(r.rule, 0);
		n_read++;
		rcu_quiescent();
	}
	rcu_thread_unregister();
	return NULL;
}

static void test_concurrent(void **state)
{
	struct policy_rule keep = allow_tcp(1001, 7, 80);
	unsigned bad = 0;
	pthread_t t;
	struct err e = { "" };
	(void)state;
	assert_int_equal(policy_add(&keep, &e), 0);
	assert_int_equal(policy_commit(&e), 0);
	stop = false;
	n_read = 0;
	assert_int_equal(pthread_create(&t, NULL, reader, &bad), 0);
	for (uint32_t i = 0; i < 300; i++) {
		struct policy_rule r = allow_tcp(1001, 100 + i, 1);
		r.port_hi = 65000;
		assert_int_equal(policy_add(&r, &e), 0);
		assert_int_equal(policy_commit(&e), 0);
		if (i % 3 == 0)
			assert_int_equal(policy_del(&r, &e), 0);
		if (i % 10 == 0)
			rcu_wait();
		rcu_poll_deferred();
	}
	STORE_RELEASE(&stop, true);
	pthread_join(t, NULL);
	assert_int_equal(bad, 0);
	assert_true(n_read > 0);
	assert_int_equal(policy_packets(keep.id), n_read);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_twin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sharing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_endpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_limit, setup, teardown),
		cmocka_unit_test(test_crowded_buckets),
		cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_concurrent, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

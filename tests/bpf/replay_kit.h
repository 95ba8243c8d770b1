/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay beside the engine's: a whole box in memory plays a scenario until the engine replays its last frame, whose
 * record is then exported to the kernel. For test_replay.c and test_replay_refuse.c.
 *
 * All ports of the box are one device for the kernel, lo; what the programs do on real devices is test_replay_live.c. */
#pragma once

#include "tests/bpf/env.h"

#include <time.h>

#include "cli/pkttext.h"
#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/export_record.h"
#include "fwd/gate.h"
#include "fwd/resolve.h"
#include "tables/neighbor.h"
#include "tables/tunnel.h"
#include "tests/bpf/replay_scenarios.h"
#include "tests/support/box.h"

static const struct loader_replay *table;

struct frame {
	uint8_t b[BOX_FRAME_MAX];
	uint32_t n;
};

static inline struct port *port_named(const char *name)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && !strcmp(ports[i]->conf.name, name))
			return ports[i];
	fail_msg("no port %s", name);
	return NULL;
}

static inline uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- the box ---- */

static inline void commands(const char *text)
{
	struct err e = { "" };
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", text);
	if (box_commands("test", copy, stderr, &e))
		fail_msg("%s", e.text);
}

static inline void neighbour(const char *port, const char *addr, uint8_t last)
{
	struct mac m = { { 2, 0, 0, 0, 0, last } };
	struct ipaddr a;

	assert_true(ip_parse(addr, &a));
	resolve_kernel_neighbor(port_named(port)->ifindex, &a, &m, true, false);
}

static inline void route(const char *prefix, const char *port, const char *via)
{
	struct err e = { "" };

	if (box_route(true, prefix, port_named(port), via, &e))
		fail_msg("%s", e.text);
}

static inline int setup(void **state)
{
	const struct box_limits limits = { 0 };
	struct err e = { "" };

	env_setup(state);
	table = loader_replay(loader);
	gen_use(loader_gen_area(loader));
	if (box_open(&limits, &e))
		fail_msg("%s", e.text);
	adj_use(table->adjs);
	commands("add port up0 mem\nadd port up1 mem transit on\nset port up0 transit on\n"
		 "add endpoint 10 device c10 ipv4 10.1.0.10 ipv6 2001:db8:1::10 ipv6 fd01:203:405:1::1234 "
		 "mac 02:00:00:00:0a:0a identity 1001\n"
		 "add endpoint 11 device c11 ipv4 10.1.0.11 ipv6 2001:db8:1::11 mac 02:00:00:00:0a:0b identity 1002\n"
		 "add nat pool 198.51.100.1 ports 40000-49999\nadd nat pool 2001:db8:a::1 ports 40000-49999\n"
		 "add nat pool 2001:db8:e::/48 static fd01:203:405::/48\n"
		 "add vtep 192.0.2.1\nadd vtep 2001:db8:f::9 port 4789\n"
		 "add ipcache 10.2.0.0/24 identity 2001 remote 192.0.2.2\n"
		 "add ipcache 2001:db8:2::/64 identity 2002 remote 192.0.2.2\n"
		 "add ipcache 10.4.0.0/24 identity 2004 remote 192.0.2.4\n"
		 "add ipcache 10.5.0.0/24 identity 2005 remote 2001:db8:f::5\n"
		 "add ipcache 2001:db8:5::/64 identity 2006 remote 2001:db8:f::5\n");
	/* in a container, behind a tunnel, behind an uplink */
	commands("add service 203.0.113.80:53/udp\nadd backend 203.0.113.80:53/udp 10.1.0.11:5353\n"
		 "add service 203.0.113.80:80/tcp\nadd backend 203.0.113.80:80/tcp 10.1.0.11:8080\n"
		 "add service 203.0.113.80:54/udp\nadd backend 203.0.113.80:54/udp 10.2.0.7:54\n"
		 "add service 203.0.113.80:55/udp\nadd backend 203.0.113.80:55/udp 203.0.113.70:5555\n"
		 "add service [2001:db8:f0::80]:53/udp\n"
		 "add backend [2001:db8:f0::80]:53/udp [2001:db8:1::11]:5353\n"
		 "add service [2001:db8:f0::80]:80/tcp\n"
		 "add backend [2001:db8:f0::80]:80/tcp [2001:db8:1::11]:8080\n"
		 "add service [2001:db8:f0::80]:54/udp\n"
		 "add backend [2001:db8:f0::80]:54/udp [2001:db8:2::7]:54\n"
		 "add service [2001:db8:f0::80]:55/udp\n"
		 "add backend [2001:db8:f0::80]:55/udp [2001:db8:c::70]:5555\n");
	assert_int_equal(box_local("192.0.2.1", port_named("up0"), &e), 0);
	assert_int_equal(box_local("2001:db8:f::9", port_named("up0"), &e), 0);
	route("192.0.2.0/24", "up0", NULL);
	route("0.0.0.0/0", "up0", "192.0.2.254");
	route("::/0", "up0", "2001:db8:f::1");
	route("2001:db8:f::/64", "up0", NULL);
	route("10.8.0.0/24", "up1", NULL);
	route("10.9.0.0/16", "up1", "10.8.0.2");
	route("2001:db8:8::/64", "up1", NULL);
	route("2001:db8:9::/64", "up1", "2001:db8:8::2");
	neighbour("up0", "192.0.2.2", 0x22);
	neighbour("up0", "192.0.2.4", 0x24);
	neighbour("up0", "192.0.2.254", 0x99);
	neighbour("up0", "2001:db8:f::1", 0x98);
	neighbour("up0", "2001:db8:f::5", 0x25);
	neighbour("up1", "10.8.0.2", 0x82);
	neighbour("up1", "2001:db8:8::2", 0x83);
	box_run();

	if (export_table_open(table))
		fail_msg("no table");
	for (int i = -UP0; i <= -UP1; i++)
		table->conf->port[i] = (struct replay_port){ LO, REPLAY_PORT_REDIRECT | REPLAY_PORT_STRIP };
	table->conf->vtep_ports = vtep_ports;
	table->conf->overlay_port = htons(8472);
	table->conf->overlay_ifindex = LO;
	table->conf->host_ifindex = LO;
	for (uint32_t id = 10; id <= 11; id++) {
		struct gate_endpoint ep = { .id = id, .ifindex = LO, .attach = 1 };

		assert_int_equal(loader_endpoint_set(loader, &ep), 0);
	}
	struct gate_conf gate = { .host_ifindex = LO, .n_queues = 1 };
	struct steer_dev dev = { .slot = (uint32_t)-UP0, .on_exit = XDP_DROP };

	memcpy(dev.mac, port_named("up0")->mac.b, 6);
	assert_int_equal(loader_gate_conf_set(loader, &gate), 0);
	assert_int_equal(loader_steer_dev_set(loader, LO, &dev), 0);
	export_table_switch(true);
	return 0;
}

static inline int teardown(void **state)
{
	struct err e;
	bool whole;

	export_table_close();
	adj_use(NULL);
	whole = box_close(&e);
	gen_use(NULL);
	return env_teardown(state) || !whole;
}

/* ---- frames ---- */

static uint16_t last_port;

/* The frame as it is on the wire: what a program on the device sees. */
static inline void wire(const struct step *s, struct frame *f)
{
	char text[512], *at = text;
	struct err e = { "" };
	int n;

	at += snprintf(text, sizeof(text), "eth %s > ",
		       s->from == HOST ? "02:00:00:00:00:fe"
		       : s->from == 10 ? "02:00:00:00:0a:0a"
		       : s->from == 11 ? "02:00:00:00:0a:0b"
				       : "02:00:00:00:00:77");
	if (s->from < 0) {
		const uint8_t *m = ports[-s->from]->mac.b;

		at += snprintf(at, 64, "%02x:%02x:%02x:%02x:%02x:%02x | ", m[0], m[1], m[2], m[3], m[4], m[5]);
	} else {
		at += snprintf(at, 64, "02:e9:00:00:00:01 | ");
	}
	const char *u = strstr(s->text, "$u");

	if (u)
		snprintf(at, 400, "%.*s%u%s", (int)(u - s->text), s->text, last_port, u + 2);
	else
		snprintf(at, 400, "%s", s->text);
	n = pkttext_parse(text, f->b, &e);
	if (n < 0)
		fail_msg("%s: %s", e.text, text);
	f->n = (uint32_t)n;
}

/* As the gate hands it to the engine. */
static inline void stamp(const struct step *s, struct frame *f)
{
	struct mac m = gate_stamp(s->from == HOST ? GATE_HOST : GATE_ENDPOINT, (uint32_t)s->from);

	if (s->from < 0)
		return;
	memcpy(f->b, f->b + 6, 6);
	memcpy(f->b + 6, m.b, 6);
}

/* What [to-host] does with it, so that it can be compared. */
static inline void unstamp(struct frame *f)
{
	memcpy(f->b, f->b + 6, 6);
	memcpy(f->b + 6, gate_gateway_mac.b, 6);
}

static inline bool is_ip6(const struct frame *f, uint32_t l3)
{
	return rd16(f->b + l3 - 2) == ET_IP6;
}

/* Through the engine; the port it left by. */
static inline struct port *engine(const struct step *s, struct frame *out)
{
	struct port *in = s->from < 0 ? ports[-s->from] : ports[PORT_GATE], *by = NULL;
	struct frame f;

	wire(s, &f);
	stamp(s, &f);
	assert_int_equal(box_send(in, f.b, f.n), 0);
	box_run();
	for (unsigned i = 0; i < PORTS_MAX && !by; i++)
		if (ports[i] && ports[i]->ops && (out->n = box_take(ports[i], out->b)))
			by = ports[i];
	if (!by)
		fail_msg("the engine sent nothing: %s", s->text);
	if (s->from >= 0) /* what answers keeps it */
		last_port = rd16(out->b + ETH_HLEN_ + (is_ip6(out, ETH_HLEN_) ? IP6_HLEN : IP4_HLEN));
	return by;
}

/* ---- records ---- */

static union export_record record;
static uint32_t number;
static bool number_v6;

static inline uint32_t l3_of(const struct step *s)
{
	return !strstr(s->text, "vxlan") ? ETH_HLEN_ : strncmp(s->text, "ip 2001:", 8) ? 64 : 84;
}

/* Of any VNI; 'port' in network order. */
static inline struct replay_remote remote_key(const struct ipaddr *local, const struct ipaddr *remote, uint16_t port)
{
	struct replay_remote k = { .port = port, .vni = REPLAY_ANY_VNI };

	memcpy(k.local, local->b, 16);
	memcpy(k.remote, remote->b, 16);
	return k;
}

/* Does the record lead into a tunnel over IPv6? tc puts that on by sluice_vxlan. */
static inline bool into_tunnel6(void)
{
	return adj_at(number_v6 ? record.v6.adj : record.v4.adj)->kind == ADJ_TUNNEL6;
}

/* The record of the frame that the engine just replayed, into the kernel's table. */
static inline void export_record_of(const struct step *s)
{
	struct frame f;
	uint32_t l3 = l3_of(s), r;
	uint16_t flags = REPLAY_BY_TC | REPLAY_BY_XDP | (l3 == ETH_HLEN_ ? 0 : REPLAY_VNI);

	wire(s, &f);
	number_v6 = is_ip6(&f, l3);
	if (number_v6) {
		struct flow_key6 k = { .zp = f.b[l3 + 6] };

		memcpy(k.src, f.b + l3 + 8, 36);
		r = ct_find(&ct6, &k, hash_key40(&k), 1000);
	} else {
		struct flow_key4 k = { .zp = f.b[l3 + 9] };

		memcpy(&k.src, f.b + l3 + 12, 12);
		r = ct_find(&ct4, &k, hash_key(&k, sizeof(k)), 1000);
	}
	assert_int_not_equal(r, 0);
	memset(&record, 0, sizeof(record));
	assert_true(export_record_copy(ct_of(number_v6), r, &record));
	if (number_v6)
		record.v6.flags = flags;
	else
		record.v4.flags = flags;
	number = export_table_insert(number_v6, &record, r, real_ns());
	assert_int_not_equal(number, 0);
	if (into_tunnel6())
		table->conf->overlay_port = htons(4789);
	if (l3 != ETH_HLEN_) {
		struct ipaddr local = ip_from4(ld32(f.b + 30)), remote = ip_from4(ld32(f.b + 26));

		if (l3 == 84) {
			local = ip_from6(f.b + 38);
			remote = ip_from6(f.b + 22);
		}
		struct replay_remote k = remote_key(&local, &remote, ld16(f.b + l3 - 28));
		table->conf->overlay_port = k.port; /* of several, tc has one */
		assert_int_equal(loader_replay_remote_set(loader, &k, number_v6 ? record.v6.in : record.v4.in), 0);
	}
}

static inline void remove_record(void)
{
	export_table_remove(number_v6, number, real_ns());
}

/* ---- the kernel ---- */

static inline uint64_t stat_of(enum replay_stat which)
{
	uint64_t n[REPLAY_STATS];

	assert_int_equal(loader_replay_stats(loader, n), 0);
	return n[which];
}

static uint32_t gso_size, gso_segs;
static bool dead; /* the engine */

static inline uint32_t kernel(int from, const struct frame *in, struct frame *out)
{
	struct xdp_md x = { .data_end = in->n, .ingress_ifindex = LO };
	struct __sk_buff c = { .ifindex = LO, .gso_size = gso_size, .gso_segs = gso_segs, .wire_len = in->n };
	LIBBPF_OPTS(bpf_test_run_opts, t, .data_in = in->b, .data_size_in = in->n, .data_out = out->b,
		    .data_size_out = sizeof(out->b), .repeat = 1);
	enum loader_prog prog = from < 0 ? PROG_STEER : from == HOST ? PROG_FROM_HOST : PROG_FROM_CONTAINER;

	t.ctx_in = from < 0 ? (void *)&x : (void *)&c;
	t.ctx_size_in = from < 0 ? sizeof(x) : sizeof(c);
	if (from > 0) { /* lo is the endpoint that sends */
		struct gate_endpoint ep = { .id = (uint32_t)from, .ifindex = LO, .attach = 1 };

		assert_int_equal(loader_endpoint_set(loader, &ep), 0);
	}
	gen_area->alive_until_ns = dead ? real_ns() - REPLAY_DEAD_NS - 1000000000 : real_ns();
	assert_int_equal(bpf_prog_test_run_opts(loader_prog_fd(loader, prog), &t), 0);
	out->n = t.data_size_out;
	return t.retval;
}

static inline void same_bytes(const char *name, const struct frame *got, const struct frame *want)
{
	static char a[PKTTEXT_MAX], b[PKTTEXT_MAX];

	if (got->n != want->n || memcmp(got->b, want->b, want->n) != 0)
		fail_msg("%s: the kernel sent\n  %s\ninstead of\n  %s", name, pkttext_print(got->b, got->n, a),
			 pkttext_print(want->b, want->n, b));
}

/* Runs all steps of 's'; the last one twice, so that the engine replays it, its output in 'want'; exports its record. */
static inline const struct step *play(const struct scenario *s, struct frame *want)
{
	const struct step *last;
	uint64_t replayed;
	struct port *by;
	unsigned i = 0;

	do {
		last = &s->step[i];
		engine(last, want);
	} while (++i < STEPS && s->step[i].text);
	replayed = workers[0]->replayed;
	by = engine(last, want);
	if (workers[0]->replayed != replayed + 1)
		fail_msg("%s: the engine itself does not replay it", s->name);
	if (strcmp(by->conf.name, s->to))
		fail_msg("%s: left by %s instead of %s", s->name, by->conf.name, s->to);
	export_record_of(last);
	return last;
}

static inline const struct scenario *scenario(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(scenarios); i++)
		if (!strcmp(scenarios[i].name, name))
			return &scenarios[i];
	fail_msg("no scenario %s", name);
	return NULL;
}

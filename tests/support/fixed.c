/* SPDX-License-Identifier: BSD-2-Clause */
/* fixed.h */
#include "tests/support/fixed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/frag.h"
#include "fwd/resolve.h"
#include "tables/ct.h"

struct port *fixed_ports[FIXED_PORTS];

static const char config[] =
	"add port up0 mem\n"
	"add port up1 mem transit on zone 1\n"
	"add vtep 192.0.2.1\n"
	"add vtep 2001:db8:f::1 vni-mode network\n"
	"add endpoint 10 device c10 ipv4 10.1.0.10 ipv6 2001:db8:1::10 mac 02:00:00:00:0a:0a identity 1001\n"
	"add endpoint 11 device c11 ipv4 10.1.0.11 ipv6 2001:db8:1::11 ipv6 fd05:0:0:501::11 mac 02:00:00:00:0a:0b "
	"identity 1002\n"
	"add ipcache 10.2.0.0/16 identity 2001 remote 192.0.2.2\n"
	"add ipcache 2001:db8:2::/64 identity 2002 remote 192.0.2.2\n"
	"add tunnel 10.3.0.0/16 remote 2001:db8:f::2 vni 300 mac 02:00:00:00:03:07\n"
	"add tunnel 2001:db8:3::/64 remote 2001:db8:f::2 vni 300\n"
	"add nat pool 198.51.100.1 ports 40000-49999\n"
	"add nat pool 2001:db8:a::1 ports 40000-49999\n"
	"add nat pool 2001:db8:b::/56 static fd05:0:0:500::/56\n"
	"add nat pool 2001:db8:c::/48 static fd06::/48\n" /* what is behind up1 */
	"add service 203.0.113.80:80/tcp\n"
	"add backend 203.0.113.80:80/tcp 10.1.0.10:8080\n"
	"add backend 203.0.113.80:80/tcp 10.1.0.11:8080\n"
	"add backend 203.0.113.80:80/tcp 10.2.0.20:8080\n"
	"add backend 203.0.113.80:80/tcp 203.0.113.20:8080\n" /* by an uplink: masqueraded */
	"add service 203.0.113.80:53/udp affinity 60 source-range 198.18.0.0/15 source-range 10.1.0.0/24 "
	"source-deny 198.18.0.8/32\n"
	"add backend 203.0.113.80:53/udp 10.1.0.10:53\n"
	"add backend 203.0.113.80:53/udp 10.1.0.11:5353\n"
	"add service 203.0.113.80:0/tcp\n" /* all other ports, kept */
	"add backend 203.0.113.80:0/tcp 10.1.0.10:0\n"
	"add service 203.0.113.80:443/tcp\n" /* no backend */
	"add service [2001:db8:f0::80]:80/tcp affinity 60\n"
	"add backend [2001:db8:f0::80]:80/tcp [2001:db8:1::10]:8080\n"
	"add backend [2001:db8:f0::80]:80/tcp [2001:db8:1::11]:8080\n"
	"add service [2001:db8:f0::80]:53/udp\n"
	"add backend [2001:db8:f0::80]:53/udp [2001:db8:2::20]:53\n"
	"add service 198.51.100.1:2222/tcp\n" /* a port forward */
	"add backend 198.51.100.1:2222/tcp 10.1.0.10:22\n"
	"add policy endpoint 10 egress allow any\n"
	"add policy endpoint 10 egress redirect 15001 any tcp port 8000\n"
	"add policy endpoint 10 egress redirect 15002 any udp port 8000\n"
	"add policy endpoint 11 ingress allow any\n"
	"add policy endpoint 11 ingress redirect 15006 any tcp port 8001\n"
	"add policy endpoint 11 ingress deny any tcp port 22\n"
	"set policy reject on\n";

static void must(int err, const struct err *e)
{
	if (!err)
		return;
	fprintf(stderr, "the fixed box: %s\n", e->text);
	abort();
}

static void neighbor(const struct port *p, const char *addr, const char *mac)
{
	struct ipaddr a;
	struct mac m;
	if (!ip_parse(addr, &a) || !mac_parse(mac, &m))
		abort();
	resolve_kernel_neighbor(p->ifindex, &a, &m, true, false);
}

void fixed_open(void)
{
	const struct box_limits limits = { .frames = 4096, .ct_tcp = 1024, .ct_other = 1024 };
	struct err e = { "" };
	char text[sizeof(config)];
	FILE *none = fopen("/dev/null", "w");
	memcpy(text, config, sizeof(config));
	must(box_open(&limits, &e), &e);
	must(none ? box_commands("fixed", text, none, &e) : -1, &e);
	fclose(none);
	struct port *up0 = port_by_name("up0"), *up1 = port_by_name("up1");
	up1->rx_csum = PKT_CSUM_MAYBE_PARTIAL;
	fixed_ports[FIXED_GATE] = ports[PORT_GATE];
	fixed_ports[FIXED_UP0] = up0;
	fixed_ports[FIXED_UP1] = up1;
	must(box_local("10.1.0.1", NULL, &e) || box_local("2001:db8:1::1", NULL, &e) ||
		     box_local("192.0.2.1", up0, &e) || box_local("2001:db8:f::1", up0, &e) ||
		     box_route(true, "192.0.2.0/24", up0, NULL, &e) ||
		     box_route(true, "2001:db8:f::/64", up0, NULL, &e) ||
		     box_route(true, "0.0.0.0/0", up0, "192.0.2.254", &e) ||
		     box_route(true, "::/0", up0, "2001:db8:f::ff", &e) ||
		     box_route(true, "203.0.113.0/24", up1, "192.0.3.254", &e) ||
		     box_route_metric(true, "0.0.0.0/0", up1, "192.0.3.254", 10, &e) ||
		     box_route_metric(true, "::/0", up1, "2001:db8:e::fe", 10, &e),
	     &e);
	neighbor(up0, "192.0.2.2", "02:00:00:00:00:22");
	neighbor(up0, "2001:db8:f::2", "02:00:00:00:00:22");
	neighbor(up0, "192.0.2.254", "02:00:00:00:00:99");
	neighbor(up0, "2001:db8:f::ff", "02:00:00:00:00:99");
	neighbor(up1, "192.0.3.254", "02:00:00:00:00:98");
	neighbor(up1, "2001:db8:e::fe", "02:00:00:00:00:98");
	box_run();
}

void fixed_clear(void)
{
	uint8_t frame[BOX_FRAME_MAX];
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t c = ct_next(ct_of(v6), 0); c; c = ct_next(ct_of(v6), c))
			ct_delete(ct_of(v6), 0, c);
	frag_release_all();
	if (workers[0]->n_held)
		box_advance(4 * NS_PER_S);
	for (unsigned i = 0; i < FIXED_PORTS; i++)
		while (box_take(fixed_ports[i], frame))
			;
	/* what was deleted ripens */
	for (unsigned i = 0; i < 3; i++)
		rcu_poll_deferred();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims to addresses, and the frames that make them. */
#include "fwd/claim.h"

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/fib.h"
#include "fwd/worker.h"
#include "tables/nat.h"
#include "tables/service.h"

/* RFC 4861 10: RETRANS_TIMER; RFC 5227 1.1: ANNOUNCE_INTERVAL, DEFEND_INTERVAL, and once there were MAX_CONFLICTS of them
 * RATE_LIMIT_INTERVAL */
#define WAIT_NS NS_PER_S
#define ANNOUNCE_NS (2 * NS_PER_S)
#define AGAIN_NS (10 * NS_PER_S)
#define SELDOM_NS (60 * NS_PER_S)
enum { MAX_CONFLICTS = 10 };

const char *const claim_state_names[] = { "asking", "own", "taken", "no-link" };

static struct table claims; /* struct ipaddr -> struct claim */
static uint32_t n_withheld; /* rows that are ASKING or TAKEN: workers look no further at 0 */
static uint32_t n_announcing;
static bool dirty;
static struct {
	struct mac mac;
	bool here, up;
} links[PORTS_MAX];           /* as they were announced on */
static uint64_t routes;       /* fib_version() that the rows' ports are of */
static uint64_t next_look_ns; /* at that */

int claim_init(struct err *e)
{
	n_withheld = n_announcing = 0;
	dirty = false;
	memset(links, 0, sizeof(links));
	next_look_ns = 0;
	routes = fib_version();
	return table_open(&claims, "claims", NAT_POOLS_MAX + table_defs[TABLE_LB].capacity, sizeof(struct ipaddr),
			  sizeof(struct claim), e);
}

void claim_fini(void)
{
	table_close(&claims);
}

static struct claim *at(uint32_t i)
{
	return table_value(&claims, i);
}

static bool is_withheld(int s)
{
	return s == CLAIM_ASKING || s == CLAIM_TAKEN;
}

static bool is_announcing(const struct claim *c)
{
	return c->state == CLAIM_OWN && c->asked;
}

static void set_state(struct claim *c, enum claim_state s)
{
	n_announcing -= is_announcing(c);
	STORE_RELAXED(&n_withheld, n_withheld + is_withheld(s) - is_withheld(c->state));
	STORE_RELAXED(&c->state, (uint8_t)s);
	c->asked = 0;
}

/* ---- frames: not 0 when a worker's ring is full, by many addresses at one moment ---- */

static int arp(uint16_t port, const struct ipaddr *sender, const struct ipaddr *target)
{
	uint8_t f[60] = { 0 }, *p = f + ETH_HLEN_;
	memset(f, 255, 6);
	memcpy(f + 6, ports[port]->mac.b, 6);
	wr16(f + 12, ET_ARP);
	wr16(p, 1);
	wr16(p + 2, ET_IP4);
	p[4] = 6;
	p[5] = 4;
	wr16(p + 6, 1);
	memcpy(p + 8, ports[port]->mac.b, 6);
	memcpy(p + 14, sender->b + 12, 4);
	memcpy(p + 24, target->b + 12, 4);
	return workers_inject(port, f, sizeof(f));
}

/* A solicitation by nobody yet, to the solicited-node group; else an advertisement to all nodes, router and override set. */
static int nd(uint16_t port, bool ask, const struct ipaddr *a)
{
	uint8_t f[ETH_HLEN_ + IP6_HLEN + 32] = { 0 }, *h = f + ETH_HLEN_, *i = h + IP6_HLEN;
	const uint8_t group[16] = { 0xff, 2, [11] = 1, [12] = 0xff, [13] = a->b[13], a->b[14], a->b[15] };
	const uint8_t all[16] = { 0xff, 2, [15] = 1 };
	const uint16_t len = ask ? 24 : 32; /* without and with the link-layer address (RFC 4861 7.1.1) */
	memcpy(h + 24, ask ? group : all, 16);
	f[0] = f[1] = 0x33;
	memcpy(f + 2, h + 36, 4);
	memcpy(f + 6, ports[port]->mac.b, 6);
	wr16(f + 12, ET_IP6);
	h[0] = 0x60;
	wr16(h + 4, len);
	h[6] = PROTO_ICMP6;
	h[7] = 255;
	if (!ask)
		memcpy(h + 8, a->b, 16);
	i[0] = ask ? 135 : 136;
	wr32(i + 4, ask ? 0 : 0xa0000000);
	memcpy(i + 8, a->b, 16);
	if (!ask) {
		i[24] = 2;
		i[25] = 1;
		memcpy(i + 26, ports[port]->mac.b, 6);
	}
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, len, csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, len))));
	return workers_inject(port, f, ETH_HLEN_ + IP6_HLEN + len);
}

static int ask(uint16_t port, const struct ipaddr *a)
{
	const struct ipaddr nobody = ip_from4(0);
	return ip_is4(a) ? arp(port, &nobody, a) : nd(port, true, a);
}

/* Neighbours that know the address from elsewhere, another gateway for instance, hear who has it now (RFC 5227 2.3, RFC 4861
 * 7.2.6). */
static int announce(uint16_t port, const struct ipaddr *a)
{
	return ip_is4(a) ? arp(port, a, a) : nd(port, false, a);
}

/* ---- rows ---- */

/* The port whose link the address is on; 0: routers lead to it, or it is the box's own. */
static uint16_t link_of(const struct ipaddr *a)
{
	struct fib_result r;
	fib_lookup(a, 0, &r);
	if (r.kind != FIB_UNICAST || r.nh.port < PORT_FIRST || !ip_is_zero(&r.nh.gateway) || !ports[r.nh.port])
		return 0;
	return (uint16_t)r.nh.port;
}

/* Ours: told now and once more. */
static void take(const struct ipaddr *a, struct claim *c, uint64_t now_ns)
{
	set_state(c, CLAIM_OWN);
	c->conflicts = 0;
	c->asked = 1;
	n_announcing++;
	c->next_ns = now_ns + (announce(c->port, a) ? 0 : ANNOUNCE_NS);
}

/* Ours and in use, on a link that was down, or on another: announced at once, or it would not be found there. Whoever has it answers
 * the probe, is told of in the log (claim_seen) and no longer left alone: one of the two must go. */
static void take_again(const struct ipaddr *a, struct claim *c, uint64_t now_ns)
{
	ask(c->port, a);
	take(a, c, now_ns);
}

/* On a link that it was not on. */
static void begin(const struct ipaddr *a, struct claim *c, uint16_t port, uint64_t now_ns)
{
	c->port = port;
	c->conflicts = 0;
	c->next_ns = 0;
	if (c->ask)
		set_state(c, CLAIM_ASKING);
	else
		take(a, c, now_ns);
}

void claim_begin(const struct ipaddr *a, bool ask_first)
{
	const uint16_t port = link_of(a);
	const struct claim c = { .state = CLAIM_AWAY, .ask = ask_first };
	uint32_t i;
	if (table_find(&claims, a)) /* another port of a service that has it */
		return;
	if (table_insert(&claims, SLOT_CONTROL, a, &c, &i) == 0 && port)
		begin(a, at(i), port, clock_ns());
}

void claim_dirty(void)
{
	dirty = true;
}

static bool is_wanted(const struct ipaddr *a)
{
	return nat_pool_by_addr(a) >= 0 || service_is_vip(a);
}

/* Once for each host that has it, but a host with ever new addresses does not fill the log. */
static void complain(const struct ipaddr *a, struct claim *c, const struct mac *m)
{
	char addr[IP_STRLEN], mac[MAC_STRLEN];
	if (c->conflicts++ && (mac_eq(&c->other, m) || c->conflicts > MAX_CONFLICTS))
		return;
	log_warn("address %s: %s on port %s has it, too; %s", ip_print(a, addr), mac_print(m, mac),
		 ports[c->port] ? ports[c->port]->conf.name : "?",
		 c->state == CLAIM_OWN ? "one of the two must give it up"
				       : "it is not answered for until that one gives it up ('show addresses')");
}

void claim_seen(const struct ipaddr *a, unsigned port, const struct mac *m)
{
	const uint64_t now_ns = clock_ns();
	const uint32_t i = table_find(&claims, a);
	struct claim *c = i ? at(i) : NULL;
	if (!c || c->port != port || !ports[port] || mac_eq(m, &ports[port]->mac))
		return;
	complain(a, c, m);
	c->other = *m;
	if (c->state != CLAIM_OWN) {
		set_state(c, CLAIM_TAKEN);
		c->next_ns = now_ns + (c->conflicts < MAX_CONFLICTS ? AGAIN_NS : SELDOM_NS);
	} else if (!c->asked && now_ns >= c->next_ns) { /* RFC 5227 2.4 (b): defended, not too often */
		announce(c->port, a);
		c->next_ns = now_ns + AGAIN_NS;
	}
}

/* To the link where the address is now: what is another's on one may be free on the next. Without a link it stays where it was, for
 * that may come back. */
static void follow(const struct ipaddr *a, struct claim *c, uint64_t now_ns)
{
	const uint16_t port = link_of(a);
	if (!port && !ports[c->port]) { /* nobody there to have it */
		set_state(c, CLAIM_AWAY);
		c->port = 0;
	} else if (port && port != c->port && c->state != CLAIM_OWN) {
		begin(a, c, port, now_ns);
	} else if (port && port != c->port) {
		c->port = port;
		take_again(a, c, now_ns);
	}
}

static void drop_row(const struct ipaddr *a, struct claim *c)
{
	set_state(c, CLAIM_AWAY);
	table_delete(&claims, SLOT_CONTROL, a);
}

static void step(const struct ipaddr *a, struct claim *c, uint64_t now_ns)
{
	char text[IP_STRLEN];
	if (!(is_withheld(c->state) || is_announcing(c)) || now_ns < c->next_ns)
		return;
	if (!ports[c->port] || !ports[c->port]->up)
		return;
	if (!c->asked) {
		if (ask(c->port, a))
			return;
		c->asked = 1;
		c->next_ns = now_ns + WAIT_NS;
	} else if (c->state == CLAIM_OWN) {
		if (announce(c->port, a))
			return;
		c->asked = 0;
		n_announcing--;
	} else {
		if (c->state == CLAIM_TAKEN)
			log_info("address %s: free now, and taken", ip_print(a, text));
		take(a, c, now_ns);
	}
}

static bool is_up(unsigned port)
{
	return ports[port] && ports[port]->up;
}

void claim_link_changed(void)
{
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++)
		links[i].up &= is_up(i);
}

/* Ports that came up or have another MAC since the last look: neighbours know the old way there, if any (RFC 5227 2.1, 2.3, RFC
 * 4861 7.2.6). A bit for each. '*gone': one is no more. */
static uint32_t fresh_links(bool *gone)
{
	uint32_t fresh = 0;
	for (unsigned i = PORT_FIRST; i < PORTS_MAX; i++) {
		const bool up = is_up(i), here = ports[i];
		fresh |= (uint32_t)(up && !(links[i].up && mac_eq(&links[i].mac, &ports[i]->mac))) << i;
		*gone |= links[i].here && !here;
		links[i].here = here;
		links[i].up = up;
		if (up)
			links[i].mac = ports[i]->mac;
	}
	return fresh;
}

static bool routes_changed(uint64_t now_ns)
{
	if (routes == fib_version() || now_ns < next_look_ns)
		return false;
	routes = fib_version();
	next_look_ns = now_ns + NS_PER_S;
	return true;
}

void claim_tick(uint64_t now_ns)
{
	bool moved = routes_changed(now_ns);
	const uint32_t fresh = fresh_links(&moved);
	if (!n_withheld && !n_announcing && !dirty && !fresh && !moved)
		return;
	for (uint32_t i = table_next(&claims, 0); i; i = table_next(&claims, i)) {
		const struct ipaddr a = *(const struct ipaddr *)table_key(&claims, i);
		struct claim *c = at(i);
		if (dirty && !is_wanted(&a)) {
			drop_row(&a, c);
			continue;
		}
		if (moved)
			follow(&a, c, now_ns);
		if (fresh >> c->port & 1 && c->state == CLAIM_OWN)
			take_again(&a, c, now_ns);
		step(&a, c, now_ns);
	}
	dirty = false;
}

uint32_t claim_next(uint32_t after, struct ipaddr *a, struct claim *c)
{
	const uint32_t i = table_next(&claims, after);
	if (i) {
		*a = *(const struct ipaddr *)table_key(&claims, i);
		*c = *at(i);
	}
	return i;
}

uint32_t claim_count(void)
{
	return table_count(&claims);
}

/* ---- workers ---- */

static int state_of(const struct ipaddr *a)
{
	const uint32_t i = LOAD_RELAXED(&n_withheld) ? table_find(&claims, a) : 0;
	return i ? LOAD_RELAXED(&at(i)->state) : CLAIM_OWN;
}

bool claim_withheld(const struct ipaddr *a)
{
	return is_withheld(state_of(a));
}

bool claim_taken(const struct ipaddr *a)
{
	return state_of(a) == CLAIM_TAKEN;
}

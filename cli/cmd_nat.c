/* SPDX-License-Identifier: BSD-2-Clause */
/* NAT pools and destinations that are not masqueraded, as configuration. Control thread. */
#include "cli/config.h"

#include <errno.h>

#include "fwd/base/ifaddr.h"
#include "fwd/base/sysctl.h"
#include "tables/ipmasq.h"
#include "tables/nat_block.h"

/* ---- nat pool ---- */

struct pool_conf {
	struct ipaddr addr;
	uint8_t prefix; /* length of 'addr' and 'inside'; 0: addresses */
	bool has_ports, has_source, has_filter, has_rest;
	uint16_t lo, hi;
	char port[PORT_NAME_MAX];
	struct ipnet source;
	struct ipaddr inside; /* static */
	uint8_t mapping, filter;
	uint16_t rest;
	uint32_t max_ports, max_sessions;
	uint16_t blocks, block_limit;
};
static const char *const mappings[] = { "eim", "apdm" };
static const char *const filters[] = { "eif", "adf", "apdf" };

static uint8_t choice(const char *text, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(text, names[i]))
			return (uint8_t)i;
	return 0;
}

static struct ipnet outside_of(const struct pool_conf *c)
{
	return (struct ipnet){ c->addr, c->prefix ? c->prefix : 128 };
}

static struct ipnet inside_of(const struct pool_conf *c)
{
	return (struct ipnet){ c->inside, c->prefix ? c->prefix : 128 };
}

static const char *pool_name(const struct pool_conf *c, char b[static IP_STRLEN])
{
	const struct ipnet n = outside_of(c);

	return ipnet_print(&n, b);
}

static int parse_static(struct pool_conf *c, const struct ipnet *n, struct err *e)
{
	char b[IP_STRLEN], is[IP_STRLEN], want[IP_STRLEN], want_in[IP_STRLEN];
	const struct ipnet out = outside_of(c);
	const uint8_t longer = MAX(out.len, n->len);

	pool_name(c, b);
	c->inside = n->addr;
	if (!c->prefix) {
		if (ip_is4(&c->inside) != ip_is4(&c->addr) || !ip_is_routed(&c->inside) ||
		    ip_eq(&c->inside, &c->addr) || n->len != 128)
			return err_set(e, -EINVAL,
				       "nat pool %s: static wants another unicast address of the same family", b);
		return 0;
	}
	const int bad = nat_prefix_check(n, b, e);
	if (bad || n->len == out.len)
		return bad;
	const struct ipnet to = { out.addr, longer }, from = { n->addr, longer };
	return err_set(e, -EINVAL,
		       "nat pool %s: static %s has another length; give both the longer one: nat pool %s static %s", b,
		       ipnet_print(n, is), ipnet_print(&to, want), ipnet_print(&from, want_in));
}

static int parse_outside(struct pool_conf *c, const struct ipnet *n, struct err *e)
{
	char b[IP_STRLEN];

	c->addr = n->addr;
	c->prefix = n->len % 128;
	if (c->prefix)
		return nat_prefix_check(n, pool_name(c, b), e);
	if (!ip_is_routed(&c->addr))
		return err_set(e, -EINVAL, "nat pool %s: give a unicast address that is routed", pool_name(c, b));
	return 0;
}

static uint8_t filter_default(const struct pool_conf *c)
{
	return c->mapping == NAT_APDM ? NAT_APDF : NAT_ADF;
}

/* Whom it serves and where. */
static int parse_place(const struct parse *p, struct pool_conf *c, struct err *e)
{
	const struct arg *a;
	char b[IP_STRLEN];

	pool_name(c, b);
	if ((a = parse_arg(p, "ports"))) {
		c->has_ports = !arg_is_none(a);
		c->lo = c->has_ports ? a->range.lo : 0;
		c->hi = c->has_ports ? a->range.hi : 0;
		if (c->has_ports && !c->lo)
			return err_set(e, -EINVAL, "nat pool %s: ports start at 1", b);
	}
	if ((a = parse_arg(p, "port")))
		snprintf(c->port, sizeof(c->port), "%s", arg_is_none(a) ? "" : a->text);
	if ((a = parse_arg(p, "source"))) {
		c->has_source = !arg_is_none(a);
		c->source = c->has_source ? a->net : (struct ipnet){ 0 };
		if (c->has_source && ip_is4(&c->source.addr) != ip_is4(&c->addr))
			return err_set(e, -EINVAL, "nat pool %s: its source prefix is of the other family", b);
	}
	if (!(a = parse_arg(p, "static")))
		return 0;
	c->inside = (struct ipaddr){ 0 };
	return arg_is_none(a) ? 0 : parse_static(c, &a->net, e);
}

static void parse_behaviour(const struct parse *p, struct pool_conf *c)
{
	const struct arg *a;

	if ((a = parse_arg(p, "mapping")))
		c->mapping = choice(a->text, mappings, ARRAY_LEN(mappings));
	if ((a = parse_arg(p, "filter"))) {
		c->has_filter = !arg_is_none(a);
		c->filter = choice(a->text, filters, ARRAY_LEN(filters));
	}
	/* as it is saved: without */
	c->has_filter &= c->filter != filter_default(c);
	if ((a = parse_arg(p, "rest"))) {
		c->has_rest = !arg_is_none(a);
		c->rest = c->has_rest ? (uint16_t)a->n : 0;
	}
}

static int parse_limits(const struct parse *p, struct pool_conf *c, struct err *e)
{
	const struct arg *a;
	char b[IP_STRLEN];

	if ((a = parse_arg(p, "max-ports")))
		c->max_ports = (uint32_t)a->n;
	if ((a = parse_arg(p, "max-sessions")))
		c->max_sessions = (uint32_t)a->n;
	if ((a = parse_arg(p, "block-limit")))
		c->block_limit = (uint16_t)a->n;
	if (!(a = parse_arg(p, "blocks")))
		return 0;
	c->blocks = (uint16_t)a->n;
	if (c->blocks && (c->blocks < NAT_BLOCK_MIN || c->blocks & (c->blocks - 1)))
		return err_set(e, -EINVAL, "nat pool %s: blocks %u: give a power of two from %d to %d, or 0 for none",
			       pool_name(c, b), c->blocks, NAT_BLOCK_MIN, NAT_BLOCK_MAX);
	return 0;
}

static int parse(const struct parse *p, void *data, struct err *e)
{
	struct pool_conf *c = data;
	int r;

	if ((r = parse_outside(c, &parse_arg(p, "pool")->net, e)) || (r = parse_place(p, c, e)))
		return r;
	parse_behaviour(p, c);
	return parse_limits(p, c, e);
}

static void print_key(const void *data, FILE *f)
{
	const struct pool_conf *c = data;
	char b[IP_STRLEN];

	fprintf(f, "nat pool %s", pool_name(c, b));
}

static void print_options(const void *data, FILE *f)
{
	const struct pool_conf *c = data;
	char b[IP_STRLEN];

	if (c->has_ports)
		fprintf(f, " ports %u-%u", c->lo, c->hi);
	if (c->port[0])
		fprintf(f, " port %s", c->port);
	const struct ipnet inside = inside_of(c);
	if (!ip_is_zero(&c->inside))
		fprintf(f, " static %s", ipnet_print(&inside, b));
	if (c->has_source)
		fprintf(f, " source %s", ipnet_print(&c->source, b));
	if (c->mapping != NAT_EIM)
		fprintf(f, " mapping %s", mappings[c->mapping]);
	if (c->has_filter)
		fprintf(f, " filter %s", filters[c->filter]);
	if (c->has_rest)
		fprintf(f, " rest %u", c->rest);
	if (c->max_ports)
		fprintf(f, " max-ports %u", c->max_ports);
	if (c->max_sessions)
		fprintf(f, " max-sessions %u", c->max_sessions);
	if (c->blocks)
		fprintf(f, " blocks %u", c->blocks);
	if (c->block_limit)
		fprintf(f, " block-limit %u", c->block_limit);
}

static void occupies(const void *data, config_word_fn *fn, void *arg)
{
	const struct pool_conf *c = data;
	char word[80], b[IP_STRLEN];

	if (c->prefix) /* see check_overlaps */
		return;
	snprintf(word, sizeof(word), "address %s", ip_print(&c->addr, b));
	fn(arg, word);
	if (ip_is_zero(&c->inside))
		return;
	snprintf(word, sizeof(word), "static %s", ip_print(&c->inside, b));
	fn(arg, word);
}

static void needs(const void *data, config_word_fn *fn, void *arg)
{
	const struct pool_conf *c = data;
	char word[40];

	if (!c->port[0])
		return;
	snprintf(word, sizeof(word), "port %s", c->port);
	fn(arg, word);
}

/* Without 'ports': 1024 and up, and on an address of the box the larger part outside the kernel's range. */
static void default_ports(const struct ipaddr *a, uint16_t *lo, uint16_t *hi)
{
	unsigned klo, khi;

	*lo = 1024;
	*hi = 65535;
	if (!ifaddr_has(a))
		return;
	local_port_range(&klo, &khi);
	int below = (int)klo - 1024, above = 65535 - (int)khi;
	if (below <= 0 && above <= 0)
		return;
	if (below >= above)
		*hi = (uint16_t)(klo - 1);
	else
		*lo = (uint16_t)(khi + 1);
}

/* The same of addresses: what comes for one is translated once. */
static int check_static(struct config_tx *tx, const struct pool_conf *c, struct err *e)
{
	char a[IP_STRLEN], b[IP_STRLEN], k_name[IP_STRLEN];

	pool_name(c, a);
	if (!ip_is_zero(&c->inside) && ifaddr_has(&c->inside))
		return err_set(e, -EINVAL, "nat pool %s: static %s is the box's own, which is not translated", a,
			       ip_print(&c->inside, b));
	for (const struct config_object *o = config_tx_first(tx, &kind_pool); o; o = o->next) {
		const struct pool_conf *k = (const void *)o->data;
		if (k->prefix)
			continue;
		if (ip_eq(&k->addr, &c->inside))
			return err_set(e, -EINVAL, "nat pool %s: static %s is an outside address itself: nat pool %s",
				       a, ip_print(&c->inside, b), pool_name(k, k_name));
		if (ip_eq(&k->inside, &c->addr))
			return err_set(e, -EINVAL, "nat pool %s: it is inside itself, as static of nat pool %s", a,
				       pool_name(k, k_name));
	}
	return 0;
}

/* Each outside address has one inside address and is itself inside of nothing. Several prefixes may stand for one inside, each at
 * its port (RFC 6296 2.4). */
static int check_overlaps(struct config_tx *tx, const struct pool_conf *c, struct err *e)
{
	char a[IP_STRLEN], b[IP_STRLEN];
	const struct ipnet out = outside_of(c), in = inside_of(c);

	pool_name(c, a);
	if (ipnet_overlap(&out, &in))
		return err_set(e, -EINVAL, "nat pool %s: it overlaps its own inside, static %s", a,
			       ipnet_print(&in, b));
	for (const struct config_object *o = config_tx_first(tx, &kind_pool); o; o = o->next) {
		const struct pool_conf *k = (const void *)o->data;
		const struct ipnet k_out = outside_of(k), k_in = inside_of(k);
		if (!k->prefix || (k->prefix == c->prefix && ip_eq(&k->addr, &c->addr)))
			continue;
		if (ipnet_overlap(&out, &k_out))
			return err_set(e, -EINVAL, "nat pool %s: it overlaps nat pool %s", a, ipnet_print(&k_out, b));
		if (ipnet_overlap(&out, &k_in) || ipnet_overlap(&in, &k_out))
			return err_set(e, -EINVAL,
				       "nat pool %s: one's outside overlaps the other's inside, of nat pool %s", a,
				       ipnet_print(&k_out, b));
		if (k->prefix == c->prefix && ip_eq(&k->inside, &c->inside) && !strcmp(k->port, c->port))
			return err_set(e, -EINVAL,
				       "nat pool %s: nat pool %s has the same inside; give each the 'port' it is for",
				       a, ipnet_print(&k_out, b));
	}
	return 0;
}

static int check_prefix_pool(struct config_tx *tx, const struct pool_conf *c, struct err *e)
{
	char a[IP_STRLEN], b[IP_STRLEN];
	const struct ipnet out = outside_of(c);
	struct ipaddr own;

	pool_name(c, a);
	if (ip_is_zero(&c->inside))
		return err_set(e, -EINVAL,
			       "nat pool %s: a prefix wants 'static PREFIX', the one inside, of the same length", a);
	if (ifaddr_under(&out, &own))
		config_warn(tx,
			    "nat pool %s: %s is the box's own and is not translated; a prefix is to be routed to the "
			    "box, neighbours on a link that has it are not reached from inside",
			    a, ip_print(&own, b));
	return check_overlaps(tx, c, e);
}

/* All that goes with static is port. */
static int check_alone(const struct pool_conf *c, struct err *e)
{
	const struct {
		bool given;
		const char *back;
	} options[] = {
		{ c->has_ports, "ports none" },
		{ c->has_source, "source none" },
		{ c->mapping != NAT_EIM, "mapping eim" },
		{ c->has_filter, "filter none" },
		{ c->has_rest, "rest none" },
		{ c->max_ports, "max-ports 0" },
		{ c->max_sessions, "max-sessions 0" },
		{ c->blocks, "blocks 0" },
		{ c->block_limit, "block-limit 0" },
	};
	char b[IP_STRLEN], back[160] = "";

	for (unsigned i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].given)
			snprintf(back + strlen(back), sizeof(back) - strlen(back), " %s", options[i].back);
	return !*back ? 0
		      : err_set(e, -EINVAL,
				"nat pool %s: static takes all ports and asks no filter: no option but port goes with "
				"it; take back:%s",
				pool_name(c, b), back);
}

static int check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct pool_conf *c = now;
	unsigned klo, khi;
	uint16_t lo, hi;
	char b[IP_STRLEN];
	int r;

	(void)old;
	if (!c)
		return 0;
	if (!ip_is_zero(&c->inside) && (r = check_alone(c, e)))
		return r;
	if (!c->prefix && !ip_is_zero(&c->inside) && ifaddr_has(&c->addr))
		return err_set(
			e, -EINVAL,
			"nat pool %s: the box has this address itself and needs its ports; 'static' wants another",
			pool_name(c, b));
	if (c->mapping == NAT_APDM && c->has_filter && c->filter != NAT_APDF)
		return err_set(
			e, -EINVAL,
			"nat pool %s: mapping apdm goes with filter apdf, not %s: who shares a port is told apart "
			"by the remote address and port",
			pool_name(c, b), filters[c->filter]);
	if (config_tx_count(tx, &kind_pool) > NAT_POOLS_MAX)
		return err_set(e, -ENOSPC, "nat pool %s: more than %d pools", pool_name(c, b), NAT_POOLS_MAX);
	if (c->prefix)
		return check_prefix_pool(tx, c, e);
	if ((r = check_static(tx, c, e)))
		return r;
	if (!ifaddr_has(&c->addr))
		return 0;
	local_port_range(&klo, &khi);
	lo = c->lo;
	hi = c->hi;
	if (!c->has_ports)
		default_ports(&c->addr, &lo, &hi);
	if (lo > khi || hi < klo)
		return 0;
	config_warn(
		tx,
		"nat pool %s: ports %u-%u overlap those the kernel uses on its own address (%u-%u); move the kernel's: "
		"sysctl -w net.ipv4.ip_local_port_range=\"%u %u\"",
		pool_name(c, b), lo, hi, klo, khi,
		lo - 1024 > 65535 - hi ? 1024
		: hi < 65535           ? hi + 1u
				       : 1024u,
		lo - 1024 > 65535 - hi ? lo - 1u
		: hi < 65535           ? 65535u
				       : lo - 1u);
	return 0;
}

/* RFC 6888 REQ-8: a filter that asks for the remote address keeps what still comes for the former user of a port from the
 * next one; without it that takes time. A block that went back at once would be two log lines for each connection of who has few. */
static uint16_t rest_of(const struct pool_conf *c)
{
	return c->has_rest ? c->rest : c->blocks || (c->has_filter && c->filter == NAT_EIF) ? 120 : 0;
}

static int apply(const void *old, const void *now, struct err *e)
{
	const struct pool_conf *c = now;
	const struct port *port;
	int r;

	if (!c) {
		const struct ipnet gone = outside_of(old);
		return nat_pool_del_prefix(&gone, e);
	}
	struct nat_pool pool = { .addr = c->addr,
				 .prefix = c->prefix,
				 .port_lo = c->lo,
				 .port_hi = c->hi,
				 .port = -1,
				 .source = c->source,
				 .inside = c->inside,
				 .has_source = c->has_source,
				 .mapping = c->mapping,
				 .filter = c->has_filter ? c->filter : filter_default(c),
				 .rest = rest_of(c),
				 .max_ports = c->max_ports,
				 .max_sessions = c->max_sessions,
				 .blocks = c->blocks,
				 .block_limit = c->block_limit };
	if (!c->has_ports && !c->prefix)
		default_ports(&c->addr, &pool.port_lo, &pool.port_hi);
	if (c->port[0]) {
		port = port_by_name(c->port);
		if (!port)
			return err_set(e, -ENOENT, "nat pool: port %s is not open", c->port);
		pool.port = port->index;
	}
	r = nat_pool_add(&pool, e);
	return r < 0 ? r : 0;
}

static void notify(const void *old_data, const void *now_data)
{
	const struct pool_conf *old = old_data, *now = now_data;

	if (!config_hooks.pool_changed)
		return;
	if (old) {
		struct nat_pool gone = { .addr = old->addr, .prefix = old->prefix };
		config_hooks.pool_changed(false, -1, &gone);
	}
	const struct ipnet is = now ? outside_of(now) : (struct ipnet){ .len = 0 };
	int i = now ? nat_pool_by_prefix(&is) : -1;
	if (i >= 0)
		config_hooks.pool_changed(true, i, &nat_pools[i]);
}

const struct config_kind kind_pool = {
	.name = "nat pool",
	.key = "nat pool PREFIX",
	.options = "[ports none|RANGE] [port none|NAME] [source none|PREFIX] [static none|PREFIX] [mapping eim|apdm] "
		   "[filter none|eif|adf|apdf] [rest none|N:0-3600s] "
		   "[max-ports N:0-65535] [max-sessions N:0-1000000] [blocks N:0-4096] [block-limit N:0-16]",
	.help = "an outside address that endpoints are masqueraded to, or an IPv6 prefix for another",
	.size = sizeof(struct pool_conf),
	.parse = parse,
	.print_key = print_key,
	.print_options = print_options,
	.occupies = occupies,
	.needs = needs,
	.check = check,
	.apply = apply,
	.notify = notify,
};

/* ---- ipmasq ---- */

static int ipmasq_parse(const struct parse *p, void *data, struct err *e)
{
	(void)e;
	*(struct ipnet *)data = parse_arg(p, "ipmasq")->net;
	return 0;
}

static void ipmasq_print_key(const void *data, FILE *f)
{
	char b[IP_STRLEN];

	fprintf(f, "ipmasq %s", ipnet_print(data, b));
}

static int ipmasq_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	(void)old;
	if (now && config_tx_count(tx, &kind_ipmasq) > table_defs[TABLE_IPMASQ].capacity)
		return err_set(e, -ENOSPC, "ipmasq: more than %u prefixes", table_defs[TABLE_IPMASQ].capacity);
	return 0;
}

static int ipmasq_apply(const void *old, const void *now, struct err *e)
{
	return now ? ipmasq_add(now, e) : ipmasq_del(old, e);
}

const struct config_kind kind_ipmasq = {
	.name = "ipmasq",
	.key = "ipmasq PREFIX",
	.options = "",
	.help = "a destination that is not masqueraded",
	.size = sizeof(struct ipnet),
	.parse = ipmasq_parse,
	.print_key = ipmasq_print_key,
	.check = ipmasq_check,
	.apply = ipmasq_apply,
};

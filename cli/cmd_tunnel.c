/* SPDX-License-Identifier: BSD-2-Clause */
/* VTEPs, tunnels and ipcache rows as configuration. Control thread.
 * A row that names a remote node belongs to one VTEP (vtep_suits() tells which): when VTEPs come and go, rows that another one
 * suits better are applied again, and the last one that suits a row stays. */
#include "cli/config.h"

#include <errno.h>

#include "fwd/base/ifaddr.h"
#include "tables/ipcache.h"
#include "tables/service.h"

enum { PORT_IDENTITY = 8472 /* Cilium on the wire */, PORT_NETWORK = 4789 /* RFC 7348 */ };

struct vtep_conf {
	struct ipaddr addr;
	uint16_t port;
	uint8_t mode;
};
struct tunnel_conf {
	struct ipnet prefix;
	struct remote_name remote;
	struct ipaddr via;
	struct mac mac;
	uint32_t vni;
	uint16_t flags; /* tunnel_flag */
	uint16_t zone;
};
struct ipcache_conf {
	struct ipnet prefix;
	struct remote_name remote; /* no address: none */
	uint32_t identity;
};

/* ---- vtep ---- */

static int vtep_parse(const struct parse *p, void *data, struct err *e)
{
	struct vtep_conf *c = data;
	const struct arg *a;
	char b[IP_STRLEN];

	c->addr = parse_arg(p, "vtep")->ip;
	if (ip_is_zero(&c->addr) || ip_is_multicast(&c->addr) || ip_is_bcast4(&c->addr) || ip_is_loopback(&c->addr))
		return err_set(e, -EINVAL, "vtep %s: give a unicast address of this box", ip_print(&c->addr, b));
	if ((a = parse_arg(p, "vni-mode")))
		c->mode = !strcmp(a->text, "network") ? VNI_NETWORK : VNI_IDENTITY;
	if ((a = parse_arg(p, "port")))
		c->port = (uint16_t)a->n;
	else if (!strcmp(p->arg[0].label, "add"))
		c->port = c->mode == VNI_NETWORK ? PORT_NETWORK : PORT_IDENTITY;
	return 0;
}

static void vtep_print_key(const void *data, FILE *f)
{
	const struct vtep_conf *c = data;
	char b[IP_STRLEN];

	fprintf(f, "vtep %s port %u", ip_print(&c->addr, b), c->port);
}

static void vtep_print_options(const void *data, FILE *f)
{
	const struct vtep_conf *c = data;

	fprintf(f, " vni-mode %s", c->mode == VNI_NETWORK ? "network" : "identity");
}

/* Without 'port': the only one with that address. */
static int vtep_find_port(const struct config_tx *tx, void *data, struct err *e)
{
	struct vtep_conf *c = data;
	char b[IP_STRLEN];
	unsigned n = 0;

	if (c->port)
		return 0;
	for (const struct config_object *o = config_tx_first(tx, &kind_vtep); o; o = o->next) {
		const struct vtep_conf *v = (const void *)o->data;
		if (!ip_eq(&v->addr, &c->addr))
			continue;
		c->port = v->port;
		n++;
	}
	if (n == 1)
		return 0;
	return err_set(e, -ENOENT, n ? "vtep %s: there are several, name the port" : "there is no vtep %s",
		       ip_print(&c->addr, b));
}

static struct vtep vtep_in_table(const struct vtep_conf *c)
{
	return (struct vtep){ .addr = c->addr, .port = c->port, .mode = c->mode };
}

/* The VTEP that a row belongs to after the transaction, NULL if none suits */
static const struct vtep_conf *vtep_of(const struct config_tx *tx, const struct remote_name *n)
{
	const struct vtep_conf *best = NULL;
	unsigned most = 0;

	for (const struct config_object *o = config_tx_first(tx, &kind_vtep); o; o = o->next) {
		const struct vtep v = vtep_in_table((const void *)o->data);
		const unsigned suits = vtep_suits(&v, n);
		if (suits > most) {
			most = suits;
			best = (const void *)o->data;
		}
	}
	return best;
}

static const struct remote_name *remote_of(const struct config_object *o)
{
	const struct remote_name *n = o->kind == &kind_tunnel
					      ? &((const struct tunnel_conf *)(const void *)o->data)->remote
					      : &((const struct ipcache_conf *)(const void *)o->data)->remote;

	return ip_is_zero(&n->addr) ? NULL : n;
}

static int check_vni(const struct tunnel_conf *t, const struct vtep_conf *v, struct err *e)
{
	char b[IP_STRLEN], c[IP_STRLEN];

	if (v->mode == VNI_NETWORK && !(t->flags & TUNNEL_VNI))
		return err_set(e, -EINVAL, "tunnel %s: vni is missing: vtep %s is in network mode",
			       ipnet_print(&t->prefix, b), ip_print(&v->addr, c));
	if (v->mode == VNI_IDENTITY && t->zone)
		return err_set(e, -EINVAL,
			       "tunnel %s: a zone needs a vtep in network mode: the VNI of %s is an identity",
			       ipnet_print(&t->prefix, b), ip_print(&v->addr, c));
	return 0;
}

/* 'gone' has changed or is not there any more: what was its may stand with another. */
static int check_rows(struct config_tx *tx, const struct vtep_conf *gone, struct err *e)
{
	const struct config_kind *const kinds[] = { &kind_tunnel, &kind_ipcache };
	const struct config_object *user = NULL;
	char b[IP_STRLEN];
	unsigned n = 0;
	int r = 0;

	for (unsigned k = 0; k < ARRAY_LEN(kinds) && !r; k++)
		for (const struct config_object *o = config_tx_first(tx, kinds[k]); o && !r; o = o->next) {
			const struct remote_name *remote = remote_of(o);
			const struct vtep_conf *v = remote ? vtep_of(tx, remote) : NULL;
			if (v && o->kind == &kind_tunnel)
				r = check_vni((const void *)o->data, v, e);
			else if (remote && !v && !n++)
				user = o;
		}
	if (r || !n)
		return r;
	return err_set(e, -EBUSY, "vtep %s is used by %s%s: delete that first", ip_print(&gone->addr, b), user->key,
		       n > 1 ? " and others" : "");
}

static int vtep_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct vtep_conf *c = now;
	char b[IP_STRLEN];

	if (c && config_tx_count(tx, &kind_vtep) > VTEPS_MAX)
		return err_set(e, -ENOSPC, "vtep %s: more than %d VTEPs", ip_print(&c->addr, b), VTEPS_MAX);
	if (c && !old && !ifaddr_has(&c->addr))
		config_warn(tx,
			    "vtep %s: no interface of the box has this address yet: other nodes do not reach it until "
			    "one has ('show vteps')",
			    ip_print(&c->addr, b));
	return old ? check_rows(tx, old, e) : 0; /* one more takes nothing away */
}

static int vtep_apply(const void *old_data, const void *now_data, struct err *e)
{
	const struct vtep_conf *old = old_data, *now = now_data;
	int r;

	if (!now)
		return vtep_del(&old->addr, old->port, e);
	const struct vtep v = vtep_in_table(now);
	r = vtep_add(&v, e);
	return r < 0 ? r : 0;
}

static void vtep_notify(const void *old_data, const void *now_data)
{
	const struct vtep_conf *v[2] = { old_data, now_data };

	for (unsigned i = 0; i < 2 && config_hooks.vtep_changed; i++)
		if (v[i]) {
			const struct vtep t = vtep_in_table(v[i]);
			config_hooks.vtep_changed(i, &t);
		}
}

const struct config_kind kind_vtep = {
	.name = "vtep",
	.key = "vtep ADDR ~ [port PORT]",
	.options = "[vni-mode identity|network]",
	.help = "a VXLAN tunnel end of this box; port 8472, in network mode 4789",
	.size = sizeof(struct vtep_conf),
	.parse = vtep_parse,
	.print_key = vtep_print_key,
	.print_options = vtep_print_options,
	.find = vtep_find_port,
	.check = vtep_check,
	.apply = vtep_apply,
	.notify = vtep_notify,
	.moves_others = true,
};

/* ---- remotes ---- */

static int parse_remote(const struct parse *p, const char *what, const struct ipnet *n, struct remote_name *r,
			struct err *e)
{
	static const struct ipaddr none;
	const struct ipaddr *a = &r->addr;
	char b[IP_STRLEN], c[IP_STRLEN];
	const struct arg *arg;

	if ((arg = parse_arg(p, "vtep")))
		r->vtep = arg_is_none(arg) ? none : arg->ip;
	if ((arg = parse_arg(p, "port")))
		r->port = arg_is_none(arg) ? 0 : (uint16_t)arg->n;
	if (!(arg = parse_arg(p, "remote")))
		return 0;
	if (arg_is_none(arg)) { /* an ipcache row; vtep and port tell how to reach it */
		if (!parse_has(p, "vtep"))
			memset(&r->vtep, 0, sizeof(r->vtep));
		if (!parse_has(p, "port"))
			r->port = 0;
		memset(&r->addr, 0, sizeof(r->addr));
		return 0;
	}
	r->addr = arg->ip;
	if (ip_is_zero(a) || ip_is_multicast(a) || ip_is_bcast4(a) || ip_is_loopback(a))
		return err_set(e, -EINVAL, "%s %s: remote %s: give the unicast address of another box", what,
			       ipnet_print(n, b), ip_print(a, c));
	return 0;
}

static void print_remote(const struct remote_name *r, FILE *f)
{
	char b[IP_STRLEN];

	fprintf(f, " remote %s", ip_print(&r->addr, b));
	if (!ip_is_zero(&r->vtep))
		fprintf(f, " vtep %s", ip_print(&r->vtep, b));
	if (r->port)
		fprintf(f, " port %u", r->port);
}

static int check_remote(struct config_tx *tx, const char *what, const struct ipnet *n, const struct remote_name *r,
			struct err *e)
{
	const struct ipaddr *a = &r->addr;
	const bool named = !ip_is_zero(&r->vtep);
	char b[IP_STRLEN], c[IP_STRLEN], v[IP_STRLEN], port[16] = "";

	if (ip_is_zero(a)) /* an ipcache row */
		return err_set(e, -EINVAL, "%s %s: vtep and port go with a remote", what, ipnet_print(n, b));
	if (named && ip_is4(&r->vtep) != ip_is4(a))
		return err_set(e, -EINVAL, "%s %s: vtep %s is of the other family than remote %s", what,
			       ipnet_print(n, b), ip_print(&r->vtep, v), ip_print(a, c));
	if (r->port)
		snprintf(port, sizeof(port), " port %u", r->port);
	if (!vtep_of(tx, r) && named)
		return err_set(e, -ENOENT, "%s %s: there is no vtep %s%s: add that first", what, ipnet_print(n, b),
			       ip_print(&r->vtep, v), port);
	if (!vtep_of(tx, r))
		return err_set(e, -ENOENT, "%s %s: remote %s needs an IPv%c vtep%s, there is none: add vtep ADDR%s",
			       what, ipnet_print(n, b), ip_print(a, c), ip_is4(a) ? '4' : '6', port, port);
	for (const struct config_object *o = config_tx_first(tx, &kind_vtep); o; o = o->next)
		if (ip_eq(&((const struct vtep_conf *)(const void *)o->data)->addr, a))
			return err_set(e, -EINVAL, "%s %s: remote %s is this box itself", what, ipnet_print(n, b),
				       ip_print(a, c));
	return 0;
}

/* Does another VTEP suit the row after the transaction, or is its own made anew? To be asked while the table is as before. */
static bool remote_moves(const struct config_tx *tx, const struct remote_name *n)
{
	const struct vtep_conf *then = ip_is_zero(&n->addr) ? NULL : vtep_of(tx, n);
	const int i = vtep_choose(n);

	return i >= 0 && !(then && ip_eq(&then->addr, &vteps[i].addr) && then->port == vteps[i].port &&
			   then->mode == vteps[i].mode);
}

/* ---- tunnel ---- */

static void set_flag(struct tunnel_conf *c, enum tunnel_flag flag, bool on)
{
	c->flags = (uint16_t)((c->flags & ~(unsigned)flag) | (on ? flag : 0));
}

/* One of both, which takes the other's place, or none. */
static int parse_next_hop(const struct parse *p, struct tunnel_conf *c, struct err *e)
{
	const struct arg *mac = parse_arg(p, "mac"), *via = parse_arg(p, "via");
	const bool has_mac = mac && !arg_is_none(mac), has_via = via && !arg_is_none(via);
	char b[IP_STRLEN];

	if (has_mac && has_via)
		return err_set(e, -EINVAL, "tunnel %s: mac and via exclude each other: give one",
			       ipnet_print(&c->prefix, b));
	if (has_via && ip_is4(&via->ip) != ip_is4(&c->prefix.addr))
		return err_set(e, -EINVAL, "tunnel %s: via is of the other family", ipnet_print(&c->prefix, b));
	if (mac || has_via) {
		c->mac = has_mac ? mac->mac : (struct mac){ 0 };
		set_flag(c, TUNNEL_MAC, has_mac);
	}
	if (via || has_mac) {
		c->via = has_via ? via->ip : (struct ipaddr){ 0 };
		set_flag(c, TUNNEL_VIA, has_via);
	}
	return 0;
}

static int tunnel_parse(const struct parse *p, void *data, struct err *e)
{
	struct tunnel_conf *c = data;
	const struct arg *a;
	int r;

	c->prefix = parse_arg(p, "tunnel")->net;
	if ((a = parse_arg(p, "zone")))
		c->zone = (uint16_t)a->n;
	if ((a = parse_arg(p, "vni"))) {
		c->remote.has_vni = !arg_is_none(a);
		c->vni = arg_is_none(a) ? 0 : (uint32_t)a->n;
		set_flag(c, TUNNEL_VNI, !arg_is_none(a));
	}
	if ((r = parse_next_hop(p, c, e)))
		return r;
	return parse_remote(p, "tunnel", &c->prefix, &c->remote, e);
}

static void tunnel_print_key(const void *data, FILE *f)
{
	const struct tunnel_conf *c = data;
	char b[IP_STRLEN];

	fprintf(f, "tunnel %s", ipnet_print(&c->prefix, b));
	if (c->zone)
		fprintf(f, " zone %u", c->zone);
}

static void tunnel_print_options(const void *data, FILE *f)
{
	const struct tunnel_conf *c = data;
	char b[IP_STRLEN];

	print_remote(&c->remote, f);
	if (c->flags & TUNNEL_VNI)
		fprintf(f, " vni %u", c->vni);
	if (c->flags & TUNNEL_MAC)
		fprintf(f, " mac %s", mac_print(&c->mac, b));
	if (c->flags & TUNNEL_VIA)
		fprintf(f, " via %s", ip_print(&c->via, b));
}

static int tunnel_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct tunnel_conf *c = now;
	int r;

	(void)old;
	if (!c)
		return 0;
	if (config_tx_count(tx, &kind_tunnel) > table_defs[TABLE_TUNNEL].capacity)
		return err_set(e, -ENOSPC, "tunnel: more than %u prefixes", table_defs[TABLE_TUNNEL].capacity);
	if ((r = check_remote(tx, "tunnel", &c->prefix, &c->remote, e)))
		return r;
	return check_vni(c, vtep_of(tx, &c->remote), e);
}

static int tunnel_apply(const void *old, const void *now, struct err *e)
{
	const struct tunnel_conf *c = now;

	const struct tunnel_conf *gone = old;

	if (!c)
		return tunnel_del(gone->zone, &gone->prefix, e);
	struct tunnel_value v = { .via = c->via, .vni = c->vni, .mac = c->mac, .flags = c->flags, .zone = c->zone };
	return tunnel_set(&c->prefix, &c->remote, &v, e);
}

static void tunnel_notify(const void *old_data, const void *now_data)
{
	const struct tunnel_conf *old = old_data, *now = now_data;

	if ((now ? now : old)->zone) {
		if (config_hooks.tunnels_changed)
			config_hooks.tunnels_changed();
		return;
	}
	if (config_hooks.prefix_changed && !old != !now)
		config_hooks.prefix_changed(now != NULL, now ? &now->prefix : &old->prefix);
}

static bool tunnel_moves(const struct config_tx *tx, const void *data)
{
	return remote_moves(tx, &((const struct tunnel_conf *)data)->remote);
}

const struct config_kind kind_tunnel = {
	.name = "tunnel",
	.key = "tunnel PREFIX ~ [zone N:0-65535]",
	.options =
		"remote ADDR [vtep none|ADDR] [port none|PORT] [vni none|N:0-16777215] [mac none|MAC] [via none|ADDR]",
	.help = "a prefix behind a remote node; without mac and via the next hop is resolved over the tunnel. vtep and "
		"port "
		"choose among several of the box's, else one that suits vni and the node's network",
	.size = sizeof(struct tunnel_conf),
	.parse = tunnel_parse,
	.print_key = tunnel_print_key,
	.print_options = tunnel_print_options,
	.check = tunnel_check,
	.apply = tunnel_apply,
	.notify = tunnel_notify,
	.in_place = true,
	.moves = tunnel_moves,
};

/* ---- ipcache ---- */

/* Also one that lacks it: vtep and port tell nothing by themselves. */
static bool has_remote(const struct ipcache_conf *c)
{
	return !ip_is_zero(&c->remote.addr) || !ip_is_zero(&c->remote.vtep) || c->remote.port;
}

static int ipcache_parse(const struct parse *p, void *data, struct err *e)
{
	struct ipcache_conf *c = data;
	const struct arg *a;

	c->prefix = parse_arg(p, "ipcache")->net;
	if ((a = parse_arg(p, "identity")))
		c->identity = (uint32_t)a->n;
	return parse_remote(p, "ipcache", &c->prefix, &c->remote, e);
}

static void ipcache_print_key(const void *data, FILE *f)
{
	const struct ipcache_conf *c = data;
	char b[IP_STRLEN];

	fprintf(f, "ipcache %s", ipnet_print(&c->prefix, b));
}

static void ipcache_print_options(const void *data, FILE *f)
{
	const struct ipcache_conf *c = data;

	fprintf(f, " identity %u", c->identity);
	if (has_remote(c))
		print_remote(&c->remote, f);
}

static int ipcache_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct ipcache_conf *c = now;
	uint32_t capacity = table_defs[TABLE_IPCACHE].capacity;

	(void)old;
	if (!c)
		return 0;
	if (config_tx_count(tx, &kind_ipcache) + config_tx_needed(tx, "=address") > capacity)
		return err_set(e, -ENOSPC, "ipcache: more than %u rows, endpoint addresses included", capacity);
	return has_remote(c) ? check_remote(tx, "ipcache", &c->prefix, &c->remote, e) : 0;
}

static int ipcache_apply(const void *old, const void *now, struct err *e)
{
	const struct ipcache_conf *c = now;

	if (!c)
		return ipcache_del(&((const struct ipcache_conf *)old)->prefix, e);
	return ipcache_set(&c->prefix, c->identity, has_remote(c) ? &c->remote : NULL, 0, e);
}

static bool ipcache_moves(const struct config_tx *tx, const void *data)
{
	return remote_moves(tx, &((const struct ipcache_conf *)data)->remote);
}

const struct config_kind kind_ipcache = {
	.name = "ipcache",
	.key = "ipcache PREFIX",
	.options = "identity IDENTITY [remote none|ADDR] [vtep none|ADDR] [port none|PORT]",
	.help = "who lives behind a prefix, and on which remote node; vtep and port as with tunnels",
	.size = sizeof(struct ipcache_conf),
	.parse = ipcache_parse,
	.print_key = ipcache_print_key,
	.print_options = ipcache_print_options,
	.check = ipcache_check,
	.apply = ipcache_apply,
	.in_place = true,
	.moves = ipcache_moves,
};

void config_each_prefix(void (*fn)(bool added, const struct ipnet *n))
{
	struct tunnel_value v;
	struct ipnet n;

	for (uint32_t id = endpoint_next(0); id; id = endpoint_next(id)) {
		const struct endpoint *ep = endpoint_by_id(id);
		for (unsigned i = 0; i < ep->n_addrs; i++)
			fn(true, &(struct ipnet){ .addr = ep->addr[i], .len = 128 });
	}
	for (uint32_t i = tunnel_next(0, &n, &v); i; i = tunnel_next(i, &n, &v))
		if (!v.zone)
			fn(true, &n);
	for (uint32_t id = service_next(0); id; id = service_next(id))
		fn(true, &(struct ipnet){ .addr = service_at(id)->conf.key.vip, .len = 128 });
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* VTEPs, tunnels and ipcache rows as configuration. Control thread.
 * A remote node is bound to the first VTEP of its family; rows that name a remote are counted as "=remote4" or
 * "=remote6", so that a VTEP's departure knows whether somebody is left, and applies them again on another VTEP. */
#include "cli/config.h"

#include <errno.h>

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
	struct ipaddr remote, via;
	struct mac mac;
	uint32_t vni;
	uint16_t flags; /* tunnel_flag */
	uint16_t zone;
};
struct ipcache_conf {
	struct ipnet prefix;
	struct ipaddr remote; /* zero: none */
	uint32_t identity;
};

static const char *remote_word(const struct ipaddr *a)
{
	return ip_is4(a) ? "=remote4" : "=remote6";
}

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

/* First VTEP of the family, NULL if none */
static const struct vtep_conf *vtep_of(const struct config_tx *tx, const struct ipaddr *a)
{
	for (const struct config_object *o = config_tx_first(tx, &kind_vtep); o; o = o->next) {
		const struct vtep_conf *v = (const void *)o->data;
		if (ip_is4(&v->addr) == ip_is4(a))
			return v;
	}
	return NULL;
}

static int check_vni_modes(struct config_tx *tx, const struct vtep_conf *v, struct err *e)
{
	char b[IP_STRLEN];

	for (const struct config_object *o = config_tx_first(tx, &kind_tunnel); o; o = o->next) {
		const struct tunnel_conf *t = (const void *)o->data;
		if (ip_is4(&t->remote) == ip_is4(&v->addr) && !(t->flags & TUNNEL_VNI))
			return err_set(e, -EINVAL, "%s: vni is missing: vtep %s is in network mode", o->key,
				       ip_print(&v->addr, b));
	}
	return 0;
}

static int vtep_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct vtep_conf *gone = old, *c = now;
	const struct config_object *user;
	char b[IP_STRLEN];

	if (c && config_tx_count(tx, &kind_vtep) > VTEPS_MAX)
		return err_set(e, -ENOSPC, "vtep %s: more than %d VTEPs", ip_print(&c->addr, b), VTEPS_MAX);
	if (!c && !vtep_of(tx, &gone->addr) && (user = config_tx_user(tx, remote_word(&gone->addr))))
		return err_set(e, -EBUSY, "vtep %s is used by %s%s: delete that first", ip_print(&gone->addr, b),
			       user->key, config_tx_needed(tx, remote_word(&gone->addr)) > 1 ? " and others" : "");
	const struct vtep_conf *first = vtep_of(tx, c ? &c->addr : &gone->addr);
	return first && first->mode == VNI_NETWORK ? check_vni_modes(tx, first, e) : 0;
}

static int vtep_apply(const void *old_data, const void *now_data, struct err *e)
{
	const struct vtep_conf *old = old_data, *now = now_data;
	int r;

	if (!now)
		return vtep_del(&old->addr, old->port, e);
	r = vtep_add(&(struct vtep){ .addr = now->addr, .port = now->port, .mode = now->mode }, e);
	return r < 0 ? r : 0;
}

static void vtep_notify(const void *old_data, const void *now_data)
{
	const struct vtep_conf *v[2] = { old_data, now_data };

	for (unsigned i = 0; i < 2 && config_hooks.vtep_changed; i++)
		if (v[i])
			config_hooks.vtep_changed(
				i, &(struct vtep){ .addr = v[i]->addr, .port = v[i]->port, .mode = v[i]->mode });
}

static const char *vtep_reapply(const void *data)
{
	return remote_word(&((const struct vtep_conf *)data)->addr);
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
	.reapply = vtep_reapply,
};

/* ---- remotes ---- */

static int parse_remote(const char *what, const struct ipnet *n, const struct ipaddr *a, struct err *e)
{
	char b[IP_STRLEN], c[IP_STRLEN];

	if (ip_is_zero(a) || ip_is_multicast(a) || ip_is_bcast4(a) || ip_is_loopback(a))
		return err_set(e, -EINVAL, "%s %s: remote %s: give the unicast address of another box", what,
			       ipnet_print(n, b), ip_print(a, c));
	return 0;
}

static int check_remote(struct config_tx *tx, const char *what, const struct ipnet *n, const struct ipaddr *a,
			struct err *e)
{
	char b[IP_STRLEN], c[IP_STRLEN];

	if (!vtep_of(tx, a))
		return err_set(e, -ENOENT, "%s %s: remote %s needs an IPv%c vtep, there is none: add vtep ADDR", what,
			       ipnet_print(n, b), ip_print(a, c), ip_is4(a) ? '4' : '6');
	for (const struct config_object *o = config_tx_first(tx, &kind_vtep); o; o = o->next)
		if (ip_eq(&((const struct vtep_conf *)(const void *)o->data)->addr, a))
			return err_set(e, -EINVAL, "%s %s: remote %s is this box itself", what, ipnet_print(n, b),
				       ip_print(a, c));
	return 0;
}

/* ---- tunnel ---- */

static int tunnel_parse(const struct parse *p, void *data, struct err *e)
{
	struct tunnel_conf *c = data;
	const struct arg *a;
	char b[IP_STRLEN];

	c->prefix = parse_arg(p, "tunnel")->net;
	if ((a = parse_arg(p, "zone")))
		c->zone = (uint16_t)a->n;
	if ((a = parse_arg(p, "remote")))
		c->remote = a->ip;
	if ((a = parse_arg(p, "vni"))) {
		c->vni = (uint32_t)a->n;
		c->flags |= TUNNEL_VNI;
	}
	if ((a = parse_arg(p, "mac"))) {
		c->mac = a->mac;
		c->flags = (uint16_t)((c->flags & ~TUNNEL_VIA) | TUNNEL_MAC);
	}
	if ((a = parse_arg(p, "via"))) {
		if (ip_is4(&a->ip) != ip_is4(&c->prefix.addr))
			return err_set(e, -EINVAL, "tunnel %s: via is of the other family", ipnet_print(&c->prefix, b));
		c->via = a->ip;
		c->flags = (uint16_t)((c->flags & ~TUNNEL_MAC) | TUNNEL_VIA);
	}
	return parse_has(p, "remote") ? parse_remote("tunnel", &c->prefix, &c->remote, e) : 0;
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

	fprintf(f, " remote %s", ip_print(&c->remote, b));
	if (c->flags & TUNNEL_VNI)
		fprintf(f, " vni %u", c->vni);
	if (c->flags & TUNNEL_MAC)
		fprintf(f, " mac %s", mac_print(&c->mac, b));
	if (c->flags & TUNNEL_VIA)
		fprintf(f, " via %s", ip_print(&c->via, b));
}

static void tunnel_needs(const void *data, config_word_fn *fn, void *arg)
{
	fn(arg, remote_word(&((const struct tunnel_conf *)data)->remote));
}

static int tunnel_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct tunnel_conf *c = now;
	const struct vtep_conf *v;
	char b[IP_STRLEN], d[IP_STRLEN];
	int r;

	(void)old;
	if (!c)
		return 0;
	if (config_tx_count(tx, &kind_tunnel) > table_defs[TABLE_TUNNEL].capacity)
		return err_set(e, -ENOSPC, "tunnel: more than %u prefixes", table_defs[TABLE_TUNNEL].capacity);
	if ((r = check_remote(tx, "tunnel", &c->prefix, &c->remote, e)))
		return r;
	v = vtep_of(tx, &c->remote);
	if (v->mode == VNI_NETWORK && !(c->flags & TUNNEL_VNI))
		return err_set(e, -EINVAL, "tunnel %s: vni is missing: vtep %s is in network mode",
			       ipnet_print(&c->prefix, b), ip_print(&v->addr, d));
	if (v->mode == VNI_IDENTITY && c->zone)
		return err_set(e, -EINVAL,
			       "tunnel %s: a zone needs a vtep in network mode: the VNI of %s is an identity",
			       ipnet_print(&c->prefix, b), ip_print(&v->addr, d));
	return 0;
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

const struct config_kind kind_tunnel = {
	.name = "tunnel",
	.key = "tunnel PREFIX ~ [zone N:0-65535]",
	.options = "remote ADDR [vni N:0-16777215] [(mac MAC|via ADDR)]",
	.help = "a prefix behind a remote node; without mac and via the next hop is resolved over the tunnel",
	.size = sizeof(struct tunnel_conf),
	.parse = tunnel_parse,
	.print_key = tunnel_print_key,
	.print_options = tunnel_print_options,
	.needs = tunnel_needs,
	.check = tunnel_check,
	.apply = tunnel_apply,
	.notify = tunnel_notify,
	.in_place = true,
};

/* ---- ipcache ---- */

static int ipcache_parse(const struct parse *p, void *data, struct err *e)
{
	struct ipcache_conf *c = data;
	const struct arg *a;

	c->prefix = parse_arg(p, "ipcache")->net;
	if ((a = parse_arg(p, "identity")))
		c->identity = (uint32_t)a->n;
	if (!(a = parse_arg(p, "remote")))
		return 0;
	c->remote = a->ip;
	return parse_remote("ipcache", &c->prefix, &c->remote, e);
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
	char b[IP_STRLEN];

	fprintf(f, " identity %u", c->identity);
	if (!ip_is_zero(&c->remote))
		fprintf(f, " remote %s", ip_print(&c->remote, b));
}

static void ipcache_needs(const void *data, config_word_fn *fn, void *arg)
{
	const struct ipcache_conf *c = data;

	if (!ip_is_zero(&c->remote))
		fn(arg, remote_word(&c->remote));
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
	return ip_is_zero(&c->remote) ? 0 : check_remote(tx, "ipcache", &c->prefix, &c->remote, e);
}

static int ipcache_apply(const void *old, const void *now, struct err *e)
{
	const struct ipcache_conf *c = now;

	if (!c)
		return ipcache_del(&((const struct ipcache_conf *)old)->prefix, e);
	return ipcache_set(&c->prefix, c->identity, ip_is_zero(&c->remote) ? NULL : &c->remote, 0, e);
}

const struct config_kind kind_ipcache = {
	.name = "ipcache",
	.key = "ipcache PREFIX",
	.options = "identity IDENTITY [remote ADDR]",
	.help = "who lives behind a prefix, and on which remote node",
	.size = sizeof(struct ipcache_conf),
	.parse = ipcache_parse,
	.print_key = ipcache_print_key,
	.print_options = ipcache_print_options,
	.needs = ipcache_needs,
	.check = ipcache_check,
	.apply = ipcache_apply,
	.in_place = true,
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

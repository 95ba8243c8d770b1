/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints as configuration. What the running endpoint learned (device index, MAC, adjacency, policy set) is carried
 * over when it changes. Control thread. */
#include "cli/config.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>

#include "tables/ipcache.h"
#include "tables/policy.h"
#include "xdp/health.h"

struct endpoint_conf {
	uint32_t id, identity;
	uint16_t zone;
	char device[16];
	struct mac mac; /* zero: learned */
	unsigned n_addrs;
	struct ipaddr addr[ENDPOINT_ADDRS];
};
/* The endpoint before the last change, for the hook: its adjacency is not in the configuration. */
static struct endpoint *before[ENDPOINT_ID_MAX + 1];

static void remove_family(struct endpoint_conf *c, bool v4)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_addrs; i++)
		if (ip_is4(&c->addr[i]) != v4)
			c->addr[n++] = c->addr[i];
	c->n_addrs = n;
}

static int add_addr(struct endpoint_conf *c, const struct ipaddr *a, struct err *e)
{
	char b[IP_STRLEN];

	ip_print(a, b);
	if (!ip_is_routed(a))
		return err_set(e, -EINVAL, "endpoint %u: %s is not the address of a workload: give a unicast address",
			       c->id, b);
	for (unsigned i = 0; i < c->n_addrs; i++)
		if (ip_eq(&c->addr[i], a))
			return err_set(e, -EINVAL, "endpoint %u: address %s is given twice", c->id, b);
	if (c->n_addrs == ENDPOINT_ADDRS)
		return err_set(e, -E2BIG, "endpoint %u: more than %d addresses", c->id, ENDPOINT_ADDRS);
	c->addr[c->n_addrs++] = *a;
	return 0;
}

static int parse(const struct parse *p, void *data, struct err *e)
{
	struct endpoint_conf *c = data;
	static const struct mac learned;
	const struct arg *a;
	int r;

	c->id = (uint32_t)parse_arg(p, "endpoint")->n;
	if ((a = parse_arg(p, "device")))
		snprintf(c->device, sizeof(c->device), "%s", a->text);
	if ((a = parse_arg(p, "mac")))
		c->mac = arg_is_none(a) ? learned : a->mac;
	if ((a = parse_arg(p, "identity")))
		c->identity = (uint32_t)a->n;
	if ((a = parse_arg(p, "zone")))
		c->zone = (uint16_t)a->n;
	if ((a = parse_arg(p, "attach")) && strcmp(a->text, "veth"))
		return err_set(e, -EOPNOTSUPP, "endpoint %u: attach %s is not in this version, veth is", c->id,
			       a->text);
	if (parse_has(p, "ipv4"))
		remove_family(c, true);
	if (parse_has(p, "ipv6"))
		remove_family(c, false);
	for (unsigned i = 0; i < p->n; i++)
		if (p->arg[i].type && (!strcmp(p->arg[i].label, "ipv4") || !strcmp(p->arg[i].label, "ipv6")))
			if ((r = add_addr(c, &p->arg[i].ip, e)))
				return r;
	return 0;
}

static void print_key(const void *data, FILE *f)
{
	const struct endpoint_conf *c = data;

	fprintf(f, "endpoint %u", c->id);
}

static void print_options(const void *data, FILE *f)
{
	const struct endpoint_conf *c = data;
	char b[IP_STRLEN];

	fprintf(f, " device %s", c->device);
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i < c->n_addrs; i++)
			if (ip_is4(&c->addr[i]) == !v6)
				fprintf(f, " ipv%c %s", v6 ? '6' : '4', ip_print(&c->addr[i], b));
	if (!mac_is_zero(&c->mac))
		fprintf(f, " mac %s", mac_print(&c->mac, b));
	fprintf(f, " identity %u", c->identity);
	if (c->zone)
		fprintf(f, " zone %u", c->zone);
}

static void occupies(const void *data, config_word_fn *fn, void *arg)
{
	const struct endpoint_conf *c = data;
	char word[80], b[IP_STRLEN];

	snprintf(word, sizeof(word), "device %s", c->device);
	fn(arg, word);
	for (unsigned i = 0; i < c->n_addrs; i++) {
		snprintf(word, sizeof(word), "address %s", ip_print(&c->addr[i], b));
		fn(arg, word);
	}
}

static void needs(const void *data, config_word_fn *fn, void *arg)
{
	const struct endpoint_conf *c = data;

	for (unsigned i = 0; i < c->n_addrs; i++)
		fn(arg, "=address");
}

static int check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct endpoint_conf *c = now;
	uint32_t capacity = table_defs[TABLE_ENDPOINTS].capacity;
	char own[32], shared[40];

	if (!c)
		return 0;
	const bool health = !strcmp(c->device, HEALTH_DEVICE); /* the daemon makes it */
	if (health && c->identity != ID_HEALTH)
		return err_set(e, -EINVAL, "endpoint %u: " HEALTH_DEVICE " is the health endpoint: its identity is %d",
			       c->id, ID_HEALTH);
	const bool other = !old || strcmp(((const struct endpoint_conf *)old)->device, c->device) != 0;
	if (other && !health && !if_nametoindex(c->device)) {
		if (config_devices_required)
			return err_set(e, -ENODEV, "endpoint %u: there is no device '%s'; see 'ip link'", c->id,
				       c->device);
		config_warn(tx, "endpoint %u: there is no device '%s' yet; it is served once there is", c->id,
			    c->device);
	}
	if (!c->n_addrs)
		return err_set(e, -EINVAL, "endpoint %u: ipv4 or ipv6 is missing: it needs an address", c->id);
	if (config_tx_needed(tx, "=address") > capacity)
		return err_set(e, -ENOSPC, "endpoint %u: more than %u addresses of endpoints", c->id, capacity);
	snprintf(own, sizeof(own), "endpoint %u", c->id);
	snprintf(shared, sizeof(shared), "=rules identity %u", c->identity);
	if (config_tx_needed(tx, own) + config_tx_needed(tx, shared) > POLICY_SET_RULES_MAX)
		return err_set(e, -ENOSPC, "endpoint %u: more than %d policy rules apply to it", c->id,
			       POLICY_SET_RULES_MAX);
	return 0;
}

static bool has_addr(const struct endpoint_conf *c, const struct ipaddr *a)
{
	for (unsigned i = 0; c && i < c->n_addrs; i++)
		if (ip_eq(&c->addr[i], a))
			return true;
	return false;
}

/* An address that moves: its former owner changes later in the same transaction and no longer names it. */
static int take_addr(uint32_t id, const struct ipaddr *a, struct err *e)
{
	const struct endpoint *owner = endpoint_by_addr(a);
	struct endpoint less;
	unsigned n = 0;

	if (!owner || owner->id == id)
		return 0;
	less = *owner;
	for (unsigned i = 0; i < owner->n_addrs; i++)
		if (!ip_eq(&owner->addr[i], a))
			less.addr[n++] = owner->addr[i];
	less.n_addrs = (uint8_t)n;
	return endpoint_set(&less, e);
}

static void remember(uint32_t id)
{
	const struct endpoint *live = endpoint_by_id(id);

	free(before[id]);
	before[id] = live ? malloc(sizeof(*live)) : NULL;
	if (before[id])
		*before[id] = *live;
}

static int apply(const void *old_data, const void *now_data, struct err *e)
{
	const struct endpoint_conf *old = old_data, *c = now_data;
	const struct endpoint *live;
	struct endpoint ep = { 0 };
	int r;

	remember(c ? c->id : old->id);
	if (!c)
		return endpoint_del(old->id, e);
	live = endpoint_by_id(c->id);
	ep.id = c->id;
	ep.identity = c->identity;
	ep.zone = c->zone;
	memcpy(ep.device, c->device, sizeof(ep.device));
	ep.mac = c->mac;
	ep.mac_fixed = !mac_is_zero(&c->mac);
	ep.n_addrs = (uint8_t)c->n_addrs;
	memcpy(ep.addr, c->addr, c->n_addrs * sizeof(c->addr[0]));
	ep.ifindex = if_nametoindex(c->device);
	if (live) {
		ep.policy_set = live->policy_set;
		if (!strcmp(live->device, c->device)) {
			ep.ifindex = live->ifindex;
			if (!ep.mac_fixed && !live->mac_fixed)
				ep.mac = live->mac;
		}
		if (mac_eq(&live->mac, &ep.mac) && ep.ifindex == live->ifindex)
			ep.adj = live->adj;
	}
	for (unsigned i = 0; i < c->n_addrs; i++)
		if ((r = take_addr(c->id, &c->addr[i], e)))
			return r;
	return endpoint_set(&ep, e);
}

static void notify(const void *old_data, const void *now_data)
{
	const struct endpoint_conf *old = old_data, *now = now_data;
	const uint32_t id = (now ? now : old)->id;
	const struct ipnet none = { .len = 128 };

	for (unsigned i = 0; config_hooks.prefix_changed && old && i < old->n_addrs; i++) {
		struct ipnet n = none;
		n.addr = old->addr[i];
		/* an address that moved to another endpoint leads here still */
		if (!has_addr(now, &n.addr) && !endpoint_by_addr(&n.addr))
			config_hooks.prefix_changed(false, &n);
	}
	if (config_hooks.endpoint_changed)
		config_hooks.endpoint_changed(old ? before[id] : NULL, now ? endpoint_by_id(id) : NULL);
	free(before[id]);
	before[id] = NULL;
	for (unsigned i = 0; config_hooks.prefix_changed && now && i < now->n_addrs; i++) {
		struct ipnet n = none;
		n.addr = now->addr[i];
		if (!has_addr(old, &n.addr))
			config_hooks.prefix_changed(true, &n);
	}
}

const struct config_kind kind_endpoint = {
	.name = "endpoint",
	.key = "endpoint ID",
	.options = "device DEV [ipv4 none|IP4]... [ipv6 none|IP6]... [mac none|MAC] identity IDENTITY [zone N:0-65535] "
		   "[attach WORD]",
	.help = "a local workload behind a network device of this box",
	.size = sizeof(struct endpoint_conf),
	.parse = parse,
	.print_key = print_key,
	.print_options = print_options,
	.occupies = occupies,
	.needs = needs,
	.check = check,
	.apply = apply,
	.notify = notify,
	.in_place = true,
};

/* SPDX-License-Identifier: BSD-2-Clause */
/* Services and their backends as configuration. Control thread. A transaction ends with service_commit(). */
#include "cli/config.h"

#include <errno.h>

#include "tables/affinity.h"
#include "tables/maglev.h"
#include "tables/service.h"

enum { RULES_MAX = 64, AFFINITY_MAX = 0x7fffffff };

struct service_object {
	struct service_conf conf;
	struct probe_conf probe;
	uint32_t n_rules;
	struct source_rule rule[RULES_MAX];
};
struct backend_object {
	struct service_key key;
	struct ipaddr addr;
	uint16_t port;
	bool has_weight;
	uint16_t weight;
	uint8_t state;
};

static uint8_t choice(const char *text, const char *const *names)
{
	uint8_t i = 0;

	while (strcmp(text, names[i]))
		i++;
	return i;
}

static void print_addr_port(FILE *f, const struct ipaddr *a, uint16_t port)
{
	char b[IP_STRLEN];

	fprintf(f, ip_is4(a) ? "%s:%u" : "[%s]:%u", ip_print(a, b), port);
}

/* "service 10.96.0.1:80/tcp" */
static void print_service_key(const struct service_key *k, FILE *f)
{
	fputs("service ", f);
	print_addr_port(f, &k->vip, k->port);
	fprintf(f, "/%s", proto_name(k->proto));
}

static void service_word(const struct service_key *k, char word[static 80])
{
	FILE *f = fmemopen(word, 80, "w");

	*word = 0;
	if (!f)
		return;
	print_service_key(k, f);
	fclose(f);
}

static void vip_word(const struct ipaddr *a, char word[static 80])
{
	char b[IP_STRLEN];

	snprintf(word, 80, "=vip %s", ip_print(a, b));
}

/* ---- service ---- */

static int read_key(const struct parse *p, struct service_key *k, struct err *e)
{
	const struct arg *a = NULL;

	for (unsigned i = 0; i < p->n && !a; i++)
		if (p->arg[i].type && !strcmp(p->arg[i].type->name, "VIP"))
			a = &p->arg[i];
	if (!a)
		return err_set(e, -EINVAL, "service: give it as ADDR:PORT/tcp or ADDR:PORT/udp");
	*k = (struct service_key){ .vip = a->service.ip, .port = a->service.port, .proto = a->service.proto };
	if (!ip_is_routed(&k->vip))
		return err_set(e, -EINVAL, "service %s: give a unicast address that is routed", a->text);
	if (k->proto == PROTO_SCTP)
		return err_set(e, -EOPNOTSUPP, "service %s: SCTP is not in this version, only tcp and udp", a->text);
	return 0;
}

static int read_rules(const struct parse *p, struct service_object *c, struct err *e)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct arg *a = &p->arg[i];
		const bool allow = !strcmp(a->label, "source-range");
		if (!a->type || (!allow && strcmp(a->label, "source-deny")))
			continue;
		if (n == RULES_MAX)
			return err_set(e, -ENOSPC, "service: more than %d source ranges", RULES_MAX);
		if (ip_is4(&a->net.addr) != ip_is4(&c->conf.key.vip))
			return err_set(e, -EINVAL, "service: source range %s is of the other family", a->text);
		for (uint32_t k = 0; k < n; k++)
			if (c->rule[k].net.len == a->net.len && ip_eq(&c->rule[k].net.addr, &a->net.addr))
				return err_set(e, -EINVAL, "service: source range %s is given twice", a->text);
		c->rule[n++] = (struct source_rule){ .net = a->net, .allow = allow };
	}
	if (n || parse_has(p, "any-source"))
		c->n_rules = n;
	return 0;
}

static const struct probe_conf probe_default = {
	.interval_ms = 2000, .timeout_ms = 1000, .rise = 2, .fall = 3, .path = "/"
};

static int read_path(const char *text, char path[static PROBE_PATH_MAX], struct err *e)
{
	const size_t len = strlen(text);

	if (*text != '/' || len >= PROBE_PATH_MAX)
		return err_set(e, -EINVAL, "service: probe-path %.40s: give a path of 1 to %d bytes that begins with /",
			       text, PROBE_PATH_MAX - 1);
	for (const char *s = text; *s; s++)
		if (*s <= ' ' || *s > '~' || strchr("\"#\\", *s))
			return err_set(e, -EINVAL,
				       "service: probe-path: character %zu cannot be sent as it is: write it as %%XX",
				       (size_t)(s - text) + 1);
	memset(path, 0, PROBE_PATH_MAX);
	snprintf(path, PROBE_PATH_MAX, "%s", text);
	return 0;
}

static int read_probe(const struct parse *p, struct probe_conf *c, struct err *e)
{
	const struct arg *a;

	if (!c->interval_ms)
		*c = probe_default;
	if ((a = parse_arg(p, "probe")))
		c->kind = choice(a->text, probe_kinds);
	if ((a = parse_arg(p, "probe-port")))
		c->port = (uint16_t)a->n;
	if ((a = parse_arg(p, "probe-interval")))
		c->interval_ms = (uint32_t)a->n;
	if ((a = parse_arg(p, "probe-timeout")))
		c->timeout_ms = (uint32_t)a->n;
	if ((a = parse_arg(p, "probe-rise")))
		c->rise = (uint8_t)a->n;
	if ((a = parse_arg(p, "probe-fall")))
		c->fall = (uint8_t)a->n;
	a = parse_arg(p, "probe-path");
	return a ? read_path(a->text, c->path, e) : 0;
}

static void print_time(FILE *f, const char *word, uint32_t ms)
{
	fprintf(f, " %s %u%s", word, ms % 1000 ? ms : ms / 1000, ms % 1000 ? "ms" : "s");
}

static void print_probe(const struct probe_conf *c, FILE *f)
{
	const struct probe_conf *d = &probe_default;

	if (c->kind != d->kind)
		fprintf(f, " probe %s", probe_kinds[c->kind]);
	if (c->port != d->port)
		fprintf(f, " probe-port %u", c->port);
	if (strcmp(c->path, d->path))
		fprintf(f, " probe-path %s", c->path);
	if (c->interval_ms != d->interval_ms)
		print_time(f, "probe-interval", c->interval_ms);
	if (c->timeout_ms != d->timeout_ms)
		print_time(f, "probe-timeout", c->timeout_ms);
	if (c->rise != d->rise)
		fprintf(f, " probe-rise %u", c->rise);
	if (c->fall != d->fall)
		fprintf(f, " probe-fall %u", c->fall);
}

static int service_parse(const struct parse *p, void *data, struct err *e)
{
	struct service_object *c = data;
	const struct arg *a;
	int r = read_key(p, &c->conf.key, e);

	if (r)
		return r;
	if (!c->conf.maglev_size)
		c->conf.maglev_size = MAGLEV_DEFAULT;
	if ((a = parse_arg(p, "algorithm")))
		c->conf.algorithm = choice(a->text, service_algorithms);
	if ((a = parse_arg(p, "affinity")))
		c->conf.affinity = (uint32_t)a->n;
	if ((a = parse_arg(p, "traffic-policy")))
		c->conf.local = !strcmp(a->text, "local");
	if ((a = parse_arg(p, "client-address")))
		c->conf.keep_client = !strcmp(a->text, "keep");
	if ((a = parse_arg(p, "mode")))
		c->conf.dsr = !strcmp(a->text, "dsr");
	if ((a = parse_arg(p, "maglev-size")))
		c->conf.maglev_size = (uint32_t)a->n;
	if ((a = parse_arg(p, "slow-start")))
		c->conf.slow_start = (uint32_t)a->n;
	if (!maglev_size_ok(c->conf.maglev_size))
		return err_set(e, -EINVAL,
			       "service: %u is no maglev-size: 251 509 1021 2039 4093 8191 16381 32749 65521 131071",
			       c->conf.maglev_size);
	r = read_probe(p, &c->probe, e);
	return r ? r : read_rules(p, c, e);
}

static void service_print_key(const void *data, FILE *f)
{
	print_service_key(&((const struct service_object *)data)->conf.key, f);
}

static void service_print_options(const void *data, FILE *f)
{
	const struct service_object *c = data;
	char b[IP_STRLEN];

	if (c->conf.algorithm != LB_MAGLEV)
		fprintf(f, " algorithm %s", service_algorithms[c->conf.algorithm]);
	if (c->conf.affinity)
		fprintf(f, " affinity %u", c->conf.affinity);
	if (c->conf.local)
		fputs(" traffic-policy local", f);
	if (c->conf.keep_client)
		fputs(" client-address keep", f);
	if (c->conf.dsr)
		fputs(" mode dsr", f);
	if (c->conf.maglev_size != MAGLEV_DEFAULT)
		fprintf(f, " maglev-size %u", c->conf.maglev_size);
	if (c->conf.slow_start)
		fprintf(f, " slow-start %u", c->conf.slow_start);
	print_probe(&c->probe, f);
	for (uint32_t i = 0; i < c->n_rules; i++)
		fprintf(f, " source-%s %s", c->rule[i].allow ? "range" : "deny", ipnet_print(&c->rule[i].net, b));
}

static void service_needs(const void *data, config_word_fn *fn, void *arg)
{
	char word[80];

	vip_word(&((const struct service_object *)data)->conf.key.vip, word);
	fn(arg, word);
}

/* The packet arrives as it was sent, its port too. */
static int check_dsr_port(const struct backend_object *b, struct err *e)
{
	char ip[IP_STRLEN];

	if (!b->port || b->port == b->key.port)
		return 0;
	return err_set(e, -EINVAL,
		       "backend %s: port %u: with mode dsr the port cannot be changed: give %u, as the service",
		       ip_print(&b->addr, ip), b->port, b->key.port);
}

/* Those that were there before; new ones are checked for themselves. */
static int check_dsr_ports(const struct config_tx *tx, const struct service_key *k, struct err *e)
{
	int r = 0;

	for (const struct config_object *o = config_tx_first(tx, &kind_backend); o && !r; o = o->next) {
		const struct backend_object *b = (const void *)o->data;
		if (!memcmp(&b->key, k, sizeof(*k)))
			r = check_dsr_port(b, e);
	}
	return r;
}

static int service_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct service_object *c = now, *before = old;
	int r;

	if (c && before && c->conf.dsr && !before->conf.dsr && (r = check_dsr_ports(tx, &c->conf.key, e)))
		return r;
	if (c && (c->probe.kind == PROBE_TCP || c->probe.kind == PROBE_HTTP) && !c->probe.port && !c->conf.key.port)
		return err_set(e, -EINVAL, "service: probe %s of a service of port 0 needs probe-port",
			       probe_kinds[c->probe.kind]);
	if (now && config_tx_count(tx, &kind_service) > SERVICE_IDS)
		return err_set(e, -ENOSPC, "service: more than %d", SERVICE_IDS);
	return 0;
}

static int service_apply(const void *old, const void *now, struct err *e)
{
	const struct service_object *c = now ? now : old;
	int r = now ? service_set(&c->conf, c->rule, c->n_rules, e) : service_del(&c->conf.key, e);

	return r || !now ? r : service_probe_set(&c->conf.key, &c->probe, e);
}

/* Two services may share the address: it leads here until the last one goes. */
static void service_notify(const void *old_data, const void *now_data)
{
	const struct service_object *old = old_data, *now = now_data;
	const struct ipnet n = { (now ? now : old)->conf.key.vip, 128 };

	if (config_hooks.prefix_changed && !old != !now && (now || !service_is_vip(&n.addr)))
		config_hooks.prefix_changed(now != NULL, &n);
	if (config_hooks.service_changed && !old != !now)
		config_hooks.service_changed(now != NULL, &n.addr);
}

const struct config_kind kind_service = {
	.name = "service",
	.key = "service VIP",
	.options = "[algorithm maglev|random|wrr|leastconn|source] [affinity N:0-2147483647s] "
		   "[source-range PREFIX]... [source-deny PREFIX]... [any-source] [traffic-policy cluster|local] "
		   "[client-address masquerade|keep] [mode nat|dsr] [maglev-size N:251-131071] [slow-start N:0-3600s] "
		   "[probe none|tcp|http|icmp] [probe-port N:0-65535] [probe-path WORD] [probe-interval TIME] "
		   "[probe-timeout TIME] [probe-rise N:1-100] [probe-fall N:1-100]",
	.help = "an address and port whose connections are shared among backends; port 0: all other ports",
	.size = sizeof(struct service_object),
	.parse = service_parse,
	.print_key = service_print_key,
	.print_options = service_print_options,
	.needs = service_needs,
	.check = service_check,
	.apply = service_apply,
	.notify = service_notify,
	.in_place = true,
};

/* ---- backend ---- */

static int backend_parse(const struct parse *p, void *data, struct err *e)
{
	struct backend_object *c = data;
	const struct arg *a;
	int r = read_key(p, &c->key, e);

	if (r)
		return r;
	for (unsigned i = 0; i < p->n; i++)
		if (p->arg[i].type && !strcmp(p->arg[i].type->name, "ADDR:PORT")) {
			c->addr = p->arg[i].service.ip;
			c->port = p->arg[i].service.port;
		}
	if (!c->has_weight)
		c->weight = 1;
	if ((a = parse_arg(p, "weight"))) {
		c->has_weight = true;
		c->weight = (uint16_t)a->n;
	}
	if ((a = parse_arg(p, "state")))
		c->state = choice(a->text, backend_states);
	return 0;
}

static void backend_print_key(const void *data, FILE *f)
{
	const struct backend_object *c = data;
	char word[80];

	service_word(&c->key, word);
	fprintf(f, "backend %s ", word + strlen("service "));
	print_addr_port(f, &c->addr, c->port);
}

static void backend_print_options(const void *data, FILE *f)
{
	const struct backend_object *c = data;

	if (c->weight != 1)
		fprintf(f, " weight %u", c->weight);
	if (c->state != BACKEND_ACTIVE)
		fprintf(f, " state %s", backend_states[c->state]);
}

static void backend_needs(const void *data, config_word_fn *fn, void *arg)
{
	char word[80];

	service_word(&((const struct backend_object *)data)->key, word);
	fn(arg, word);
}

static int backend_check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct backend_object *c = now;
	char word[80], b[IP_STRLEN];
	int r;

	(void)old;
	if (!c)
		return 0;
	ip_print(&c->addr, b);
	if (ip_is4(&c->addr) != ip_is4(&c->key.vip))
		return err_set(e, -EINVAL, "backend %s: the service is of the other family", b);
	if (!ip_is_routed(&c->addr))
		return err_set(e, -EINVAL, "backend %s: give a unicast address that is routed", b);
	if (!c->port && c->key.port)
		return err_set(e, -EINVAL, "backend %s: port 0, the client's own, is for services of port 0", b);
	vip_word(&c->addr, word);
	if (config_tx_needed(tx, word))
		return err_set(e, -EINVAL, "backend %s: that is the address of a service", b);
	service_word(&c->key, word);
	const struct config_object *s = config_tx_find(tx, word);
	if (s && ((const struct service_object *)(const void *)s->data)->conf.dsr && (r = check_dsr_port(c, e)))
		return r;
	if (config_tx_needed(tx, word) > SERVICE_BACKENDS_MAX)
		return err_set(e, -ENOSPC, "%s: more than %d backends", word, SERVICE_BACKENDS_MAX);
	return 0;
}

static int backend_apply(const void *old, const void *now, struct err *e)
{
	const struct backend_object *c = now ? now : old;

	return now ? backend_set(&c->key, &c->addr, c->port, c->weight, (enum backend_state)c->state, e)
		   : backend_del(&c->key, &c->addr, c->port, e);
}

const struct config_kind kind_backend = {
	.name = "backend",
	.key = "backend VIP ADDR:PORT",
	.options = "[weight N:0-65535] [state active|draining|down|maintenance]",
	.help = "who serves a service's connections",
	.size = sizeof(struct backend_object),
	.parse = backend_parse,
	.print_key = backend_print_key,
	.print_options = backend_print_options,
	.needs = backend_needs,
	.check = backend_check,
	.apply = backend_apply,
	.in_place = true,
};

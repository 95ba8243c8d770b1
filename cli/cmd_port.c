/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports as configuration: parse, print, open, close. Control thread.
 * Opening is what fails for outside reasons, so a transaction does it before it touches a table. */
#include "cli/config.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/log.h"
#include "fwd/fib.h"
#include "tables/gen.h"

static const char *const modes[] = { "auto", "native", "generic" };
static const char *const checksums[] = { "auto", "trust", "complete" };
static const char *const on_exits[] = { "drop", "pass" };
static const char *const gros[] = { "auto", "keep" };
static const char *const validations[] = { "off", "strict", "loose" };

static void set_choice(const struct parse *p, const char *label, const char *const *names, unsigned n, uint8_t *v)
{
	const struct arg *a = parse_arg(p, label);

	for (unsigned i = 0; a && i < n; i++)
		if (!strcmp(a->text, names[i]))
			*v = (uint8_t)i;
}

static int set_text(const struct parse *p, const char *label, char *to, size_t size, struct err *e)
{
	const struct arg *a = parse_arg(p, label);

	if (a && strlen(a->text) >= size)
		return err_set(e, -ENAMETOOLONG, "port: '%.40s...' is longer than %zu characters", a->text, size - 1);
	if (a)
		snprintf(to, size, "%s", arg_is_none(a) ? "" : a->text);
	return 0;
}

static int parse(const struct parse *p, void *data, struct err *e)
{
	struct port_conf *c = data;
	const struct arg *a;
	int r;

	if ((r = set_text(p, "port", c->name, sizeof(c->name), e)) ||
	    (r = set_text(p, "device", c->device, sizeof(c->device), e)) ||
	    (r = set_text(p, "dpdk", c->devargs, sizeof(c->devargs), e)) ||
	    (r = set_text(p, "tap", c->tap, sizeof(c->tap), e)) || (r = set_text(p, "in", c->in, sizeof(c->in), e)) ||
	    (r = set_text(p, "out", c->out, sizeof(c->out), e)))
		return r;
	if (parse_has(p, "device"))
		strcpy(c->kind, "xdp");
	else if (parse_has(p, "pcap"))
		strcpy(c->kind, "pcap");
	else if (parse_has(p, "dpdk"))
		strcpy(c->kind, "dpdk");
	else if (parse_has(p, "mem"))
		strcpy(c->kind, "mem");
	if (strcmp(c->kind, "xdp"))
		c->device[0] = 0;
	if (strcmp(c->kind, "pcap"))
		c->in[0] = c->out[0] = 0;
	if (strcmp(c->kind, "dpdk"))
		c->devargs[0] = 0;
	if (strcmp(c->kind, "dpdk") && !parse_has(p, "tap"))
		c->tap[0] = 0;
	if ((a = parse_arg(p, "queues")))
		c->queues = arg_is_none(a) ? 0 : (uint32_t)a->n;
	set_choice(p, "mode", modes, ARRAY_LEN(modes), &c->mode);
	set_choice(p, "checksum", checksums, ARRAY_LEN(checksums), &c->checksum);
	set_choice(p, "on-exit", on_exits, ARRAY_LEN(on_exits), &c->on_exit);
	set_choice(p, "gro", gros, ARRAY_LEN(gros), &c->gro);
	set_choice(p, "source-validation", validations, ARRAY_LEN(validations), &c->source_validation);
	if ((a = parse_arg(p, "zone")))
		c->zone = (uint16_t)a->n;
	if ((a = parse_arg(p, "transit")))
		c->transit = !strcmp(a->text, "on");
	return 0;
}

static void print_key(const void *data, FILE *f)
{
	const struct port_conf *c = data;

	fprintf(f, "port %s", c->name);
}

static void print_options(const void *data, FILE *f)
{
	const struct port_conf *c = data;

	if (!strcmp(c->kind, "xdp")) {
		fprintf(f, " device %s", c->device);
	} else if (!strcmp(c->kind, "pcap")) {
		fputs(" pcap in ", f);
		word_print(f, c->in);
		fputs(" out ", f);
		word_print(f, c->out);
	} else if (!strcmp(c->kind, "dpdk")) {
		fputs(" dpdk ", f);
		word_print(f, c->devargs);
	} else {
		fprintf(f, " %s", c->kind);
	}
	if (c->tap[0])
		fprintf(f, " tap %s", c->tap);
	if (c->queues)
		fprintf(f, " queues %u", c->queues);
	if (c->mode)
		fprintf(f, " mode %s", modes[c->mode]);
	if (c->checksum)
		fprintf(f, " checksum %s", checksums[c->checksum]);
	if (c->on_exit)
		fprintf(f, " on-exit %s", on_exits[c->on_exit]);
	if (c->transit)
		fputs(" transit on", f);
	if (c->gro)
		fprintf(f, " gro %s", gros[c->gro]);
	if (c->source_validation)
		fprintf(f, " source-validation %s", validations[c->source_validation]);
	if (c->zone)
		fprintf(f, " zone %u", c->zone);
}

static void occupies(const void *data, config_word_fn *fn, void *arg)
{
	const struct port_conf *c = data;
	char word[300];

	if (c->device[0]) {
		snprintf(word, sizeof(word), "device %s", c->device);
		fn(arg, word);
	}
	if (c->tap[0]) {
		snprintf(word, sizeof(word), "device %s", c->tap);
		fn(arg, word);
	}
	if (c->devargs[0]) { /* its name; options follow */
		snprintf(word, sizeof(word), "DPDK device %.*s", (int)strcspn(c->devargs, ","), c->devargs);
		fn(arg, word);
	}
	if (c->out[0]) {
		snprintf(word, sizeof(word), "file %s", c->out);
		fn(arg, word);
	}
}

static int check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	const struct port_conf *c = now;

	(void)tx;
	(void)old;
	if (c && !strcmp(c->name, "none"))
		return err_set(e, -EINVAL, "port none: 'none' takes options back: give it another name");
	if (c && c->tap[0] && strcmp(c->kind, "dpdk"))
		return err_set(e, -EINVAL, "port %s: tap %s goes with a dpdk device only", c->name, c->tap);
	return 0;
}

/* Do they differ only in what decisions read? Then the device stays as it is. */
static bool same_device(const struct port_conf *a, const struct port_conf *b)
{
	return strcmp(a->kind, b->kind) == 0 && strcmp(a->device, b->device) == 0 && strcmp(a->in, b->in) == 0 &&
	       strcmp(a->out, b->out) == 0 && strcmp(a->devargs, b->devargs) == 0 && strcmp(a->tap, b->tap) == 0 &&
	       a->queues == b->queues && a->mode == b->mode && a->checksum == b->checksum && a->on_exit == b->on_exit;
}

/* Keeps the index, so that pools and adjacencies go on meaning this port. */
static int reopen(const struct port_conf *old, const struct port_conf *now, struct err *e)
{
	struct port *port = port_by_name(old->name);
	struct err again;
	int r, index = -1;

	if (port) {
		index = port->index;
		port_close(port, true);
	}
	r = port_open(now, index, NULL, e);
	if (r && port_open(old, index, NULL, &again))
		log_error("port %s is gone: %s", old->name, again.text);
	return r;
}

static int apply(const void *old_data, const void *now_data, struct err *e)
{
	const struct port_conf *old = old_data, *now = now_data;
	struct port *port = old ? port_by_name(old->name) : NULL;

	if (!now)
		return port_close(port, true);
	if (!old)
		return port_open(now, -1, NULL, e);
	if (port && same_device(old, now)) {
		port->conf.transit = now->transit;
		port->conf.source_validation = now->source_validation;
		port->conf.zone = now->zone;
		port->conf.gro = now->gro;
		if (old->zone != now->zone)
			fib_ports_changed();
		if (port->ops->changed)
			port->ops->changed(port);
		gen_bump_extra();
		return 0;
	}
	return reopen(old, now, e);
}

static void notify(const void *old_data, const void *now_data)
{
	const struct port_conf *old = old_data, *now = now_data;

	if (!config_hooks.port_changed)
		return;
	if (old)
		config_hooks.port_changed(false, old, NULL);
	if (now)
		config_hooks.port_changed(true, now, port_by_name(now->name));
}

const struct config_kind kind_port = {
	.name = "port",
	.key = "port NAME",
	.options = "(device DEV|dpdk DEVARGS|pcap in FILE out FILE|mem) [tap none|DEV] [queues none|N:1-64] "
		   "[mode native|generic|auto] "
		   "[checksum auto|trust|complete] [on-exit drop|pass] [transit on|off] "
		   "[source-validation off|strict|loose] [zone N:0-65535] [gro auto|keep]",
	.help = "where frames enter and leave: a network device (AF_XDP), a DPDK device, capture files, or memory "
		"(tests)",
	.size = sizeof(struct port_conf),
	.parse = parse,
	.print_key = print_key,
	.print_options = print_options,
	.occupies = occupies,
	.check = check,
	.apply = apply,
	.notify = notify,
	.in_place = true,
	.early = true,
};

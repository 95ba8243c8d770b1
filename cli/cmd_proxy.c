/* SPDX-License-Identifier: BSD-2-Clause */
/* Redirected connections: 'show proxy', and 'lookup proxy', by which a proxy asks about one (dist/sluice_proxy.h). Control thread,
 * RCU online; workers may change a row meanwhile. */
#include "cli/commands.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/show.h"
#include "tables/proxy.h"

static void proxy_row(struct out *o, const struct proxy_key *k, const struct proxy_value *v)
{
	out_row(o);
	out_str(o, "proto", proto_name((uint8_t)k->proto));
	out_ip(o, "src", &k->src);
	out_u64(o, "sport", ntohs(k->sport));
	out_ip(o, "dst", &k->dst);
	out_u64(o, "dport", ntohs(k->dport));
	out_ip(o, "original_dst", &v->dst);
	out_u64(o, "original_dport", ntohs(v->dport));
	out_u64(o, "identity", LOAD_RELAXED(&v->identity));
	out_u64(o, "port", LOAD_RELAXED(&v->port));
}

void show_proxy(struct out *o)
{
	for (uint32_t i = proxy_next(0); i && !out_full(o); i = proxy_next(i))
		proxy_row(o, proxy_key_at(i), proxy_at(i));
}

static int run_lookup(struct call *c, struct err *e)
{
	const struct arg *from = parse_arg(c->p, "from"), *to = parse_arg(c->p, "to");
	const struct proxy_key k = { .src = from->service.ip,
				     .dst = to->service.ip,
				     .sport = htons(from->service.port),
				     .dport = htons(to->service.port),
				     .proto = parse_has(c->p, "udp") ? PROTO_UDP : PROTO_TCP };
	const uint32_t row = proxy_find(&k);
	if (!row)
		return err_set(e, -ENOENT, "no redirected connection from %s to %s: 'show proxy' lists them",
			       from->text, to->text);
	struct out *o = out_new(c->json, NULL, 0, 0);
	char *text = NULL;
	proxy_row(o, proxy_key_at(row), proxy_at(row));
	int r = out_end(o, &text, e);
	if (!r)
		fputs(text, c->out);
	free(text);
	out_free(o);
	return r;
}

const struct command commands_proxy[] = {
	{ "lookup proxy (tcp|udp) from ADDR:PORT to ADDR:PORT",
	  "a redirected connection by peer and own address of the proxy's socket: its client, where it meant to go",
	  run_lookup, 0, NULL, NULL },
	{ NULL, NULL, NULL, 0, NULL, NULL },
};

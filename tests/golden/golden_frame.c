/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of a golden file: built from text, sent, sent again, compared byte by byte. */
#include "tests/golden/golden.h"

#include <ctype.h>
#include <stdlib.h>

#include "fwd/gate.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/gen.h"
#include "tables/tunnel.h"

enum { TEXT_MAX = 8192, PLACEHOLDER = 61000, TUNNEL_PORT_MIN = 49152 };

/* Where a frame comes from or goes to, as 'in' and 'out' say. */
struct place {
	struct port *port;
	bool stamped; /* gate, with the words that name an endpoint or the host */
	enum gate_kind kind;
	uint32_t id;
	struct mac mac; /* of the endpoint, the host, or the last neighbour of the port */
};

/* ---- counters ---- */

void golden_counts(struct counts *c)
{
	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < 256; i++)
		c->drops[i] = workers_drops(i).packets;
	for (unsigned i = 0; i < n_workers; i++) {
		c->replayed += workers[i]->replayed;
		c->decided += workers[i]->decided;
	}
}

static uint64_t all_drops(const struct counts *c)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < 256; i++)
		sum += c->drops[i];
	return sum;
}

void golden_collect(struct golden *g)
{
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		if (!ports[i] || !ports[i]->ops)
			continue;
		for (;;) {
			struct out_frame *f = &g->frames[MIN(g->n_out, (unsigned)OUT_MAX - 1)];
			f->len = box_take(ports[i], f->data);
			if (!f->len)
				break;
			if (g->n_out == OUT_MAX) {
				golden_fail(g, "more than %d frames came out", OUT_MAX);
				return;
			}
			f->port = ports[i];
			f->named = false;
			g->n_out++;
		}
	}
}

/* ---- where ---- */

/* "up0", "gate from endpoint 10", "gate to host", "host"; the rest of '*words' is the packet. */
static bool read_place(struct golden *g, char **words, struct place *at)
{
	char *name = golden_word(words);
	bool host = name && !strcmp(name, "host");
	*at = (struct place){ .port = golden_port(g, host ? "gate" : name) };
	if (!at->port)
		return false;
	at->mac = g->gateway[at->port->index];
	if (mac_is_zero(&at->mac))
		at->mac = (struct mac){ { 2, 0, 0, 0, 0, 9 } };
	if (at->port->index == PORT_GATE && !host && (!strncmp(*words, "from ", 5) || !strncmp(*words, "to ", 3))) {
		golden_word(words);
		char *what = golden_word(words);
		host = what && !strcmp(what, "host");
		if (what && !strcmp(what, "proxy")) {
			char *port = golden_word(words);
			at->stamped = true;
			at->kind = GATE_PROXY;
			at->id = port ? (uint32_t)strtoul(port, NULL, 10) : 0;
			at->mac = box_host_mac;
		} else if (!host) {
			char *id = golden_word(words);
			const struct endpoint *ep = endpoint_by_id(id ? (uint32_t)strtoul(id, NULL, 10) : 0);
			if (!what || strcmp(what, "endpoint") || !ep) {
				golden_fail(g,
					    "gate from|to endpoint ID|host was expected, of an endpoint that exists");
				return false;
			}
			at->stamped = true;
			at->kind = GATE_ENDPOINT;
			at->id = ep->id;
			at->mac = ep->mac;
			if (mac_is_zero(&ep->mac))
				at->mac = (struct mac){ { 2, 0, 0, 0, 0x0a, (uint8_t)ep->id } };
		}
	}
	if (host) {
		at->stamped = true;
		at->kind = GATE_HOST;
		at->mac = box_host_mac;
	}
	return true;
}

static bool has_eth(const char *packet)
{
	static const char *const words[] = { "eth", "hex", "data", "trunc" };
	packet += strspn(packet, " \t");
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (!strncmp(packet, words[i], strlen(words[i])))
			return true;
	return false;
}

static uint32_t build(struct golden *g, const char *text, uint8_t *frame)
{
	struct err e = { "" };
	int n = pkttext_parse(text, frame, &e);
	if (n < 0)
		golden_fail(g, "%s", e.text);
	return n < 0 ? 0 : (uint32_t)n;
}

/* ---- variables ---- */

struct variables {
	unsigned n;
	char name[8][16]; /* "*" or the name; its placeholder is PLACEHOLDER + index */
	char value[8][16];
};

/* 'text' with '*' and $NAME replaced: by values where there are some, else by placeholders. */
static void expand(struct golden *g, const char *text, char *to, struct variables *v)
{
	unsigned n = 0;
	while (*text) {
		bool star = *text == '*';
		if (!star && *text != '$') {
			*to++ = *text++;
			continue;
		}
		size_t len = 1;
		while (!star && isalnum((unsigned char)text[len]))
			len++;
		char name[16];
		const char *value = NULL;
		snprintf(name, sizeof(name), "%.*s", (int)len, text);
		text += len;
		for (unsigned i = 0; i < g->n_names && !star; i++)
			if (!strcmp(g->names[i].name, name))
				value = g->names[i].value;
		if (value) {
			to += sprintf(to, "%s", value);
			continue;
		}
		n = MIN(n, (unsigned)ARRAY_LEN(v->name) - 1);
		snprintf(v->name[n], sizeof(v->name[n]), "%s", name);
		to += v->value[n][0] ? sprintf(to, "%s", v->value[n]) : sprintf(to, "%u", PLACEHOLDER + n);
		n++;
	}
	*to = 0;
	v->n = n;
}

/* ---- in ---- */

static uint32_t build_in(struct golden *g, const struct place *at, const char *packet, uint8_t *frame)
{
	char text[TEXT_MAX + 64], given[TEXT_MAX], from[MAC_STRLEN], to[MAC_STRLEN];
	struct variables v = { 0 };
	expand(g, packet, given, &v);
	if (v.n)
		golden_fail(g, "%s has no value yet", v.name[0]);
	packet = given;
	const struct mac *gateway = at->stamped ? &gate_gateway_mac : &at->port->mac;
	if (has_eth(packet))
		snprintf(text, sizeof(text), "%s", packet);
	else
		snprintf(text, sizeof(text), "eth %s > %s | %s", mac_print(&at->mac, from), mac_print(gateway, to),
			 packet);
	uint32_t n = build(g, text, frame);
	if (!at->stamped || n < 12)
		return n;
	/* what the kernel end of the gate does (tables/abi/gate.h) */
	enum gate_kind kind = at->kind == GATE_ENDPOINT && frame[0] & 1 ? GATE_ENDPOINT_BCAST : at->kind;
	struct mac stamp = gate_stamp(kind, at->id);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, stamp.b, 6);
	return n;
}

/* May a packet of that shape be replayed? Says the harness, by a list of its own. */
static bool plain(const uint8_t *f, uint32_t n, bool uplink)
{
	if (n < 14 + 28 || (uplink && f[0] & 1))
		return false;
	bool v6 = rd16(f + 12) == ET_IP6;
	const uint8_t *h = f + 14, *l4 = h + (v6 ? 40 : 20);
	if (!v6 && (rd16(f + 12) != ET_IP4 || h[0] != 0x45 || rd16(h + 6) & 0x3fff || h[8] < 2))
		return false;
	if (v6 && (n < 14 + 48 || h[7] < 2))
		return false;
	uint8_t proto = v6 ? h[6] : h[9];
	if (proto == PROTO_TCP)
		return n >= (uint32_t)(l4 - f) + 20 && !(l4[13] & 7);
	if (proto != PROTO_UDP)
		return false;
	struct ipaddr dst = v6 ? ip_from6(h + 24) : ip_from4(ld32(h + 16));
	int v = uplink ? vtep_find(&dst, rd16(l4 + 2)) : -1;
	if (v < 0)
		return true;
	/* in identity mode the VNI is a claim that is checked for each packet; CE and ECT(1) must be merged */
	const unsigned ecn = (v6 ? h[1] >> 4 : h[1]) & 3;
	const uint32_t inner = (uint32_t)(l4 - f) + 16;
	if (vteps[v].mode == VNI_IDENTITY || ecn == 3 || n <= inner + ETH_HLEN_ + 1)
		return false;
	const uint8_t *e = f + inner, tos = e[ETH_HLEN_ + 1];
	const unsigned inside = (rd16(e + 12) == ET_IP6 ? tos >> 4 : tos) & 3;
	return !(ecn == 1 && inside == 2) && plain(e, n - inner, true);
}

/* Every TCP connection is open: while one opens or closes, its packets are decided one by one. */
static bool all_open(void)
{
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t c = ct_next(ct_of(v6), 0); c; c = ct_next(ct_of(v6), c)) {
			const struct conn *k = ct_conn(ct_of(v6), c);
			if (k->proto == PROTO_TCP && k->state != CT_ESTABLISHED)
				return false;
		}
	return true;
}

/* The last 'in' once more: by replay if it was decided, else the other way; the same bytes must come out. */
static void other_way(struct golden *g)
{
	struct counts was, now;
	uint8_t data[BOX_FRAME_MAX];
	char a[PKTTEXT_MAX], b[PKTTEXT_MAX];
	golden_counts(&was);
	bool replay = was.replayed == g->before.replayed;
	if (!replay)
		gen_bump_extra();
	if (box_send(g->in_port, g->in, g->in_len))
		golden_fail(g, "port %s takes no frame", g->in_port->conf.name);
	box_run();
	golden_counts(&now);
	if (replay && (now.replayed != was.replayed + 1 || now.decided != was.decided) && all_open())
		golden_fail(g, "sent again, the packet was not replayed: %s", pkttext_print(g->in, g->in_len, a));
	if (!replay && now.replayed != was.replayed)
		golden_fail(g, "the packet was replayed although everything had changed: %s",
			    pkttext_print(g->in, g->in_len, a));
	uint32_t n = box_take(g->frames[0].port, data);
	if (n != g->frames[0].len || memcmp(data, g->frames[0].data, n))
		golden_fail(g, "%s gives other bytes\n    decided: %s\n    other:   %s",
			    replay ? "replay" : "a new decision", pkttext_print(g->frames[0].data, g->frames[0].len, a),
			    pkttext_print(data, n, b));
}

static void send_it(struct golden *g)
{
	struct counts now;
	golden_counts(&g->before);
	memset(g->dropped, 0, sizeof(g->dropped));
	g->n_out = 0;
	g->named_none = g->named_held = false;
	g->in_line = g->line + 1;
	if (box_send(g->in_port, g->in, g->in_len))
		golden_fail(g, "port %s takes no frame", g->in_port->conf.name);
	box_run();
	golden_collect(g);
	golden_counts(&now);
	g->in_replayed = now.replayed - g->before.replayed;
	if (!g->noreplay && g->n_out == 1 && !golden_held() && all_drops(&now) == all_drops(&g->before) &&
	    plain(g->in, g->in_len, g->in_port->index != PORT_GATE))
		other_way(g);
}

void golden_in(struct golden *g, char *words)
{
	struct place at;
	golden_finish_in(g);
	if (g->failed || !read_place(g, &words, &at))
		return;
	g->in_len = build_in(g, &at, words, g->in);
	g->in_port = at.port;
	g->has_in = true;
	if (!g->failed)
		send_it(g);
}

void golden_again(struct golden *g)
{
	static struct out_frame was[OUT_MAX];
	char a[PKTTEXT_MAX], b[PKTTEXT_MAX];
	golden_finish_in(g);
	if (g->failed || !g->has_in) {
		golden_fail(g, "again: there was no 'in' that went well");
		return;
	}
	unsigned n = g->n_out;
	memcpy(was, g->frames, n * sizeof(was[0]));
	send_it(g);
	if (g->in_replayed != 1)
		golden_fail(g, "again: the packet was not replayed");
	for (unsigned i = 0; i < MIN(n, g->n_out); i++) {
		g->frames[i].named = true;
		if (was[i].port != g->frames[i].port || was[i].len != g->frames[i].len ||
		    memcmp(was[i].data, g->frames[i].data, was[i].len))
			golden_fail(g, "again: not the same bytes\n    first: %s\n    again: %s",
				    pkttext_print(was[i].data, was[i].len, a),
				    pkttext_print(g->frames[i].data, g->frames[i].len, b));
	}
	if (n != g->n_out)
		golden_fail(g, "again: %u frames came out instead of %u", g->n_out, n);
}

void golden_flood(struct golden *g, unsigned n)
{
	uint8_t rest[BOX_FRAME_MAX];
	golden_finish_in(g);
	if (g->failed || !g->has_in)
		return;
	golden_counts(&g->before);
	for (unsigned i = 0; i < n; i++)
		if (box_send(g->in_port, g->in, g->in_len))
			golden_fail(g, "flood: port %s takes no frame", g->in_port->conf.name);
	box_run();
	for (unsigned i = 0; i < PORTS_MAX; i++)
		while (ports[i] && ports[i]->ops && box_take(ports[i], rest))
			;
	g->n_out = 0;
}

void golden_finish_in(struct golden *g)
{
	struct counts now;
	char text[PKTTEXT_MAX];
	bool quiet = !g->n_out && !g->named_none && !g->named_held;
	golden_counts(&now);
	for (unsigned i = 0; i < g->n_out; i++)
		if (!g->frames[i].named)
			golden_fail(g, "line %u: unexpected: out %s %s", g->in_line, g->frames[i].port->conf.name,
				    pkttext_print(g->frames[i].data, g->frames[i].len, text));
	for (unsigned i = 0; i < 256; i++) {
		quiet &= now.drops[i] == g->before.drops[i];
		if (now.drops[i] - g->before.drops[i] != g->dropped[i])
			golden_fail(g, "line %u: unexpected: drop %u (%s), %lu times", g->in_line, i, drop_text(i),
				    now.drops[i] - g->before.drops[i] - g->dropped[i]);
	}
	if (g->has_in && quiet)
		golden_fail(g, "line %u: nothing was said about what happens to it, and nothing did", g->in_line);
	/* what timers do between two packets counts for none of them */
	golden_counts(&g->before);
	memset(g->dropped, 0, sizeof(g->dropped));
}

/* ---- out ---- */

/* Values of placeholders: the words that stand at their places in the text of what came. */
static void find_values(const char *want, const char *have, struct variables *v)
{
	while (*want && *have) {
		size_t a = strcspn(want, " ="), b = strcspn(have, " =");
		unsigned i = (unsigned)strtoul(want, NULL, 0) - PLACEHOLDER;
		if (i < v->n)
			snprintf(v->value[i], sizeof(v->value[i]), "%.*s", (int)MIN(b, (size_t)15), have);
		want += a + (want[a] != 0);
		have += b + (have[b] != 0);
	}
}

static void bind_names(struct golden *g, const struct variables *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		if (v->name[i][0] == '*') {
			if (strtoul(v->value[i], NULL, 10) < TUNNEL_PORT_MIN)
				golden_fail(g, "a tunnel's source port is %s (RFC 7348 wants 49152 and up)",
					    v->value[i]);
		} else if (g->n_names < NAMES_MAX) {
			snprintf(g->names[g->n_names].name, sizeof(g->names[0].name), "%s", v->name[i]);
			snprintf(g->names[g->n_names++].value, sizeof(g->names[0].value), "%s", v->value[i]);
		}
	}
}

static void compare(struct golden *g, const char *text, const struct out_frame *f)
{
	char expanded[2 * TEXT_MAX], want[PKTTEXT_MAX], have[PKTTEXT_MAX];
	uint8_t frame[BOX_FRAME_MAX];
	struct variables v = { 0 };
	pkttext_print(f->data, f->len, have);
	expand(g, text, expanded, &v);
	uint32_t n = build(g, expanded, frame);
	if (v.n && !g->failed) {
		find_values(pkttext_print(frame, n, want), have, &v);
		expand(g, text, expanded, &v);
		n = build(g, expanded, frame);
	}
	if (g->failed)
		return;
	if (n == f->len && !memcmp(frame, f->data, n)) {
		bind_names(g, &v);
		return;
	}
	uint32_t at = 0;
	while (at < n && at < f->len && frame[at] == f->data[at])
		at++;
	golden_fail(g, "out %s differs from byte %u on\n    want: %s\n    came: %s", f->port->conf.name, at,
		    pkttext_print(frame, n, want), have);
}

static void show_all(struct golden *g)
{
	char text[PKTTEXT_MAX];
	struct counts now;
	golden_counts(&now);
	for (unsigned i = 0; i < g->n_out; i++)
		fprintf(g->out, "    %s: out %s %s\n", g->frames[i].named ? "named" : "came",
			g->frames[i].port->conf.name, pkttext_print(g->frames[i].data, g->frames[i].len, text));
	for (unsigned i = 0; i < 256; i++)
		if (now.drops[i] != g->before.drops[i])
			fprintf(g->out, "    drop %u (%s)\n", i, drop_text(i));
}

void golden_out(struct golden *g, char *words)
{
	struct place at;
	char text[TEXT_MAX + 64], from[MAC_STRLEN], to[MAC_STRLEN];
	golden_collect(g);
	if (!strcmp(words, "none")) {
		g->named_none = true;
		for (unsigned i = 0; i < g->n_out && !g->failed; i++)
			if (!g->frames[i].named)
				golden_fail(g, "out none, but");
		if (g->failed)
			show_all(g);
		return;
	}
	if (!read_place(g, &words, &at))
		return;
	struct out_frame *f = NULL;
	for (unsigned i = 0; i < g->n_out && !f; i++)
		if (g->frames[i].port == at.port && !g->frames[i].named)
			f = &g->frames[i];
	if (!f) {
		golden_fail(g, "nothing more came out of %s", at.port->conf.name);
		show_all(g);
		return;
	}
	f->named = true;
	struct mac stamp = gate_stamp(at.kind, at.id);
	if (has_eth(words))
		snprintf(text, sizeof(text), "%s", words);
	else
		snprintf(text, sizeof(text), "eth %s > %s | %s", mac_print(at.stamped ? &at.mac : &at.port->mac, from),
			 mac_print(at.stamped ? &stamp : &at.mac, to), words);
	compare(g, text, f);
}

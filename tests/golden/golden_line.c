/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of a golden file (golden.c lists them): everything but frames. */
#include "tests/golden/golden.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "fwd/base/clock.h"
#include "fwd/claim.h"
#include "fwd/resolve.h"
#include "tables/ct.h"
#include "tables/nat.h"

void golden_fail(struct golden *g, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(g->out, "  %s:%u: ", g->path, g->line + 1);
	vfprintf(g->out, fmt, ap);
	fputc('\n', g->out);
	va_end(ap);
	g->failed = true;
}

char *golden_word(char **s)
{
	char *w = *s + strspn(*s, " \t");
	if (!*w)
		return NULL;
	*s = w + strcspn(w, " \t");
	if (**s)
		*(*s)++ = 0;
	return w;
}

struct port *golden_port(struct golden *g, const char *name)
{
	struct port *p = name ? port_by_name(name) : NULL;
	if (!p || !p->ops) {
		golden_fail(g, "there is no port %s", name ? name : "(missing)");
		return NULL;
	}
	return p;
}

static uint64_t to_number(struct golden *g, const char *s)
{
	char *end;
	unsigned long long v = s ? strtoull(s, &end, 10) : 0;
	if (!s || end == s || *end)
		golden_fail(g, "a number was expected, not '%s'", s ? s : "");
	return v;
}

static void check_err(struct golden *g, int err, const struct err *e)
{
	if (err)
		golden_fail(g, "%s", e->text[0] ? e->text : strerror(-err));
}

/* What may follow a change. */
static void changed(struct golden *g)
{
	if (g->failed)
		return;
	box_run();
	golden_collect(g);
}

/* ---- configuration ---- */

static void open_box(struct golden *g)
{
	struct err e = { "" };
	if (g->opened)
		return;
	g->opened = true;
	check_err(g, box_open(&g->limits, &e), &e);
	golden_counts(&g->before);
}

static void add_command(struct golden *g, const char *command)
{
	size_t have = g->commands ? strlen(g->commands) : 0;
	/* as many lines in front as in the file, so that errors name the right one */
	size_t lines = g->line - (g->commands ? g->commands_line : 0);
	char *s = realloc(g->commands, have + lines + strlen(command) + 1);
	if (!s)
		abort();
	memset(s + have, '\n', lines);
	strcpy(s + have + lines, command);
	g->commands = s;
	g->commands_line = g->line;
}

static void flush_commands(struct golden *g)
{
	struct err e = { "" };
	char *text = g->commands;
	if (!text)
		return;
	g->commands = NULL;
	open_box(g);
	FILE *warnings = fopen("/dev/null", "w"); /* devices that do not exist */
	check_err(g, warnings ? box_commands(g->path, text, warnings, &e) : -errno, &e);
	if (warnings)
		fclose(warnings);
	free(text);
	changed(g);
}

static void do_limits(struct golden *g, char *words)
{
	for (char *w; (w = golden_word(&words));) {
		if (sscanf(w, "frames=%u", &g->limits.frames) + sscanf(w, "tcp=%u", &g->limits.ct_tcp) +
			    sscanf(w, "other=%u", &g->limits.ct_other) <=
		    0)
			golden_fail(g, "limits: unknown '%s'", w);
	}
}

static void do_route(struct golden *g, char *words, bool add)
{
	struct err e = { "" };
	char *prefix = golden_word(&words), *port = golden_word(&words), *name = golden_word(&words);
	char *via = golden_word(&words), *gateway = golden_word(&words), *metric = NULL;
	if (via && !strcmp(via, "metric")) {
		metric = gateway;
		via = gateway = NULL;
	} else if ((metric = golden_word(&words))) {
		metric = golden_word(&words);
	}
	static const char *const kinds[] = { [FIB_LOCAL] = "local",         [FIB_BROADCAST] = "broadcast",
					     [FIB_BLACKHOLE] = "blackhole", [FIB_UNREACHABLE] = "unreachable",
					     [FIB_PROHIBIT] = "prohibit",   [FIB_THROW] = "throw" };
	for (unsigned k = 0; k < ARRAY_LEN(kinds) && port && !name; k++)
		if (kinds[k] && !strcmp(port, kinds[k])) {
			check_err(g, box_route_nowhere(add, prefix, k, &e), &e);
			changed(g);
			return;
		}
	if (!name || strcmp(port, "port") || (via && (strcmp(via, "via") || !gateway))) {
		golden_fail(g, "route PREFIX port NAME [via GW] [metric N] was expected");
		return;
	}
	struct port *p = strcmp(name, "kernel") ? golden_port(g, name) : NULL;
	if (!g->failed)
		check_err(g, box_route_metric(add, prefix, p, gateway, metric ? (uint32_t)to_number(g, metric) : 0, &e),
			  &e);
	changed(g);
}

static void do_local(struct golden *g, char *words)
{
	struct err e = { "" };
	char *addr = golden_word(&words), *port = golden_word(&words), *name = golden_word(&words);
	if (!name || strcmp(port, "port")) {
		golden_fail(g, "local ADDR port NAME was expected");
		return;
	}
	struct port *p = strcmp(name, "host") ? golden_port(g, name) : NULL;
	if (!g->failed)
		check_err(g, box_local(addr, p, &e), &e);
	changed(g);
}

static void do_neigh(struct golden *g, char *words)
{
	struct port *p = golden_port(g, golden_word(&words));
	char *addr = golden_word(&words), *what = golden_word(&words);
	struct ipaddr a;
	struct mac m = { { 0 } };
	if (!p)
		return;
	bool failed = what && !strcmp(what, "failed"), gone = what && !strcmp(what, "gone");
	if (!what || !ip_parse(addr, &a) || (!failed && !gone && !mac_parse(what, &m))) {
		golden_fail(g, "neigh PORT ADDR MAC|failed|gone was expected");
		return;
	}
	if (!failed && !gone)
		g->gateway[p->index] = m;
	resolve_kernel_neighbor(p->ifindex, &a, failed || gone ? NULL : &m, !failed && !gone, failed);
	changed(g);
}

static void do_port(struct golden *g, char *words)
{
	struct port *p = golden_port(g, golden_word(&words));
	char *what = golden_word(&words);
	if (!p)
		return;
	if (what && !strcmp(what, "mtu"))
		p->mtu = (uint16_t)to_number(g, golden_word(&words));
	else if (what && (!strcmp(what, "up") || !strcmp(what, "down")))
		p->up = !strcmp(what, "up");
	else if (what && !strcmp(what, "veth"))
		p->rx_csum = PKT_CSUM_MAYBE_PARTIAL;
	else if (what && !strcmp(what, "beside"))
		p->kernel_beside = true;
	else
		golden_fail(g, "port NAME down|up|veth|beside|mtu N was expected");
	resolve_port_changed(p->index);
	changed(g);
}

static void do_clock(struct golden *g, char *words)
{
	char *w = golden_word(&words);
	if (!w || *w != '+') {
		golden_fail(g, "clock +SECONDS was expected");
		return;
	}
	w[strcspn(w, "s")] = 0;
	box_advance(to_number(g, w + 1) * NS_PER_S);
	golden_collect(g);
}

/* ---- expectations ---- */

static void expect_count(struct golden *g, const char *what, uint64_t have, uint64_t want)
{
	if (have != want)
		golden_fail(g, "%s: %lu instead of %lu", what, have, want);
}

static void do_drop(struct golden *g, char *words)
{
	char *reason = golden_word(&words), *count = golden_word(&words);
	unsigned number = reason ? (unsigned)strtoul(reason, NULL, 10) : 0;
	for (unsigned i = 0; i < 256 && reason; i++)
		if (drop_symbol(i) && !strcmp(drop_symbol(i), reason))
			number = i;
	if (!number || number > 255 || !drop_text(number)) {
		golden_fail(g, "'%s' is no drop reason", reason ? reason : "");
		return;
	}
	struct counts now;
	golden_counts(&now);
	g->dropped[number] = count ? to_number(g, count) : 1;
	if (now.drops[number] - g->before.drops[number] == g->dropped[number])
		return;
	golden_fail(g, "drop %u (%s): %lu instead of %lu", number, drop_text(number),
		    now.drops[number] - g->before.drops[number], g->dropped[number]);
	for (unsigned i = 0; i < 256; i++)
		if (now.drops[i] != g->before.drops[i])
			fprintf(g->out, "  there were: %u (%s): %lu\n", i, drop_text(i),
				now.drops[i] - g->before.drops[i]);
}

static void do_expect(struct golden *g, char *words)
{
	struct err e = { "" };
	char *number = strrchr(words, ' '), *text = NULL;
	size_t size;
	if (!number || strncmp(words, "show ", 5)) {
		golden_fail(g, "expect show WORDS N was expected");
		return;
	}
	*number++ = 0;
	FILE *f = open_memstream(&text, &size);
	int err = cli_execute(words, true, f, &e);
	fclose(f);
	check_err(g, err, &e);
	json_t *rows = json_loads(text, 0, NULL);
	if (!err && json_array_size(rows) != to_number(g, number))
		golden_fail(g, "%s: %zu rows instead of %s: %s", words, json_array_size(rows), number, text);
	json_decref(rows);
	free(text);
}

uint64_t golden_held(void)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < n_workers; i++)
		n += workers[i]->n_held + workers[i]->n_frags;
	return n;
}

/* ---- one line ---- */

static bool frame_line(struct golden *g, const char *verb, char *rest)
{
	if (!strcmp(verb, "in"))
		golden_in(g, rest);
	else if (!strcmp(verb, "out"))
		golden_out(g, rest);
	else if (!strcmp(verb, "again"))
		golden_again(g);
	else if (!strcmp(verb, "flood"))
		golden_flood(g, (unsigned)to_number(g, golden_word(&rest)));
	else
		return false;
	return true;
}

/* "STEP TEXT ...": a line of the last explanation says that. */
static void do_says(struct golden *g, char *words)
{
	char *step = golden_word(&words), *save = NULL, *copy = g->explained ? strdup(g->explained) : NULL;
	bool found = false;
	for (char *l = copy ? strtok_r(copy, "\n", &save) : NULL; l && step; l = strtok_r(NULL, "\n", &save))
		found |= !strncmp(l, step, strlen(step)) && strstr(l, words);
	if (!found)
		golden_fail(g, "no '%s' that says '%s' in\n%s", step, words,
			    g->explained ? g->explained : "nothing explained");
	free(copy);
}

/* "PACKET from ...": as an operator asks; nothing may change by it. */
static void do_explain(struct golden *g, char *words)
{
	struct err e = { "" };
	struct counts before, after;
	char line[8192], *from = strstr(words, " from ");
	uint32_t entries = ct_count(&ct4) + ct_count(&ct6) + nat_count(), free_before = frames_free();
	size_t size;
	if (!from) {
		golden_fail(g, "explain PACKET from ... was expected");
		return;
	}
	golden_finish_in(g);
	g->n_out = 0;
	free(g->explained);
	*from++ = 0;
	snprintf(line, sizeof(line), "explain packet \"%s\" %s", words, from);
	golden_counts(&before);
	FILE *f = open_memstream(&g->explained, &size);
	check_err(g, cli_execute(line, false, f, &e), &e);
	fclose(f);
	box_run();
	golden_counts(&after);
	golden_collect(g);
	if (g->n_out)
		golden_fail(g, "explain sent something");
	if (memcmp(&before, &after, sizeof(before)) || entries != ct_count(&ct4) + ct_count(&ct6) + nat_count() ||
	    frames_free() != free_before)
		golden_fail(g, "explain changed something");
	g->has_in = false;
	g->did_explain = true;
}

static bool expect_line(struct golden *g, const char *verb, char *rest)
{
	if (!strcmp(verb, "drop")) {
		do_drop(g, rest);
	} else if (!strcmp(verb, "ct")) {
		expect_count(g, "connections", ct_count(&ct4) + ct_count(&ct6), to_number(g, golden_word(&rest)));
	} else if (!strcmp(verb, "nat")) {
		expect_count(g, "mappings", nat_count(), to_number(g, golden_word(&rest)));
	} else if (!strcmp(verb, "held")) {
		g->named_held = true;
		expect_count(g, "held", golden_held(), to_number(g, golden_word(&rest)));
	} else if (!strcmp(verb, "replayed")) {
		expect_count(g, "replayed", g->in_replayed, to_number(g, golden_word(&rest)));
	} else if (!strcmp(verb, "explain")) {
		do_explain(g, rest);
	} else if (!strcmp(verb, "says")) {
		do_says(g, rest);
	} else if (!strcmp(verb, "expect")) {
		do_expect(g, rest);
	} else {
		return false;
	}
	return true;
}

static void do_claim(struct golden *g, char *words)
{
	struct ipaddr a;
	const char *w = golden_word(&words);
	if (!w || !ip_parse(w, &a)) {
		golden_fail(g, "claim: an address was expected");
		return;
	}
	claim_begin(&a, true);
	changed(g);
}

static bool setup_line(struct golden *g, const char *verb, char *rest)
{
	if (!strcmp(verb, "route") || !strcmp(verb, "noroute"))
		do_route(g, rest, !strcmp(verb, "route"));
	else if (!strcmp(verb, "local"))
		do_local(g, rest);
	else if (!strcmp(verb, "neigh"))
		do_neigh(g, rest);
	else if (!strcmp(verb, "port"))
		do_port(g, rest);
	else if (!strcmp(verb, "clock"))
		do_clock(g, rest);
	else if (!strcmp(verb, "claim"))
		do_claim(g, rest);
	else if (!strcmp(verb, "noreplay"))
		g->noreplay = true;
	else
		return false;
	return true;
}

void golden_line(struct golden *g, char *line)
{
	char *rest = line, *hash = strstr(line, " #");
	if (line[0] == '#')
		return;
	if (line[0] == '!') {
		add_command(g, line + 1);
		return;
	}
	if (hash)
		*hash = 0;
	char *verb = golden_word(&rest);
	if (!verb)
		return;
	if (!strcmp(verb, "limits")) {
		do_limits(g, rest);
		return;
	}
	flush_commands(g);
	open_box(g);
	if (g->failed)
		return;
	if (!n_workers)
		golden_fail(g, "a command such as '! add port up0 mem' must come first");
	else if (!frame_line(g, verb, rest) && !expect_line(g, verb, rest) && !setup_line(g, verb, rest))
		golden_fail(g, "unknown word '%s'", verb);
}

void golden_end(struct golden *g)
{
	struct err e = { "" };
	flush_commands(g);
	open_box(g);
	if (!g->failed)
		golden_finish_in(g);
	if (!g->failed && !g->has_in && !g->did_explain)
		golden_fail(g, "nothing was sent: a test that cannot fail");
	if (!box_balanced(&e))
		golden_fail(g, "%s", e.text);
	if (!box_close(&e))
		golden_fail(g, "%s", e.text);
	free(g->explained);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams (stream.h): the commands, and what each says of a record as text, as JSON (an object a line) or as a capture file. */
#include "cli/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/pcapng.h"
#include "cli/pkttext.h"
#include "fwd/base/clock.h"
#include "fwd/observe.h"
#include "tables/ct.h"
#include "tables/policy.h"

enum { KEPT_MAX = 1 << 20 };

struct stream {
	int number; /* of its observer */
	enum observe_kind kind;
	bool json, ended;
	FILE *f; /* over 'text' */
	char *text;
	size_t size;
	uint64_t wall_ns;           /* CLOCK_REALTIME less CLOCK_MONOTONIC */
	uint64_t n, max;            /* records; 0: no limit */
	uint64_t lost, told;        /* by this side; of all, as the client knows */
	uint32_t ifaces[PORTS_MAX]; /* capture: interface + 1 */
	uint32_t n_ifaces;
};
static struct stream *streams[OBSERVERS_MAX], *started;

static const char *port_name(uint16_t port)
{
	if (port == PORT_CONTROL)
		return "control";
	return port < PORTS_MAX && ports[port] ? ports[port]->conf.name : "?";
}

/* ---- time ---- */
static void put_time(const struct stream *s, uint64_t ns, char buf[static 32])
{
	ns += s->wall_ns;
	const time_t t = (time_t)(ns / NS_PER_S);
	struct tm tm;
	localtime_r(&t, &tm);
	const size_t n = strftime(buf, 32, "%H:%M:%S", &tm);
	snprintf(buf + n, 32 - n, ".%06u", (unsigned)(ns % NS_PER_S / 1000));
}

static void json_text(FILE *f, const char *v)
{
	fputc('"', f);
	for (; *v; v++) {
		if ((unsigned char)*v < ' ')
			fprintf(f, "\\u%04x", *v);
		else
			fprintf(f, *v == '"' || *v == '\\' ? "\\%c" : "%c", *v);
	}
	fputc('"', f);
}

static void json_str(FILE *f, const char *name, const char *v)
{
	fprintf(f, ",\"%s\":", name);
	if (v)
		json_text(f, v);
	else
		fputs("null", f);
}

static void json_u64(FILE *f, const char *name, uint64_t v)
{
	fprintf(f, ",\"%s\":%llu", name, (unsigned long long)v);
}

static void json_begin(struct stream *s, const struct observed *o, const char *event)
{
	const uint64_t ns = o->time_ns + s->wall_ns;
	fprintf(s->f, "{\"time\":%llu.%06u,\"event\":\"%s\"", (unsigned long long)(ns / NS_PER_S),
		(unsigned)(ns % NS_PER_S / 1000), event);
}

static void json_drop(FILE *f, unsigned reason)
{
	json_u64(f, "number", reason);
	json_str(f, "reason", drop_text(reason));
	json_str(f, "symbol", drop_symbol(reason));
}

/* ---- drops ---- */
static void say_drop(struct stream *s, const struct observed *o)
{
	char text[PKTTEXT_MAX], when[32];
	pkttext_print((const uint8_t *)(o + 1), o->cap, text);
	if (s->json) {
		json_begin(s, o, "drop");
		json_drop(s->f, o->reason);
		json_str(s->f, "port", port_name(o->port));
		json_str(s->f, "packet", text);
		fputs("}\n", s->f);
		return;
	}
	put_time(s, o->time_ns, when);
	fprintf(s->f, "%s %u %s, port %s: %s\n", when, o->reason, drop_text(o->reason), port_name(o->port), text);
}

/* ---- connections ---- */
static const char *rule_name(uint32_t id, char buf[static 16])
{
	const struct policy_rule *r = id ? policy_rule_at(id) : NULL;
	snprintf(buf, 16, "%u", id);
	return r && r->name[0] ? r->name : id ? buf : NULL;
}

static void json_flow(FILE *j, const struct observed_flow *f, const char *rule)
{
	char b[IP_STRLEN];
	const struct {
		const char *name;
		uint64_t v;
	} numbers[] = { { "sport", f->sport },
			{ "dport", f->dport },
			{ "reply_sport", f->reply_sport },
			{ "reply_dport", f->reply_dport },
			{ "identity", f->identity },
			{ "dst_identity", f->dst_identity },
			{ "packets", f->packets },
			{ "bytes", f->bytes },
			{ "reply_packets", f->reply_packets },
			{ "reply_bytes", f->reply_bytes } };
	char number[4];
	snprintf(number, sizeof(number), "%u", f->proto);
	json_str(j, "proto", proto_name(f->proto) ? proto_name(f->proto) : number);
	json_str(j, "src", ip_print(&f->src, b));
	json_str(j, "dst", ip_print(&f->dst, b));
	json_str(j, "reply_src", ip_print(&f->reply_src, b));
	json_str(j, "reply_dst", ip_print(&f->reply_dst, b));
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		json_u64(j, numbers[i].name, numbers[i].v);
	json_str(j, "rule", rule);
	json_str(j, "state", f->state < CT_STATES ? ct_state_names[f->state] : NULL);
}

static void say_flow(struct stream *s, const struct observed *o)
{
	const struct observed_flow *f = (const void *)(o + 1);
	char when[32], number[16], a[IP_STRLEN], b[IP_STRLEN];
	const char *rule = rule_name(f->rule, number);
	if (s->json) {
		json_begin(s, o, f->end ? "end" : "begin");
		json_flow(s->f, f, rule);
		fputs("}\n", s->f);
		return;
	}
	put_time(s, o->time_ns, when);
	fprintf(s->f, "%s %-5s %s %s %u > %s %u", when, f->end ? "end" : "begin",
		proto_name(f->proto) ? proto_name(f->proto) : "?", ip_print(&f->src, a), f->sport, ip_print(&f->dst, b),
		f->dport);
	fprintf(s->f, ", reply %s %u > %s %u, identity %u > %u%s%s", ip_print(&f->reply_src, a), f->reply_sport,
		ip_print(&f->reply_dst, b), f->reply_dport, f->identity, f->dst_identity, rule ? ", rule " : "",
		rule ? rule : "");
	if (f->end)
		fprintf(s->f, ", %s, packets %llu and %llu, bytes %llu and %llu",
			f->state < CT_STATES ? ct_state_names[f->state] : "?", (unsigned long long)f->packets,
			(unsigned long long)f->reply_packets, (unsigned long long)f->bytes,
			(unsigned long long)f->reply_bytes);
	fputc('\n', s->f);
}

/* ---- frames ---- */
static void say_frame(struct stream *s, const struct observed *o)
{
	uint32_t *i = &s->ifaces[o->port % PORTS_MAX];
	if (!*i) {
		pcapng_interface(s->f, port_name(o->port), OBSERVE_SNAP);
		*i = ++s->n_ifaces;
	}
	pcapng_frame(s->f, *i - 1, o->time_ns + s->wall_ns, o->out, o + 1, o->cap, o->len);
}

/* ---- trace ---- */
static const char *verdict_text(const struct observed *o, char buf[static 96])
{
	if (o->verdict == OBSERVED_DROPPED)
		snprintf(buf, 96, "dropped: %s (%u)", drop_text(o->reason), o->reason);
	else
		snprintf(buf, 96, "%s",
			 o->verdict == OBSERVED_FORWARDED ? "forwarded" : "kept: held, answered or handed on");
	return buf;
}

/* Calls for each step, then for each frame that left. */
static void each_part(const struct observed *o, void (*step)(void *arg, const char *step, const char *text),
		      void (*out)(void *arg, const char *port, const char *text), void *arg)
{
	const char *t = (const char *)(o + 1) + observed_pad(o->cap), *end = t + o->text;
	char text[PKTTEXT_MAX];
	for (const char *x = t; x < end;) {
		const char *what = x + strlen(x) + 1;
		step(arg, x, what);
		x = what + strlen(what) + 1;
	}
	t += observed_pad(o->text);
	for (unsigned i = 0; i < o->out; i++) {
		const struct observed_out *x = (const void *)t;
		out(arg, port_name(x->port), pkttext_print((const uint8_t *)(x + 1), x->cap, text));
		t += sizeof(*x) + observed_pad(x->cap);
	}
}

static void text_step(void *arg, const char *step, const char *text)
{
	fprintf(arg, "%-11s %s\n", step, text);
}

static void text_out(void *arg, const char *port, const char *text)
{
	fprintf(arg, "%-11s port %s: %s\n", "out", port, text);
}

struct json_parts {
	FILE *f;
	bool out; /* the second array is open */
	unsigned n;
};

static void json_pair(struct json_parts *p, const char *name, const char *v, const char *name2, const char *v2)
{
	fprintf(p->f, "%s{\"%s\":", p->n++ ? "," : "", name);
	json_text(p->f, v);
	json_str(p->f, name2, v2);
	fputc('}', p->f);
}

static void json_step(void *arg, const char *step, const char *text)
{
	json_pair(arg, "step", step, "text", text);
}

static void open_out(struct json_parts *p)
{
	if (p->out)
		return;
	fputs("],\"out\":[", p->f);
	p->out = true;
	p->n = 0;
}

static void json_out(void *arg, const char *port, const char *text)
{
	open_out(arg);
	json_pair(arg, "port", port, "packet", text);
}

static void json_trace(struct stream *s, const struct observed *o, const char *packet)
{
	struct json_parts parts = { .f = s->f };
	char verdict[96];
	json_begin(s, o, "packet");
	json_u64(s->f, "worker", o->worker);
	json_str(s->f, "port", port_name(o->port));
	json_str(s->f, "packet", packet);
	if (o->record)
		json_u64(s->f, "record", o->record);
	else
		json_str(s->f, "record", NULL);
	fputs(",\"steps\":[", s->f);
	each_part(o, json_step, json_out, &parts);
	open_out(&parts);
	fputc(']', s->f);
	json_str(s->f, "verdict", verdict_text(o, verdict));
	if (o->verdict == OBSERVED_DROPPED)
		json_drop(s->f, o->reason);
	fputs("}\n", s->f);
}

static void say_trace(struct stream *s, const struct observed *o)
{
	char text[PKTTEXT_MAX], when[32], verdict[96];
	pkttext_print((const uint8_t *)(o + 1), o->cap, text);
	if (s->json) {
		json_trace(s, o, text);
		return;
	}
	put_time(s, o->time_ns, when);
	fprintf(s->f, "%s%s packet %llu, worker %u, port %s: %s\n", s->n > 1 ? "\n" : "", when,
		(unsigned long long)s->n, o->worker, port_name(o->port), text);
	if (o->record)
		fprintf(s->f, "%-11s by record %u\n", "replayed", o->record);
	each_part(o, text_step, text_out, s->f);
	fprintf(s->f, "%-11s %s\n", "verdict", verdict_text(o, verdict));
}

/* ---- streams ---- */
static void hand_out(const struct observed *o)
{
	for (uint32_t m = o->mask; m; m &= m - 1) {
		struct stream *s = streams[__builtin_ctz(m)];
		if (!s || s->ended || s->kind != o->kind)
			continue;
		if (ftell(s->f) > KEPT_MAX) {
			s->lost++;
			continue;
		}
		s->n++;
		if (s->kind == OBSERVE_DROPS)
			say_drop(s, o);
		else if (s->kind == OBSERVE_FLOWS)
			say_flow(s, o);
		else if (s->kind == OBSERVE_FRAMES)
			say_frame(s, o);
		else
			say_trace(s, o);
		s->ended = s->max && s->n >= s->max;
	}
}

void streams_pump(void)
{
	observe_drain(hand_out);
}

static uint64_t lost_now(const struct stream *s)
{
	return s->lost + observe_lost((unsigned)s->number);
}

static void tell_lost(struct stream *s)
{
	const uint64_t lost = lost_now(s);
	if (lost == s->told || s->kind == OBSERVE_FRAMES)
		return;
	if (s->json)
		fprintf(s->f, "{\"event\":\"lost\",\"packets\":%llu}\n", (unsigned long long)(lost - s->told));
	else
		fprintf(s->f, "lost %llu\n", (unsigned long long)(lost - s->told));
	s->told = lost;
}

static void take_text(struct stream *s, char **text, size_t *n)
{
	fclose(s->f);
	*text = s->text;
	*n = s->size;
	s->text = NULL;
	s->f = open_memstream(&s->text, &s->size);
	if (!s->f) /* it ends */
		s->f = fopen("/dev/null", "w");
}

bool stream_read(struct stream *s, char **text, size_t *n)
{
	tell_lost(s);
	take_text(s, text, n);
	/* a trace whose last packets were lost would wait for them for ever */
	return !s->ended && !(s->kind == OBSERVE_TRACE && s->n + lost_now(s) >= s->max);
}

void stream_last(struct stream *s, char **text, size_t *n)
{
	streams_pump();
	tell_lost(s);
	for (unsigned i = 0; i < s->n_ifaces; i++) /* which port they were of is not known: all at the first */
		pcapng_lost(s->f, i, clock_ns() + s->wall_ns, i ? 0 : lost_now(s));
	take_text(s, text, n);
}

void stream_end(struct stream *s)
{
	observe_stop((unsigned)s->number);
	streams_pump(); /* what is still in a ring must not reach the next of this number */
	streams[s->number] = NULL;
	fclose(s->f);
	free(s->text);
	free(s);
}

struct stream *stream_take(void)
{
	struct stream *s = started;
	started = NULL;
	return s;
}

/* ---- the commands ---- */
static int read_filter(const struct parse *p, enum observe_kind kind, struct observe_filter *f, struct err *e)
{
	const struct arg *port = parse_arg(p, "port");
	int r = port ? observe_filter_add(f, kind, "port", port->text, e) : 0;
	for (unsigned i = 0; i < p->n && !r; i++) {
		const struct arg *a = &p->arg[i];
		char field[32];
		if (!a->type || strcmp(a->type->name, "FIELD=VALUE"))
			continue;
		snprintf(field, sizeof(field), "%.*s", (int)(a->filter.value - 1 - a->filter.field), a->filter.field);
		r = observe_filter_add(f, kind, field, a->filter.value, e);
	}
	return r;
}

static int start(struct call *c, enum observe_kind kind, uint64_t max, struct err *e)
{
	struct observe_filter f = { 0 };
	struct timespec wall;
	int r = read_filter(c->p, kind, &f, e);
	if (r)
		return r;
	struct stream *s = calloc(1, sizeof(*s));
	if (!s || !(s->f = open_memstream(&s->text, &s->size))) {
		free(s);
		return err_set(e, -ENOMEM, "out of memory");
	}
	clock_gettime(CLOCK_REALTIME, &wall);
	s->wall_ns = (uint64_t)wall.tv_sec * NS_PER_S + (uint64_t)wall.tv_nsec - clock_ns();
	s->kind = kind;
	s->json = c->json;
	s->max = max;
	s->number = observe_start(kind, &f, kind == OBSERVE_TRACE ? (uint32_t)max : 0, e);
	if (s->number < 0) {
		r = s->number;
		fclose(s->f);
		free(s->text);
		free(s);
		return r;
	}
	if (kind == OBSERVE_FRAMES)
		pcapng_begin(s->f);
	streams[s->number] = s;
	started = s;
	return 0;
}

static uint64_t max_of(const struct parse *p)
{
	const struct arg *a = parse_arg(p, "max");
	return a ? a->n : 0;
}

static int run_trace(struct call *c, struct err *e)
{
	return start(c, OBSERVE_TRACE, parse_arg(c->p, "trace")->n, e);
}

static int run_monitor(struct call *c, struct err *e)
{
	return start(c, parse_has(c->p, "flows") ? OBSERVE_FLOWS : OBSERVE_DROPS, max_of(c->p), e);
}

static int run_capture(struct call *c, struct err *e)
{
	return start(c, OBSERVE_FRAMES, max_of(c->p), e);
}

#define FIELDS "src dst host sport dport proto port endpoint"
const struct command commands_stream[] = {
	{ "trace N:1-1000000 [FIELD=VALUE]...",
	  "what each step answers for the next N packets that match, or which record replays them; " FIELDS, run_trace,
	  CMD_ALONE, NULL, FIELDS },
	{ "monitor (drops|flows) [FIELD=VALUE]... [max N:1-4294967295]",
	  "drops, or connections that begin and end, as they happen; fields as of trace, and reason for drops",
	  run_monitor, CMD_ALONE, NULL, FIELDS " reason" },
	{ "capture FILE [port NAME] [FIELD=VALUE]... [max N:1-4294967295]",
	  "frames that come and leave, into a pcapng file; - is the terminal", run_capture, CMD_ALONE | CMD_WHOLE, NULL,
	  FIELDS },
	{ NULL, NULL, NULL, 0, NULL, NULL },
};

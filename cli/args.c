/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of a line and the types an argument can have. Control thread. The type rows are the only place that knows how
 * an argument looks; patterns in cmd_*.c name them. */
#include "cli/grammar.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>

#include "cli/config.h"

/* Copies the word at *line to *o without its quotation marks; both end behind it. False: no room. */
static bool copy_word(const char **line, char **o, const char *end, bool *quoted)
{
	const char *s = *line;

	*quoted = false;
	for (; *s && (*quoted || !strchr(" \t\r\n", *s)); s++) {
		if (*s == '"') {
			*quoted = !*quoted;
			continue;
		}
		if (*quoted && *s == '\\' && s[1])
			s++;
		if (*o >= end)
			return false;
		*(*o)++ = *s;
	}
	**o = 0;
	*line = s;
	return true;
}

int words_split(const char *line, struct words *w, struct err *e)
{
	char *o = w->buf, *end = w->buf + sizeof(w->buf) - 1;
	bool quoted;

	w->n = 0;
	for (;;) {
		while (*line == ' ' || *line == '\t' || *line == '\r' || *line == '\n')
			line++;
		if (!*line || *line == '#')
			return 0;
		if (w->n == WORDS_MAX)
			return err_set(e, -EINVAL, "more than %d words on a line", WORDS_MAX);
		w->w[w->n++] = o;
		if (!copy_word(&line, &o, end, &quoted))
			return err_set(e, -EINVAL, "line too long");
		if (quoted)
			return err_set(e, -EINVAL, "the quotation mark of '%.40s' is not closed", w->w[w->n - 1]);
		if (o >= end)
			return err_set(e, -EINVAL, "line too long");
		*o++ = 0;
	}
}

void word_print(FILE *f, const char *s)
{
	if (*s && *s != '#' && !strpbrk(s, " \t\r\n\"")) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

bool arg_parse_u64(const char *s, uint64_t *v)
{
	uint64_t n = 0;

	if (!*s || strlen(s) > 18)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		n = n * 10 + (uint64_t)(*s - '0');
	}
	*v = n;
	return true;
}

bool arg_parse_unit(const char *s, const char *unit, uint64_t *v)
{
	static const struct {
		const char *unit, *suffix;
		uint64_t factor;
	} rows[] = { { "s", "s", 1 },           { "s", "m", 60 },         { "s", "h", 3600 },
		     { "s", "d", 86400 },       { "us", "us", 1 },        { "us", "ms", 1000 },
		     { "us", "s", 1000000 },    { "bytes", "B", 1 },      { "bytes", "K", 1 << 10 },
		     { "bytes", "M", 1 << 20 }, { "bytes", "G", 1 << 30 } };
	const size_t len = strspn(s, "0123456789");
	char number[12];

	if (!len || len >= sizeof(number)) /* no range is that wide */
		return false;
	memcpy(number, s, len);
	number[len] = 0;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (!strcmp(rows[i].unit, unit) && !strcmp(rows[i].suffix, s + len)) {
			arg_parse_u64(number, v);
			*v *= rows[i].factor;
			return true;
		}
	return false;
}

static bool parse_n(char *s, struct arg *a)
{
	return arg_parse_u64(s, &a->n);
}

static bool parse_id(char *s, struct arg *a)
{
	return arg_parse_u64(s, &a->n) && a->n >= 1 && a->n <= 65535;
}

static bool parse_identity(char *s, struct arg *a)
{
	return arg_parse_u64(s, &a->n) && a->n >= 1 && a->n <= 0xffffff;
}

static bool parse_port(char *s, struct arg *a)
{
	return arg_parse_u64(s, &a->n) && a->n >= 1 && a->n <= 65535;
}

/* In milliseconds */
static bool parse_time(char *s, struct arg *a)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 } };
	char number[20];
	const size_t len = strspn(s, "0123456789");

	if (len >= sizeof(number))
		return false;
	memcpy(number, s, len);
	number[len] = 0;
	for (unsigned i = 0; i < ARRAY_LEN(units); i++)
		if (!strcmp(s + len, units[i].name) && arg_parse_u64(number, &a->n) && a->n <= 3600 * 1000) {
			a->n *= units[i].ms;
			return a->n >= 100 && a->n <= 3600 * 1000;
		}
	return false;
}

static bool parse_name(char *s, struct arg *a)
{
	(void)a;
	return *s && strlen(s) <= 15 &&
	       !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")];
}

static bool parse_dev(char *s, struct arg *a)
{
	(void)a;
	return *s && strlen(s) < IFNAMSIZ && !strpbrk(s, "/ \t\n:") && strcmp(s, ".") && strcmp(s, "..");
}

static bool parse_word(char *s, struct arg *a)
{
	(void)a;
	return *s != 0;
}

static bool parse_text(char *s, struct arg *a)
{
	(void)a;
	for (; *s; s++)
		if ((unsigned char)*s < ' ')
			return false;
	return true;
}

static bool parse_ip4(char *s, struct arg *a)
{
	return ip_parse(s, &a->ip) && ip_is4(&a->ip);
}

static bool parse_ip6(char *s, struct arg *a)
{
	return ip_parse(s, &a->ip) && !ip_is4(&a->ip);
}

static bool parse_addr(char *s, struct arg *a)
{
	return ip_parse(s, &a->ip);
}

static bool parse_prefix(char *s, struct arg *a)
{
	return ipnet_parse(s, &a->net);
}

static bool parse_mac(char *s, struct arg *a)
{
	/* a group address is nobody's own */
	return mac_parse(s, &a->mac) && !(a->mac.b[0] & 1) && !mac_is_zero(&a->mac);
}

static bool parse_range(char *s, struct arg *a)
{
	char *dash = strchr(s, '-');
	bool ok;

	if (!dash) {
		ok = port_parse(s, &a->range.lo);
		a->range.hi = a->range.lo;
		return ok;
	}
	*dash = 0;
	ok = port_parse(s, &a->range.lo) && port_parse(dash + 1, &a->range.hi) && a->range.lo <= a->range.hi;
	*dash = '-';
	return ok;
}

/* ADDR:PORT, [ADDR6]:PORT */
static bool parse_addr_port(char *s, struct arg *a)
{
	char *colon = strrchr(s, ':');
	bool bracket = *s == '[';
	bool ok;

	a->service.proto = 0;
	if (!colon || colon == s || (bracket && colon[-1] != ']'))
		return false;
	*(bracket ? colon - 1 : colon) = 0;
	ok = ip_parse(s + bracket, &a->service.ip) && bracket == !ip_is4(&a->service.ip);
	*(bracket ? colon - 1 : colon) = bracket ? ']' : ':';
	return ok && port_parse(colon + 1, &a->service.port);
}

static bool parse_vip(char *s, struct arg *a)
{
	char *slash = strrchr(s, '/');
	bool ok;

	if (!slash)
		return false;
	*slash = 0;
	ok = parse_addr_port(s, a);
	*slash = '/';
	a->service.proto = proto_by_name(slash + 1);
	return ok && (a->service.proto == PROTO_TCP || a->service.proto == PROTO_UDP || a->service.proto == PROTO_SCTP);
}

static bool parse_filter(char *s, struct arg *a)
{
	char *eq = strchr(s, '=');

	if (!eq || eq == s)
		return false;
	a->filter.value = eq + 1;
	a->filter.field = s; /* the caller cuts at value[-1]; the word stays whole for error texts */
	return true;
}

static void complete_dev(FILE *out)
{
	struct if_nameindex *list = if_nameindex();

	for (struct if_nameindex *i = list; i && i->if_index; i++)
		fprintf(out, "%s\n", i->if_name);
	if (list)
		if_freenameindex(list);
}

static void complete_endpoint(FILE *out)
{
	config_complete("endpoint", out);
}

static void complete_port(FILE *out)
{
	config_complete("port", out);
}

static const struct arg_type arg_types[] = {
	{ "ID", "an endpoint id from 1 to 65535", parse_id, complete_endpoint },
	{ "IDENTITY", "an identity from 1 to 16777215", parse_identity, NULL },
	{ "NAME", "a port name of up to 15 letters, digits, _ . -", parse_name, complete_port },
	{ "DEV", "a network device name", parse_dev, complete_dev },
	{ "N", "a number", parse_n, NULL },
	{ "TIME", "a time from 100ms to 60m, with its unit: 500ms, 2s", parse_time, NULL },
	{ "PORT", "a port number from 1 to 65535", parse_port, NULL },
	{ "IP4", "an IPv4 address", parse_ip4, NULL },
	{ "IP6", "an IPv6 address", parse_ip6, NULL },
	{ "ADDR", "an IPv4 or IPv6 address", parse_addr, NULL },
	{ "PREFIX", "a prefix ADDR/LEN whose host bits are zero", parse_prefix, NULL },
	{ "MAC", "a unicast MAC address such as 02:00:00:00:00:01", parse_mac, NULL },
	{ "RANGE", "a port number or range A-B", parse_range, NULL },
	{ "ADDR:PORT", "an address and port such as 10.1.0.10:8080 or [2001:db8::1]:80", parse_addr_port, NULL },
	{ "VIP", "ADDR:PORT/PROTO such as 10.96.0.1:80/tcp", parse_vip, NULL },
	{ "FILE", "a file name", parse_word, NULL },
	{ "WORD", "a word", parse_word, NULL },
	{ "DEVARGS", "a DPDK device such as 0000:03:00.0 or net_tap0,iface=x", parse_word, NULL },
	{ "TEXT", "a text without tabs and line ends, in \"\" when it has blanks", parse_text, NULL },
	{ "FIELD=VALUE", "a column and the value it must have", parse_filter, NULL },
};

const struct arg_type *arg_type_by_name(const char *name, size_t len)
{
	for (unsigned i = 0; i < ARRAY_LEN(arg_types); i++)
		if (strlen(arg_types[i].name) == len && !memcmp(arg_types[i].name, name, len))
			return &arg_types[i];
	return NULL;
}

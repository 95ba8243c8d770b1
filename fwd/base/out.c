/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of named columns as text or JSON. Control thread; nothing here knows what is shown.
 *
 * A row is collected as it comes, judged by the filters column by column and rendered at once when it is complete: a
 * table of a million entries is one growing text, not a tree of objects. For aligned text the cells are kept in one
 * buffer and padded at the end, when the widths are known. Out of memory is noted and reported by out_end. */
#include "fwd/base/out.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

enum { COLUMNS_MAX = 64 };

struct buf {
	char *p;
	size_t n, size;
};

struct column {
	const char *name; /* string constants of the caller */
	size_t width;     /* characters */
	bool number;      /* aligned right */
};

/* What a filter value can be read as, besides text. */
struct filter {
	const char *field, *value;
	bool is_net, is_mac;
	struct ipnet net;
	struct mac mac;
	bool known;   /* some row has the column */
	bool matched; /* in the present row */
};

struct out {
	bool json, in_row, failed, out_of_memory;
	bool columns_known;              /* the first row is complete */
	unsigned n_filters, max, n_rows; /* n_rows: that matched */
	unsigned n_columns, column;      /* column: next one of the present row */
	struct column columns[COLUMNS_MAX];
	struct buf row; /* text cells of the present row, NUL after each */
	struct buf all; /* rows: text cells or JSON text */
	json_t *object; /* JSON: the present row */
	struct filter filter[];
};

static void put(struct out *o, struct buf *b, const void *data, size_t n)
{
	if (b->size - b->n < n) {
		size_t size = MAX(b->size * 2, b->n + n + 256);
		char *p = realloc(b->p, size);
		if (!p) {
			o->out_of_memory = true;
			return;
		}
		b->p = p;
		b->size = size;
	}
	if (n)
		memcpy(b->p + b->n, data, n);
	b->n += n;
}

struct out *out_new(bool json, const struct out_filter *f, unsigned n_filters, unsigned max)
{
	struct out *o = calloc(1, sizeof(*o) + n_filters * sizeof(o->filter[0]));
	if (!o) {
		fputs("out of memory\n", stderr);
		abort();
	}
	o->json = json;
	o->max = max;
	o->n_filters = n_filters;
	for (unsigned i = 0; i < n_filters; i++) {
		struct filter *t = &o->filter[i];
		t->field = f[i].field;
		t->value = f[i].value;
		t->is_net = ipnet_parse(t->value, &t->net);
		t->is_mac = mac_parse(t->value, &t->mac);
	}
	return o;
}

/* ---- declared columns: names with a mark, in one text ---- */

static const char *const marks = "#@?";

static bool is_column(const char *declared, const char *name)
{
	const size_t n = strlen(name);

	return strcspn(declared, "#@? ") == n && !memcmp(declared, name, n);
}

static const char *next_column(const char *declared)
{
	declared += strcspn(declared, " ");
	return declared + (*declared == ' ');
}

static int no_column(const char *field, const char *columns, struct err *e)
{
	char known[400];
	size_t n = 0;

	for (const char *c = columns; *c && n < sizeof(known) - 1; c++)
		if (!strchr(marks, *c))
			known[n++] = *c;
	known[n] = 0;
	return err_set(e, -EINVAL, "there is no field %.40s, but: %s", field, known);
}

static int check_value(const struct filter *f, char mark, struct err *e)
{
	const bool is_bool = strcmp(f->value, "yes") == 0 || strcmp(f->value, "no") == 0 ||
			     strcmp(f->value, "on") == 0 || strcmp(f->value, "off") == 0 ||
			     strcmp(f->value, "true") == 0 || strcmp(f->value, "false") == 0;

	if (!*f->value) /* absent */
		return 0;
	if (mark == '#' && f->value[strspn(f->value, "0123456789")])
		return err_set(e, -EINVAL, "%s: '%.100s' is not a number", f->field, f->value);
	if (mark == '@' && !f->is_net)
		return err_set(e, -EINVAL, "%s: '%.100s' is not an address, nor a prefix whose host bits are zero",
			       f->field, f->value);
	if (mark == '?' && !is_bool)
		return err_set(e, -EINVAL, "%s: '%.100s' is not yes nor no", f->field, f->value);
	return 0;
}

int out_declare(const struct out *o, const char *columns, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < o->n_filters && !r; i++) {
		const struct filter *f = &o->filter[i];
		const char *c = columns;
		while (*c && !is_column(c, f->field))
			c = next_column(c);
		r = *c ? check_value(f, c[strlen(f->field)], e) : no_column(f->field, columns, e);
	}
	return r;
}

/* ---- rows ---- */

static bool row_matches(const struct out *o)
{
	if (o->failed)
		return false;
	for (unsigned i = 0; i < o->n_filters; i++)
		if (!o->filter[i].matched)
			return false;
	return true;
}

static int put_json(const char *text, size_t n, void *arg)
{
	struct out *o = arg;
	put(o, &o->all, text, n);
	return 0;
}

/* Characters of UTF-8 text: the bytes that begin one. */
static size_t text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void show_json(struct out *o)
{
	put(o, &o->all, o->n_rows ? ",\n" : "[\n", 2);
	if (json_dump_callback(o->object, put_json, o, JSON_COMPACT))
		o->out_of_memory = true;
}

/* Widths grow with shown rows only. */
static void show_text(struct out *o)
{
	const char *c = o->row.p;

	for (unsigned i = 0; i < o->column; i++, c += strlen(c) + 1)
		o->columns[i].width = MAX(o->columns[i].width, text_width(c));
	put(o, &o->all, o->row.p, o->row.n);
}

static void finish_row(struct out *o)
{
	if (!o->in_row)
		return;
	o->in_row = false;
	assert(!o->columns_known || o->column == o->n_columns);
	o->columns_known = true;
	if (row_matches(o)) {
		if (o->json)
			show_json(o);
		else
			show_text(o);
		o->n_rows++;
	}
	if (o->object)
		json_object_clear(o->object);
	o->row.n = 0;
}

void out_row(struct out *o)
{
	finish_row(o);
	o->failed = out_full(o);
	o->in_row = true;
	o->column = 0;
	for (unsigned i = 0; i < o->n_filters; i++)
		o->filter[i].matched = false;
	if (o->json && !o->object && !(o->object = json_object()))
		o->out_of_memory = true;
}

bool out_full(const struct out *o)
{
	return o->max && o->n_rows + (o->in_row && row_matches(o)) >= o->max;
}

/* What filters may compare besides the text. */
struct cell {
	const char *text; /* NULL: no value */
	const struct ipaddr *ip;
	const struct ipnet *net;
	const struct mac *mac;
	bool number, is_bool, yes;
	uint64_t u64;
};

static bool in_net(const struct ipnet *outer, const struct ipaddr *a, unsigned len)
{
	return len >= outer->len && ipnet_contains(outer, a);
}

static bool cell_matches(const struct filter *f, const struct cell *c)
{
	struct ipaddr a;
	struct ipnet n;

	if (strcmp(c->text ? c->text : "", f->value) == 0)
		return true;
	if (c->is_bool)
		return strcmp(f->value, c->yes ? "true" : "false") == 0 || strcmp(f->value, c->yes ? "on" : "off") == 0;
	if (c->mac)
		return f->is_mac && mac_eq(c->mac, &f->mac);
	if (!f->is_net || !c->text)
		return false;
	if (c->ip)
		return in_net(&f->net, c->ip, 128);
	if (c->net)
		return in_net(&f->net, &c->net->addr, c->net->len);
	if (c->number)
		return false;
	/* a text column may hold an address or a prefix */
	if (ip_parse(c->text, &a))
		return in_net(&f->net, &a, 128);
	return ipnet_parse(c->text, &n) && in_net(&f->net, &n.addr, n.len);
}

/* Text that came from outside (names, files): valid UTF-8 without control characters. */
static json_t *json_text(const char *s)
{
	json_t *j = json_string(s);
	if (j)
		return j;
	char *copy = strdup(s);
	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	j = copy ? json_string(copy) : NULL;
	free(copy);
	return j;
}

static json_t *json_cell(const struct cell *c)
{
	if (!c->text)
		return json_null();
	if (c->is_bool)
		return json_boolean(c->yes);
	if (c->number) /* JSON readers take 63 bits at most */
		return json_integer((json_int_t)MIN(c->u64, (uint64_t)INT64_MAX));
	return json_text(c->text);
}

static void put_cell(struct out *o, const char *text)
{
	size_t at = o->row.n;
	put(o, &o->row, text, strlen(text) + 1);
	for (char *c = o->row.p + at; !o->out_of_memory && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?'; /* a line break in a name would forge a row */
}

static void judge_cell(struct out *o, const char *col, const struct cell *c)
{
	for (unsigned i = 0; i < o->n_filters; i++) {
		struct filter *f = &o->filter[i];
		if (strcmp(f->field, col))
			continue;
		f->known = true;
		f->matched = cell_matches(f, c);
		if (!f->matched)
			o->failed = true;
	}
}

static void add(struct out *o, const char *col, const struct cell *c)
{
	assert(o->in_row && o->column < COLUMNS_MAX);
	assert(!o->columns_known || o->column < o->n_columns);
	if (!o->columns_known)
		o->columns[o->n_columns++] = (struct column){ .name = col, .width = strlen(col), .number = c->number };
	assert(strcmp(o->columns[o->column].name, col) == 0);
	o->column++;
	judge_cell(o, col, c);
	if (o->failed || o->out_of_memory)
		return;
	if (!o->json)
		put_cell(o, c->text ? c->text : "");
	else if (json_object_set_new_nocheck(o->object, col, json_cell(c)))
		o->out_of_memory = true;
}

void out_str(struct out *o, const char *col, const char *v)
{
	add(o, col, &(struct cell){ .text = v });
}

void out_u64(struct out *o, const char *col, uint64_t v)
{
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	add(o, col, &(struct cell){ .text = text, .number = true, .u64 = v });
}

void out_bool(struct out *o, const char *col, bool v)
{
	add(o, col, &(struct cell){ .text = v ? "yes" : "no", .is_bool = true, .yes = v });
}

void out_ip(struct out *o, const char *col, const struct ipaddr *v)
{
	char text[IP_STRLEN];
	add(o, col, &(struct cell){ .text = ip_print(v, text), .ip = v });
}

void out_net(struct out *o, const char *col, const struct ipnet *v)
{
	char text[IP_STRLEN];
	add(o, col, &(struct cell){ .text = ipnet_print(v, text), .net = v });
}

void out_mac(struct out *o, const char *col, const struct mac *v)
{
	char text[MAC_STRLEN];
	add(o, col, &(struct cell){ .text = mac_print(v, text), .mac = v });
}

void out_fmt(struct out *o, const char *col, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(o, col, &(struct cell){ .text = text });
}

/* One line of cells; each but the last is padded, numbers from the left. */
static const char *put_line(struct out *o, struct buf *b, const char *cells)
{
	size_t pending = 0; /* blanks owed: none at the end of a line */

	for (unsigned i = 0; i < o->n_columns; i++) {
		const struct column *c = &o->columns[i];
		const char *text = cells ? cells : c->name;
		size_t n = strlen(text), pad = c->width - text_width(text);
		if (c->number)
			pending += pad;
		for (; n && pending; pending--)
			put(o, b, " ", 1);
		put(o, b, text, n);
		pending += c->number ? 2 : pad + 2;
		if (cells)
			cells += n + 1;
	}
	put(o, b, "\n", 1);
	return cells;
}

static void render_text(struct out *o, struct buf *b)
{
	const char *c = o->all.p;

	if (o->n_rows)
		put_line(o, b, NULL);
	for (unsigned i = 0; i < o->n_rows && !o->out_of_memory; i++)
		c = put_line(o, b, c);
	put(o, b, "", 1);
}

int out_end(struct out *o, char **text, struct err *e)
{
	finish_row(o);
	*text = NULL;
	for (unsigned i = 0; i < o->n_filters; i++)
		if (o->n_columns && !o->filter[i].known)
			return err_set(e, -EINVAL, "%s: no such field here; the first line of 'show' names them",
				       o->filter[i].field);
	struct buf b = { 0 };
	if (o->json) {
		if (o->n_rows)
			put(o, &o->all, "\n]", 3);
		else
			put(o, &o->all, "[]", 3);
		b = o->all;
		o->all = (struct buf){ 0 };
	} else if (!o->out_of_memory) {
		render_text(o, &b);
	}
	if (o->out_of_memory) {
		free(b.p);
		return err_set(e, -ENOMEM, "out of memory; use 'max N' or a filter");
	}
	*text = b.p;
	return 0;
}

void out_free(struct out *o)
{
	if (!o)
		return;
	json_decref(o->object);
	free(o->row.p);
	free(o->all.p);
	free(o);
}

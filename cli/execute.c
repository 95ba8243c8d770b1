/* SPDX-License-Identifier: BSD-2-Clause */
/* One request carried out: a line, or a batch. Control thread, called by the server. */
#include "cli/commands.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/config.h"

static const char *after_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	line += strspn(line, " \t");
	if (strncmp(line, word, n) || (line[n] && !strchr(" \t\r\n", line[n])))
		return NULL;
	return line + n + (line[n] == ' ');
}

static int run(const struct parse *p, bool json, FILE *out, struct err *e)
{
	struct call c = { .p = p, .json = json, .out = out };

	return p->cmd->run(&c, e);
}

/* A transaction of its own. */
static int run_config(const struct words *w, FILE *out, struct err *e)
{
	struct config_tx *tx = config_begin(NULL);
	const int r = config_words(tx, 0, w, e);

	if (!r)
		return config_commit(tx, false, out, e);
	config_abort(tx);
	return r;
}

static int understand(struct words *w, struct parse *p, struct err *e)
{
	const char *first = w->w[0];
	int r;

	grammar_expand(w);
	r = grammar_parse(w, p, e);
	if (!r && p->cmd->flags & CMD_WHOLE && w->w[0] != first)
		r = err_set(e, -EINVAL, "write '%s' in full: it is sluicectl that looks for it", w->w[0]);
	return r;
}

/* A line of 'list', without its end, is among those of 'lines'. */
static bool has_line(const char *lines, const char *line, size_t len)
{
	for (; lines && *lines; lines += strcspn(lines, "\n"), lines += *lines == '\n')
		if (strcspn(lines, "\n") == len && !memcmp(lines, line, len))
			return true;
	return false;
}

/* What there is, then what there may be. */
static void complete(const char *line, FILE *out)
{
	const size_t len = strlen(line);
	struct words *w = malloc(sizeof(*w));
	char *there = NULL, *may = NULL;
	size_t size;
	FILE *f = open_memstream(&there, &size), *g = open_memstream(&may, &size);

	if (f && g && w && !words_split(line, w, NULL)) {
		const bool whole = !len || strchr(" \t", line[len - 1]);
		const char *prefix = w->n && !whole ? w->w[--w->n] : "";
		grammar_expand(w);
		config_complete_keys(w, prefix, f);
		grammar_complete(line, g);
	}
	if (f)
		fclose(f);
	if (g)
		fclose(g);
	if (there)
		fputs(there, out);
	for (const char *s = may; s && *s; s += strcspn(s, "\n"), s += *s == '\n')
		if (!has_line(there, s, strcspn(s, "\n")))
			fprintf(out, "%.*s\n", (int)strcspn(s, "\n"), s);
	free(w);
	free(there);
	free(may);
}

int cli_execute(const char *line, bool json, FILE *out, struct err *e)
{
	struct words *w;
	struct parse *p;
	const char *rest;
	int r;

	/* both take an unfinished line as it is */
	if ((rest = after_word(line, "complete"))) {
		complete(rest, out);
		return 0;
	}
	if ((rest = after_word(line, "help"))) {
		grammar_help(rest, out);
		return 0;
	}
	w = malloc(sizeof(*w));
	p = malloc(sizeof(*p));
	if (!w || !p)
		r = err_set(e, -ENOMEM, "out of memory");
	else if (!(r = words_split(line, w, e)) && w->n && !(r = understand(w, p, e)))
		r = p->cmd->flags & CMD_CONFIG ? run_config(w, out, e) : run(p, json, out, e);
	free(w);
	free(p);
	return r;
}

/* The other commands of a batch, found in the first pass. */
struct later {
	char **line;
	unsigned *number;
	unsigned n, size;
};

static int keep(struct later *l, char *line, unsigned number, struct err *e)
{
	if (l->n == l->size) {
		unsigned size = l->size ? 2 * l->size : 64;
		char **a = realloc(l->line, size * sizeof(*a));
		if (a)
			l->line = a;
		unsigned *b = realloc(l->number, size * sizeof(*b));
		if (b)
			l->number = b;
		if (!a || !b)
			return err_set(e, -ENOMEM, "out of memory");
		l->size = size;
	}
	l->line[l->n] = line;
	l->number[l->n++] = number;
	return 0;
}

static int where(const char *name, unsigned line, int r, struct err *e)
{
	struct err copy = *e;

	snprintf(e->text, sizeof(e->text), "%.200s:%u: %.290s", name, line, copy.text);
	return r;
}

/* Configuration commands go into 'tx', others are parsed and kept. */
static int first_pass(struct config_tx *tx, const char *name, char *text, struct later *l, struct err *e)
{
	static struct words w;
	static struct parse p;
	unsigned n = 0;
	int r = 0;

	for (char *line = text, *end; !r && line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = 0;
		n++;
		if (after_word(line, "help")) {
			r = keep(l, line, n, e);
			continue;
		}
		r = words_split(line, &w, e);
		if (!r && !w.n)
			continue;
		if (!r)
			r = grammar_parse(&w, &p, e);
		if (r)
			return where(name, n, r, e);
		if (p.cmd->flags & CMD_CONFIG)
			r = config_line(tx, n, line, e);
		else if (p.cmd->flags & CMD_ALONE)
			r = where(name, n, err_set(e, -EINVAL, "'%s' cannot be part of a batch", w.w[0]), e);
		else
			r = keep(l, line, n, e);
	}
	return r;
}

int cli_batch(const char *name, char *text, bool json, FILE *out, struct err *e)
{
	struct later l = { 0 };
	struct config_tx *tx = config_begin(name);
	int r = first_pass(tx, name, text, &l, e);

	if (r)
		config_abort(tx);
	else
		r = config_commit(tx, false, out, e);
	for (unsigned i = 0; i < l.n && !r; i++) {
		r = cli_execute(l.line[i], json, out, e);
		if (r)
			where(name, l.number[i], r, e);
	}
	free(l.line);
	free(l.number);
	return r;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows and one matcher that serves parsing, error texts and completion: while it walks a compiled pattern, it notes
 * what it would have taken at the furthest word it reached. Control thread. */
#include "cli/grammar_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

enum { EXPECT_MAX = 128, ROWS_MAX = 256 };

struct row {
	struct command cmd;
	struct node *tree;
};
static struct row rows[ROWS_MAX];
static unsigned n_rows;

static void give_fields(struct node *n, const char *fields)
{
	for (; n; n = n->next) {
		if (n->arg && !strcmp(n->arg->name, "FIELD=VALUE"))
			n->fields = fields;
		give_fields(n->child, fields);
	}
}

static void add_row(const struct command *cmd)
{
	struct row *r = &rows[n_rows];

	if (n_rows == ROWS_MAX)
		abort();
	r->cmd = *cmd;
	r->cmd.pattern = strdup(cmd->pattern);
	r->cmd.help = strdup(cmd->help);
	r->tree = pattern_compile(cmd->pattern);
	give_fields(r->tree, cmd->fields);
	n_rows++;
}

void grammar_init(void)
{
	if (n_rows)
		return;
	commands_generate(add_row);
	for (const struct command *const *l = command_lists; *l; l++)
		for (const struct command *c = *l; c->pattern; c++)
			add_row(c);
}

const struct command *grammar_row(unsigned i)
{
	return i < n_rows ? &rows[i].cmd : NULL;
}

/* ---- match ---- */

enum result { MATCHED, NOT_HERE /* first word is another's */, FAILED /* began well, then not */ };

struct match {
	char *const *w;
	unsigned n, far;
	struct parse *p;
	unsigned n_expect;
	const struct node *expect[EXPECT_MAX];
	unsigned first_arg,
		far_arg; /* word index of the row's first argument; the same for the row that got furthest */
	unsigned text;   /* behind the last word that was taken as a text */
	const char *twice;
	const struct node *missing;
};

static void expect(struct match *m, unsigned pos, const struct node *n)
{
	if (pos < m->far)
		return;
	if (pos > m->far) {
		m->far = pos;
		m->n_expect = 0;
		m->missing = NULL;
		m->twice = NULL;
	}
	m->far_arg = m->first_arg;
	for (unsigned i = 0; i < m->n_expect; i++)
		if (m->expect[i]->type == n->type && m->expect[i]->arg == n->arg &&
		    (n->type == NODE_ARG || !strcmp(m->expect[i]->text, n->text)))
			return;
	if (m->n_expect < EXPECT_MAX)
		m->expect[m->n_expect++] = n;
}

static enum result match_leaf(struct match *m, const struct node *n, unsigned *pos)
{
	struct arg *a = &m->p->arg[m->p->n];

	if (*pos >= m->n) {
		expect(m, *pos, n);
		return NOT_HERE;
	}
	if (m->p->n == ARGS_MAX)
		return FAILED;
	a->text = m->w[*pos];
	a->label = n->label;
	a->type = n->arg;
	if (n->type == NODE_WORD) {
		if (strcmp(a->text, n->text)) {
			expect(m, *pos, n);
			return NOT_HERE;
		}
		m->p->n += !n->silent;
	} else {
		if (!(n->arg->parse(m->w[*pos], a) || (n->unit && arg_parse_unit(m->w[*pos], n->unit, &a->n))) ||
		    (n->hi && (a->n < n->lo || a->n > n->hi))) {
			expect(m, *pos, n);
			return NOT_HERE;
		}
		if (!m->first_arg)
			m->first_arg = *pos;
		if (!strcmp(n->arg->name, "TEXT"))
			m->text = *pos + 1;
		m->p->n++;
	}
	++*pos;
	return MATCHED;
}

static const struct node *first_leaf(const struct node *n)
{
	while (n->type == NODE_SEQ || n->type == NODE_CHOICE)
		n = n->child;
	return n;
}

static bool begins_with(const struct node *n, const char *word)
{
	if (n->type == NODE_WORD)
		return !strcmp(n->text, word);
	if (n->type == NODE_SEQ)
		return begins_with(n->child, word);
	if (n->type == NODE_CHOICE)
		for (n = n->child; n; n = n->next)
			if (begins_with(n, word))
				return true;
	return false;
}

static enum result match(struct match *m, const struct node *n, unsigned *pos);

/* A group ends here: MATCHED unless a required member is missing or one that was used comes again. */
static enum result end_group(struct match *m, const struct node *g, uint32_t used, unsigned pos)
{
	unsigned i = 0;

	for (const struct node *n = g->child; n; n = n->next, i++) {
		bool was_used = used >> i & 1;
		if (was_used && pos < m->n && begins_with(n, m->w[pos])) {
			expect(m, pos, first_leaf(n));
			m->twice = m->w[pos];
			return FAILED;
		}
		if (n->required && !was_used) {
			expect(m, pos, first_leaf(n));
			if (m->far == pos && !m->missing)
				m->missing = n;
			return FAILED;
		}
	}
	return MATCHED;
}

static enum result match_group(struct match *m, const struct node *g, unsigned *pos)
{
	uint32_t used = 0;

	for (;;) {
		const struct node *n = g->child;
		enum result r = NOT_HERE;
		unsigned i;
		for (i = 0; n; n = n->next, i++) {
			if ((used >> i & 1) && !n->repeat)
				continue;
			r = match(m, n, pos);
			if (r != NOT_HERE)
				break;
		}
		if (r == FAILED)
			return r;
		if (r == NOT_HERE)
			return end_group(m, g, used, *pos);
		used |= 1u << i;
	}
}

static enum result match(struct match *m, const struct node *n, unsigned *pos)
{
	enum result r = NOT_HERE;
	unsigned at = *pos;

	switch (n->type) {
	case NODE_WORD:
	case NODE_ARG:
		return match_leaf(m, n, pos);
	case NODE_GROUP:
		return match_group(m, n, pos);
	case NODE_CHOICE:
		for (n = n->child; n && r == NOT_HERE; n = n->next)
			r = match(m, n, pos);
		return r;
	default:
		for (n = n->child; n; n = n->next) {
			r = match(m, n, pos);
			if (r != MATCHED)
				return *pos == at ? r : FAILED;
		}
		return MATCHED;
	}
}

/* The row that takes all words, NULL if none. */
static const struct row *match_rows(struct match *m)
{
	for (unsigned i = 0; i < n_rows; i++) {
		unsigned pos = 0;
		m->p->n = 0;
		m->first_arg = 0;
		if (match(m, rows[i].tree, &pos) != MATCHED)
			continue;
		if (pos == m->n)
			return &rows[i];
		if (pos > m->far) {
			m->far = pos;
			m->n_expect = 0;
			m->far_arg = m->first_arg;
		}
	}
	return NULL;
}

/* ---- error texts ---- */

/* Those that begin with 'word' */
static void print_expected(const struct match *m, const char *word, FILE *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_expect; i++) {
		const struct node *e = m->expect[i];
		if (!*word || (!e->arg && !strncmp(e->text, word, strlen(word))))
			fprintf(f, "%s%s", n++ ? "|" : "", e->arg ? e->arg->name : e->text);
	}
}

static void print_arg_text(const struct node *n, FILE *f)
{
	fputs(n->arg->text, f);
	if (n->hi)
		fprintf(f, " from %llu to %llu%s%s", (unsigned long long)n->lo, (unsigned long long)n->hi,
			n->unit && *n->unit ? " " : "", n->unit ? n->unit : "");
}

/* The alternatives a missing member could begin with */
static void print_missing(const struct node *n, FILE *f)
{
	if (n->type == NODE_CHOICE) {
		for (const struct node *c = n->child; c; c = c->next) {
			print_missing(c, f);
			if (c->next)
				fputc('|', f);
		}
		return;
	}
	n = first_leaf(n);
	fputs(n->arg ? n->arg->name : n->text, f);
}

/* The value, where words may stand in its place, NULL when more is expected than one option */
static const struct node *one_value(const struct match *m)
{
	const struct node *value = NULL;

	for (unsigned i = 0; i < m->n_expect; i++) {
		const struct node *n = m->expect[i];
		if (strcmp(n->label, m->expect[0]->label) || (n->arg && value))
			return NULL;
		value = n->arg ? n : value;
	}
	return value;
}

static void print_not_value(const struct match *m, const struct node *value, unsigned printed, FILE *f)
{
	if (m->far && strcmp(value->label, m->w[m->far - 1]) == 0 && m->far - 1 > printed)
		fprintf(f, "%s: ", value->label);
	fprintf(f, "'%.100s' is not ", m->w[m->far]);
	print_arg_text(value, f);
	for (unsigned i = 0, n = 0; i < m->n_expect; i++)
		if (!m->expect[i]->arg)
			fprintf(f, "%s nor %s", n++ ? "" : ",", m->expect[i]->text);
}

/* Keywords that begin so; '*last' is one. */
static unsigned begun_with(const struct match *m, const char *word, const struct node **last)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_expect; i++)
		if (!m->expect[i]->arg && *word && !strncmp(m->expect[i]->text, word, strlen(word))) {
			*last = m->expect[i];
			n++;
		}
	return n;
}

static unsigned begun(const struct match *m, const char *word)
{
	const struct node *one;

	return begun_with(m, word, &one);
}

bool grammar_expand(struct words *w)
{
	static struct parse p;
	const struct node *one = NULL;
	bool some = false;

	for (unsigned i = 0; i <= w->n; i++) {
		struct match m = { .w = w->w, .n = w->n, .p = &p };
		if (match_rows(&m) || m.far >= m.n || begun_with(&m, w->w[m.far], &one) != 1 ||
		    !strcmp(w->w[m.far], one->text))
			break;
		w->w[m.far] =
			(char *)one->text; /* patterns live as long as the process; nobody writes into a keyword */
		some = true;
	}
	return some;
}

static int explain_mismatch(const struct match *m, struct err *e)
{
	unsigned to = m->far_arg && m->far_arg < m->far ? m->far_arg : m->far ? m->far - 1 : 0;
	FILE *f;

	if (!e)
		return -EINVAL;
	f = fmemopen(e->text, sizeof(e->text), "w");
	if (!f)
		return -EINVAL;
	for (unsigned i = 1; i <= to; i++)
		fprintf(f, "%.64s%s", m->w[i], i < to ? " " : ": ");
	if (m->twice) {
		fprintf(f, "%s is given twice", m->twice);
	} else if (m->far >= m->n && m->missing) {
		print_missing(m->missing, f);
		fputs(" is missing", f);
	} else if (m->far >= m->n) {
		fputs("something is missing, expected ", f);
		print_expected(m, "", f);
	} else if (!m->n_expect) {
		fprintf(f, "unexpected word '%.100s', nothing may follow here", m->w[m->far]);
	} else if (one_value(m)) {
		print_not_value(m, one_value(m), to, f);
	} else {
		const bool several = begun(m, m->w[m->far]) > 1;
		fprintf(f, several ? "ambiguous word '%.100s': " : "unknown word '%.100s', expected ", m->w[m->far]);
		print_expected(m, several ? m->w[m->far] : "", f);
	}
	if (m->text && m->text == m->far && m->far < m->n)
		fputs("; a text with blanks stands in \"\"", f);
	fclose(f);
	e->text[sizeof(e->text) - 1] = 0;
	return -EINVAL;
}

int grammar_parse(const struct words *w, struct parse *p, struct err *e)
{
	struct match m = { .w = w->w, .n = w->n, .p = p };
	const struct row *r = match_rows(&m);

	if (!r)
		return explain_mismatch(&m, e);
	p->cmd = &r->cmd;
	return 0;
}

const struct arg *parse_arg(const struct parse *p, const char *label)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!strcmp(p->arg[i].label, label))
			return &p->arg[i];
	return NULL;
}

/* ---- help and completion ---- */

/* As typed, without '~' and ranges */
static void print_pattern(const char *s, FILE *f)
{
	for (; *s; s++) {
		if (*s == '~' && s[1] == ' ') {
			s++;
			continue;
		}
		if (*s == ':' && isdigit((unsigned char)s[1]))
			s += strcspn(s, " ()[]|") - 1;
		else
			fputc(*s, f);
	}
}

/* Do the row's leading words agree with 'w' as far as both go? Arguments agree with everything. Without 'whole', the
 * beginning of a word stands for it. */
static bool row_has(const struct row *r, const struct words *w, bool whole)
{
	const char *s = r->cmd.pattern;

	for (unsigned i = 0; i < w->n; i++) {
		size_t len = strcspn(s, " ");
		if (!len || strcspn(s, "([~|ABCDEFGHIJKLMNOPQRSTUVWXYZ") < len)
			return true;
		const size_t typed = strlen(w->w[i]);
		if (typed > len || (whole && typed < len) || memcmp(w->w[i], s, typed))
			return false;
		s += len + (s[len] == ' ');
	}
	return true;
}

static unsigned list_rows(const struct words *w, bool whole, FILE *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_rows; i++) {
		if ((rows[i].cmd.flags & CMD_HIDDEN) || !row_has(&rows[i], w, whole))
			continue;
		print_pattern(rows[i].cmd.pattern, out);
		fprintf(out, "\n    %s\n", rows[i].cmd.help);
		n++;
	}
	return n;
}

void grammar_help(const char *line, FILE *out)
{
	static struct words w;

	if (words_split(line, &w, NULL))
		return;
	if (!list_rows(&w, true, out) && !list_rows(&w, false, out))
		fprintf(out, "no command begins so; 'help' alone lists all\n");
}

static void print_matching(char *list, const char *prefix, FILE *out)
{
	char *save = NULL;

	for (char *s = strtok_r(list, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		if (!strncmp(s, prefix, strlen(prefix)))
			fprintf(out, "%s\n", s);
}

static void complete_field(const char *fields, const char *prefix, FILE *out)
{
	for (const char *s = fields; *s; s += strcspn(s, " "), s += *s == ' ') {
		const size_t n = strcspn(s, " #@?"), typed = strlen(prefix);
		if (typed <= n && !memcmp(s, prefix, typed))
			fprintf(out, "%.*s=\n", (int)n, s);
	}
}

static void complete_arg(const struct node *n, const char *prefix, FILE *out)
{
	if (n->fields)
		complete_field(n->fields, prefix, out);
	if (n->arg->complete) {
		char *list = NULL;
		size_t size;
		FILE *f = open_memstream(&list, &size);
		if (!f)
			return;
		n->arg->complete(f);
		fclose(f);
		print_matching(list, prefix, out);
		free(list);
	}
	fprintf(out, "<%s: ", n->arg->name);
	print_arg_text(n, out);
	fputs(">\n", out);
}

void grammar_complete(const char *line, FILE *out)
{
	static struct words w;
	static struct parse p;
	size_t len = strlen(line);
	const char *prefix = "";
	struct match m = { .w = w.w, .p = &p };

	if (words_split(line, &w, NULL))
		return;
	if (w.n && len && line[len - 1] != ' ' && line[len - 1] != '\t')
		prefix = w.w[--w.n];
	grammar_expand(&w);
	m.n = w.n;
	const struct row *whole = match_rows(&m);
	if (whole && !*prefix && w.n) /* in front: more may follow, and need not */
		fputs("<Enter: the command is complete>\n", out);
	if (!whole && m.far < m.n) {
		struct err e;
		explain_mismatch(&m, &e);
		fprintf(out, "<%s>\n", e.text);
	}
	if (m.far < m.n) /* else nothing more is expected */
		return;
	/* values in front: a word beside one is not all that may stand there */
	for (unsigned i = 0; i < m.n_expect; i++)
		if (m.expect[i]->arg)
			complete_arg(m.expect[i], prefix, out);
	for (unsigned i = 0; i < m.n_expect; i++)
		if (!m.expect[i]->arg && !strncmp(m.expect[i]->text, prefix, strlen(prefix)))
			fprintf(out, "%s\n", m.expect[i]->text);
}

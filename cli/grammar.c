/* SPDX-License-Identifier: BSD-2-Clause */
/* Command rows compiled into small trees, and one matcher that serves parsing, error texts and completion: while it walks,
 * it notes what it would have taken at the furthest word it reached. Control thread; the trees live as long as the process. */
#include "cli/grammar.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

enum node_type { NODE_WORD, NODE_ARG, NODE_SEQ, NODE_CHOICE, NODE_GROUP };
enum { EXPECT_MAX = 128, ROWS_MAX = 256, GROUP_MAX = 32 };

struct node {
	uint8_t type;
	bool repeat, required; /* members of a group */
	bool silent;	       /* keyword that only labels the argument behind it */
	const char *label, *text;
	const struct arg_type *arg;
	uint64_t lo, hi;
	struct node *child, *next;
};

struct row {
	struct command cmd;
	struct node *tree;
};
static struct row rows[ROWS_MAX];
static unsigned n_rows;

/* ---- compile ---- */

struct compiler {
	const char *s, *pattern;
};

static _Noreturn void bad_pattern(const struct compiler *c)
{
	fprintf(stderr, "malformed pattern: %s\n at: %s\n", c->pattern, c->s);
	abort();
}

static struct node *node_new(enum node_type type)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	n->type = (uint8_t)type;
	return n;
}

static void node_append(struct node *parent, struct node *n)
{
	struct node **p = &parent->child;

	while (*p)
		p = &(*p)->next;
	*p = n;
}

static char *lower(const char *s, size_t len)
{
	char *r = strndup(s, len);

	for (char *c = r; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return r;
}

/* 'label' NULL: the node names itself */
static struct node *compile_token(struct compiler *c, const char *s, size_t len, const char *label)
{
	struct node *n;
	const char *colon;

	if (!isupper((unsigned char)*s)) {
		n = node_new(NODE_WORD);
		n->text = strndup(s, len);
		n->label = label ? label : n->text;
		return n;
	}
	n = node_new(NODE_ARG);
	n->arg = arg_type_by_name(s, len);
	colon = memchr(s, ':', len);
	if (!n->arg && colon) {
		unsigned long long lo, hi;
		if (sscanf(colon + 1, "%llu-%llu", &lo, &hi) != 2)
			bad_pattern(c);
		n->lo = lo;
		n->hi = hi;
		len = (size_t)(colon - s);
		n->arg = arg_type_by_name(s, len);
	}
	if (!n->arg)
		bad_pattern(c);
	n->label = label ? label : lower(s, len);
	return n;
}

static struct node *compile_seq(struct compiler *c, bool in_parens);

/* ( a | b c ) */
static struct node *compile_parens(struct compiler *c)
{
	struct node *n = node_new(NODE_CHOICE);

	do {
		c->s++;
		node_append(n, compile_seq(c, true));
	} while (*c->s == '|');
	if (*c->s != ')')
		bad_pattern(c);
	c->s++;
	return n;
}

/* word, ARG, or a|b|c outside parentheses */
static struct node *compile_words(struct compiler *c, bool in_parens, const char *label)
{
	size_t len = strcspn(c->s, in_parens ? " ()[]|" : " ()[]");
	const char *s = c->s;
	struct node *n;

	if (!len)
		bad_pattern(c);
	c->s += len;
	if (!memchr(s, '|', len))
		return compile_token(c, s, len, isupper((unsigned char)*s) ? label : NULL);
	n = node_new(NODE_CHOICE);
	for (const char *end = s + len; s < end;) {
		const char *bar = memchr(s, '|', (size_t)(end - s));
		size_t part = (size_t)((bar ? bar : end) - s);
		node_append(n, compile_token(c, s, part, label));
		s += part + 1;
	}
	return n;
}

/* A keyword and, when one follows, its argument */
static struct node *compile_member(struct compiler *c, bool in_parens)
{
	struct node *seq = node_new(NODE_SEQ), *word = compile_words(c, in_parens, NULL);

	seq->required = true;
	node_append(seq, word);
	while (*c->s == ' ')
		c->s++;
	if (word->type == NODE_WORD && *c->s && !strchr("()[]|~", *c->s)) {
		word->silent = true;
		node_append(seq, compile_words(c, in_parens, word->text));
	}
	return seq;
}

static struct node *compile_group(struct compiler *c, bool in_parens)
{
	struct node *g = node_new(NODE_GROUP), *n;

	for (;;) {
		while (*c->s == ' ' || *c->s == '~')
			c->s++;
		if (!*c->s || *c->s == ')' || *c->s == ']' || *c->s == '|')
			return g;
		if (*c->s == '[') {
			c->s++;
			n = compile_seq(c, false);
			if (*c->s++ != ']')
				bad_pattern(c);
			if (!strncmp(c->s, "...", 3)) {
				n->repeat = true;
				c->s += 3;
			}
		} else if (*c->s == '(') {
			n = compile_parens(c);
			n->required = true;
		} else {
			n = compile_member(c, in_parens);
		}
		node_append(g, n);
	}
}

static struct node *compile_seq(struct compiler *c, bool in_parens)
{
	struct node *seq = node_new(NODE_SEQ), *last = NULL, *n;

	for (;;) {
		while (*c->s == ' ')
			c->s++;
		if (!*c->s || *c->s == ')' || *c->s == ']' || *c->s == '|')
			break;
		if (*c->s == '[' || *c->s == '~') {
			n = compile_group(c, in_parens);
		} else if (*c->s == '(') {
			n = compile_parens(c);
		} else {
			const char *label = last && last->type == NODE_WORD ? last->text : NULL;
			n = compile_words(c, in_parens, label);
			if (label && n->type != NODE_WORD)
				last->silent = true;
		}
		node_append(seq, n);
		last = n;
	}
	if (!seq->child)
		bad_pattern(c);
	return seq;
}

static void add_row(const struct command *cmd)
{
	struct compiler c = { .s = cmd->pattern, .pattern = cmd->pattern };
	struct row *r = &rows[n_rows];

	if (n_rows == ROWS_MAX)
		abort();
	r->cmd = *cmd;
	r->cmd.pattern = strdup(cmd->pattern);
	r->cmd.help = strdup(cmd->help);
	r->tree = compile_seq(&c, false);
	if (*c.s)
		bad_pattern(&c);
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
	unsigned first_arg, far_arg; /* word index of the row's first argument; the same for the row that got furthest */
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
		if (!n->arg->parse(m->w[*pos], a) || (n->hi && (a->n < n->lo || a->n > n->hi))) {
			expect(m, *pos, n);
			return NOT_HERE;
		}
		if (!m->first_arg)
			m->first_arg = *pos;
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
		if (r == MATCHED) {
			used |= 1u << i;
			continue;
		}
		for (i = 0, n = g->child; n; n = n->next, i++) {
			if ((used >> i & 1) && *pos < m->n && begins_with(n, m->w[*pos])) {
				expect(m, *pos, first_leaf(n));
				m->twice = m->w[*pos];
				return FAILED;
			}
			if (n->required && !(used >> i & 1)) {
				expect(m, *pos, first_leaf(n));
				if (m->far == *pos && !m->missing)
					m->missing = n;
				return FAILED;
			}
		}
		return MATCHED;
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

static void print_expected(const struct match *m, FILE *f)
{
	for (unsigned i = 0; i < m->n_expect; i++)
		fprintf(f, "%s%s", i ? "|" : "", m->expect[i]->arg ? m->expect[i]->arg->name : m->expect[i]->text);
}

static void print_arg_text(const struct node *n, FILE *f)
{
	fputs(n->arg->text, f);
	if (n->hi)
		fprintf(f, " from %llu to %llu", (unsigned long long)n->lo, (unsigned long long)n->hi);
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
		print_expected(m, f);
	} else if (!m->n_expect) {
		fprintf(f, "unexpected word '%.100s', nothing may follow here", m->w[m->far]);
	} else if (m->n_expect == 1 && m->expect[0]->arg) {
		const struct node *n = m->expect[0];
		if (m->far && strcmp(n->label, m->w[m->far - 1]) == 0 && m->far - 1 > to)
			fprintf(f, "%s: ", n->label);
		fprintf(f, "'%.100s' is not ", m->w[m->far]);
		print_arg_text(n, f);
	} else {
		fprintf(f, "unknown word '%.100s', expected ", m->w[m->far]);
		print_expected(m, f);
	}
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

/* Do the row's leading words agree with 'w' as far as both go? Arguments agree with everything. */
static bool row_has(const struct row *r, const struct words *w)
{
	const char *s = r->cmd.pattern;

	for (unsigned i = 0; i < w->n; i++) {
		size_t len = strcspn(s, " ");
		if (!len || strcspn(s, "([~|ABCDEFGHIJKLMNOPQRSTUVWXYZ") < len)
			return true;
		if (strlen(w->w[i]) != len || memcmp(w->w[i], s, len))
			return false;
		s += len + (s[len] == ' ');
	}
	return true;
}

void grammar_help(const char *line, FILE *out)
{
	static struct words w;
	unsigned n = 0;

	if (words_split(line, &w, NULL))
		return;
	for (unsigned i = 0; i < n_rows; i++) {
		if ((rows[i].cmd.flags & CMD_HIDDEN) || !row_has(&rows[i], &w))
			continue;
		print_pattern(rows[i].cmd.pattern, out);
		fprintf(out, "\n    %s\n", rows[i].cmd.help);
		n++;
	}
	if (!n)
		fprintf(out, "no command begins so; 'help' alone lists all\n");
}

static void print_matching(char *list, const char *prefix, FILE *out)
{
	char *save = NULL;

	for (char *s = strtok_r(list, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		if (!strncmp(s, prefix, strlen(prefix)))
			fprintf(out, "%s\n", s);
}

static void complete_arg(const struct node *n, const char *prefix, FILE *out)
{
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
	m.n = w.n;
	match_rows(&m);
	if (m.far < m.n)
		return;
	for (unsigned i = 0; i < m.n_expect; i++) {
		const struct node *n = m.expect[i];
		if (n->arg)
			complete_arg(n, prefix, out);
		else if (!strncmp(n->text, prefix, strlen(prefix)))
			fprintf(out, "%s\n", n->text);
	}
}

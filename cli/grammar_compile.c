/* SPDX-License-Identifier: BSD-2-Clause */
/* Patterns of command rows into small trees (the notation: cli/grammar.h). Once at start, control thread. */
#include "cli/grammar_private.h"

#include <ctype.h>
#include <stdlib.h>

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
		int end = 0;
		if (sscanf(colon + 1, "%llu-%llu%n", &lo, &hi, &end) != 2)
			bad_pattern(c);
		n->lo = lo;
		n->hi = hi;
		n->unit = strndup(colon + 1 + end, (size_t)(s + len - (colon + 1 + end)));
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
	unsigned members = 0;

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
		if (++members > GROUP_MAX)
			bad_pattern(c);
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

struct node *pattern_compile(const char *pattern)
{
	struct compiler c = { .s = pattern, .pattern = pattern };
	struct node *n = compile_seq(&c, false);

	if (*c.s)
		bad_pattern(&c);
	return n;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The model: every configured object by its key, in lists by kind, with what it occupies and what it needs counted
 * beside, so that each check of a transaction is a look-up. Control thread. */
#include "cli/model.h"

#include <stdlib.h>

#include "fwd/base/log.h"

/* Deletions run from the end to the start, additions from the start to the end. */
const struct config_kind *const config_kinds[] = { &kind_setting, &kind_port,    &kind_vtep,    &kind_pool,
						   &kind_ipmasq,  &kind_tunnel,  &kind_ipcache, &kind_endpoint,
						   &kind_policy,  &kind_service, &kind_backend, NULL };
_Static_assert(ARRAY_LEN(config_kinds) <= CONFIG_KINDS_MAX, "room for every kind");

struct model config_model;
bool config_is_started;
bool config_devices_required;
struct config_hooks config_hooks;

static _Noreturn void no_memory(void)
{
	/* a half-entered model cannot be reported about; the next start loads the file again */
	log_error("out of memory for the configuration");
	abort();
}

static uint32_t hash_word(const char *s)
{
	uint32_t h = 2166136261u; /* FNV-1a: keys come from operators, not from the wire */

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

unsigned kind_index(const struct config_kind *k)
{
	unsigned i = 0;

	while (config_kinds[i] != k)
		i++;
	return i;
}

/* ---- objects ---- */

static char *print_string(void (*fn)(const void *, FILE *), const void *data)
{
	char *s = NULL;
	size_t size;
	FILE *f = open_memstream(&s, &size);

	if (!f)
		no_memory();
	if (fn)
		fn(data, f);
	if (fclose(f))
		no_memory();
	return s;
}

struct config_object *object_new(const struct config_kind *k, const void *data, unsigned line)
{
	struct config_object *o = calloc(1, sizeof(*o) + k->size);

	if (!o)
		no_memory();
	o->kind = k;
	o->line = line;
	o->key = print_string(k->print_key, data);
	o->hash = hash_word(o->key);
	memcpy(o->data, data, k->size);
	return o;
}

void object_free(struct config_object *o)
{
	if (!o)
		return;
	free(o->key);
	free(o);
}

char *object_options(const struct config_object *o)
{
	return print_string(o->kind->print_options, o->data);
}

bool object_equal(const struct config_object *a, const struct config_object *b)
{
	char *x = object_options(a), *y = object_options(b);
	bool equal = !strcmp(x, y);

	free(x);
	free(y);
	return equal;
}

/* ---- words ---- */

static void grow_words(struct model *m)
{
	uint32_t n = m->n_word_buckets * 2;
	struct word_entry **b = calloc(n, sizeof(*b));

	if (!b)
		return; /* only slower */
	for (uint32_t i = 0; i < m->n_word_buckets; i++)
		for (struct word_entry *w = m->words[i], *next; w; w = next) {
			next = w->chain;
			w->chain = b[w->hash & (n - 1)];
			b[w->hash & (n - 1)] = w;
		}
	free(m->words);
	m->words = b;
	m->n_word_buckets = n;
}

static struct word_entry **word_place(const struct model *m, const char *word, uint32_t hash,
				      const struct config_object *owner)
{
	struct word_entry **p = &m->words[hash & (m->n_word_buckets - 1)];

	while (*p && !((*p)->hash == hash && (*p)->owner == owner && !strcmp((*p)->word, word)))
		p = &(*p)->chain;
	return p;
}

static void word_change(struct model *m, const char *word, const struct config_object *owner, int by)
{
	uint32_t hash = hash_word(word);
	struct word_entry **p = word_place(m, word, hash, owner), *w = *p;

	if (!w) {
		w = calloc(1, sizeof(*w) + strlen(word) + 1);
		if (!w)
			no_memory();
		w->owner = owner;
		w->hash = hash;
		memcpy(w->word, word, strlen(word) + 1);
		*p = w;
		m->n_words++;
	}
	w->n += (uint32_t)by;
	if (!w->n) {
		*p = w->chain;
		free(w);
		m->n_words--;
	} else if (m->n_words > m->n_word_buckets) {
		grow_words(m);
	}
}

struct word_ctx {
	struct model *m;
	const struct config_object *o;
	int by;
};

static void occupy(void *arg, const char *word)
{
	struct word_ctx *c = arg;

	word_change(c->m, word, c->o, c->by);
}

static void need(void *arg, const char *word)
{
	struct word_ctx *c = arg;

	word_change(c->m, word, NULL, c->by);
}

static void index_object(struct model *m, const struct config_object *o, int by)
{
	struct word_ctx c = { m, o, by };

	if (o->kind->occupies)
		o->kind->occupies(o->data, occupy, &c);
	if (o->kind->needs)
		o->kind->needs(o->data, need, &c);
}

const struct config_object *model_occupant(const struct model *m, const char *word, const struct config_object *o)
{
	uint32_t hash = hash_word(word);

	for (const struct word_entry *w = m->words[hash & (m->n_word_buckets - 1)]; w; w = w->chain)
		if (w->hash == hash && w->owner && w->owner != o && !strcmp(w->word, word))
			return w->owner;
	return NULL;
}

uint32_t model_needed(const struct model *m, const char *word)
{
	const struct word_entry *w = *word_place(m, word, hash_word(word), NULL);

	return w ? w->n : 0;
}

/* ---- the model ---- */

void model_init(struct model *m)
{
	*m = (struct model){ .n_buckets = 256, .n_word_buckets = 256 };
	m->buckets = calloc(m->n_buckets, sizeof(*m->buckets));
	m->words = calloc(m->n_word_buckets, sizeof(*m->words));
	if (!m->buckets || !m->words)
		no_memory();
}

void model_fini(struct model *m)
{
	for (unsigned k = 0; config_kinds[k]; k++)
		while (m->first[k]) {
			struct config_object *o = m->first[k];
			model_remove(m, o);
			object_free(o);
		}
	free(m->buckets);
	free(m->words);
	*m = (struct model){ 0 };
}

static struct config_object **object_place(const struct model *m, const char *key, uint32_t hash)
{
	struct config_object **p = &m->buckets[hash & (m->n_buckets - 1)];

	while (*p && !((*p)->hash == hash && !strcmp((*p)->key, key)))
		p = &(*p)->chain;
	return p;
}

struct config_object *model_find(const struct model *m, const char *key)
{
	return m->buckets ? *object_place(m, key, hash_word(key)) : NULL;
}

static void grow(struct model *m)
{
	uint32_t n = m->n_buckets * 2;
	struct config_object **b = calloc(n, sizeof(*b));

	if (!b)
		return; /* only slower */
	for (uint32_t i = 0; i < m->n_buckets; i++)
		for (struct config_object *o = m->buckets[i], *next; o; o = next) {
			next = o->chain;
			o->chain = b[o->hash & (n - 1)];
			b[o->hash & (n - 1)] = o;
		}
	free(m->buckets);
	m->buckets = b;
	m->n_buckets = n;
}

static void insert_after(struct model *m, struct config_object *prev, struct config_object *o)
{
	unsigned k = kind_index(o->kind);
	struct config_object **p, **from = prev ? &prev->next : &m->first[k];

	if (m->n_objects >= m->n_buckets)
		grow(m);
	p = object_place(m, o->key, o->hash);
	o->chain = *p;
	*p = o;
	o->prev = prev;
	o->next = *from;
	*from = o;
	*(o->next ? &o->next->prev : &m->last[k]) = o;
	m->count[k]++;
	m->n_objects++;
	index_object(m, o, 1);
}

void model_insert(struct model *m, struct config_object *o)
{
	insert_after(m, m->last[kind_index(o->kind)], o);
}

void model_put_back(struct model *m, struct config_object *o)
{
	insert_after(m, o->prev, o);
}

void model_remove(struct model *m, struct config_object *o)
{
	unsigned k = kind_index(o->kind);
	struct config_object **p = object_place(m, o->key, o->hash);

	*p = o->chain;
	*(o->prev ? &o->prev->next : &m->first[k]) = o->next;
	*(o->next ? &o->next->prev : &m->last[k]) = o->prev;
	m->count[k]--;
	m->n_objects--;
	index_object(m, o, -1);
}

/* ---- public ---- */

void config_init(void)
{
	grammar_init();
	config_is_started = false;
	if (!config_model.buckets)
		model_init(&config_model);
}

void config_fini(void)
{
	if (config_model.buckets)
		model_fini(&config_model);
}

void config_started(void)
{
	config_is_started = true;
}

const struct config_object *config_find(const char *key)
{
	return model_find(&config_model, key);
}

const struct config_object *config_first(const struct config_kind *kind)
{
	return config_model.first[kind_index(kind)];
}

uint32_t config_count(const struct config_kind *kind)
{
	return config_model.count[kind_index(kind)];
}

void config_complete(const char *kind, FILE *out)
{
	size_t len = strlen(kind);

	for (unsigned k = 0; config_kinds[k]; k++)
		for (struct config_object *o = config_model.first[k]; o && !strcmp(config_kinds[k]->name, kind);
		     o = o->next)
			fprintf(out, "%s\n", o->key + len + 1);
}

/* The word of 'key' behind those of 'w'; NULL: it is another key. */
static const char *key_word(const char *key, const struct words *w, size_t *len)
{
	for (unsigned i = 1; i < w->n; i++) {
		*len = strcspn(key, " ");
		if (strlen(w->w[i]) != *len || memcmp(w->w[i], key, *len))
			return NULL;
		key += *len + (key[*len] == ' ');
	}
	*len = strcspn(key, " ");
	return key;
}

enum { READABLE = 64 };
struct candidates {
	unsigned n;
	bool more;
	struct {
		const char *s;
		size_t len;
	} seen[READABLE];
};

static void add_candidate(struct candidates *c, const char *s, size_t len)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->seen[i].len == len && !memcmp(c->seen[i].s, s, len))
			return;
	if (c->n == READABLE) {
		c->more = true;
		return;
	}
	c->seen[c->n].s = s;
	c->seen[c->n++].len = len;
}

void config_complete_keys(const struct words *w, const char *prefix, FILE *out)
{
	const bool set = w->n && !strcmp(w->w[0], "set");
	struct candidates c = { .n = 0 };

	if (w->n < 2 || (!set && strcmp(w->w[0], "del") != 0))
		return;
	for (unsigned k = 0; config_kinds[k] && !c.more; k++) {
		const struct config_object *o = config_model.first[k];
		if (config_kinds[k] == &kind_setting || (set && !*config_kinds[k]->options))
			continue;
		for (; o && !c.more; o = o->next) {
			size_t len;
			const char *s = key_word(o->key, w, &len);
			if (s && len && !strncmp(s, prefix, strlen(prefix)))
				add_candidate(&c, s, len);
		}
	}
	if (c.more)
		fprintf(out, "<more than %d: type more of it>\n", READABLE);
	for (unsigned i = 0; i < c.n && !c.more; i++)
		fprintf(out, "%.*s\n", (int)c.seen[i].len, c.seen[i].s);
}

void config_save(FILE *f)
{
	for (unsigned k = 0; config_kinds[k]; k++)
		for (const struct config_object *o = config_model.first[k]; o; o = o->next) {
			fprintf(f, "%s %s", o->kind == &kind_setting ? "set" : "add", o->key);
			if (o->kind->print_options)
				o->kind->print_options(o->data, f);
			fputc('\n', f);
		}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Transactions: journal, check, apply, take back (cli/config.h says what is promised). Control thread.
 *
 * The journal lists every change of the model; apply and check work on the net changes, one per key. Applied operations
 * are logged as (kind, old, now), so taking back is the same call with old and now exchanged. */
#include "cli/model.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/log.h"
#include "tables/policy.h"
#include "tables/service.h"

struct change {
	struct config_object *old, *now;
	unsigned line;
	bool split; /* net changes: deletion in the one phase, addition in the other */
};
struct changes {
	struct change *c;
	unsigned n, size;
};
struct config_tx {
	struct model *m;
	const char *file; /* NULL: a single command */
	unsigned line;
	struct changes journal, net, done; /* done: applied operations */
	bool commit_policy, commit_services;
	char *warnings;
	size_t warnings_size;
	FILE *warn;
};

static struct change *append(struct changes *l)
{
	if (l->n == l->size) {
		unsigned size = l->size ? l->size * 2 : 16;
		struct change *c = realloc(l->c, size * sizeof(*c));
		if (!c) {
			log_error("out of memory in a configuration transaction");
			abort();
		}
		l->c = c;
		l->size = size;
	}
	l->c[l->n] = (struct change){ 0 };
	return &l->c[l->n++];
}

struct config_tx *tx_begin(struct model *m, const char *file)
{
	struct config_tx *tx = calloc(1, sizeof(*tx));

	if (!tx || !(tx->warn = open_memstream(&tx->warnings, &tx->warnings_size)))
		abort();
	tx->m = m;
	tx->file = file;
	return tx;
}

struct config_tx *config_begin(const char *file)
{
	return tx_begin(&config_model, file);
}

static void tx_free(struct config_tx *tx)
{
	fclose(tx->warn);
	free(tx->warnings);
	free(tx->journal.c);
	free(tx->net.c);
	free(tx->done.c);
	free(tx);
}

void tx_change(struct config_tx *tx, struct config_object *old, struct config_object *now)
{
	struct change *c = append(&tx->journal);

	*c = (struct change){ .old = old, .now = now, .line = tx->line };
	if (old)
		model_remove(tx->m, old);
	if (now)
		model_insert(tx->m, now);
}

void tx_change_at(struct config_tx *tx, unsigned line, struct config_object *old, struct config_object *now)
{
	tx->line = line;
	tx_change(tx, old, now);
}

void tx_keep(struct config_tx *tx)
{
	for (unsigned i = 0; i < tx->journal.n; i++)
		object_free(tx->journal.c[i].old);
	tx_free(tx);
}

void config_abort(struct config_tx *tx)
{
	for (unsigned i = tx->journal.n; i-- > 0;) {
		struct change *c = &tx->journal.c[i];
		if (c->now)
			model_remove(tx->m, c->now);
		if (c->old)
			model_put_back(tx->m, c->old);
		object_free(c->now);
	}
	tx_free(tx);
}

int tx_where(const struct config_tx *tx, unsigned line, int code, struct err *e)
{
	struct err copy;

	if (!e || !tx->file)
		return code;
	copy = *e;
	if (line)
		snprintf(e->text, sizeof(e->text), "%.200s:%u: %.290s", tx->file, line, copy.text);
	else
		snprintf(e->text, sizeof(e->text), "%.200s: %.300s", tx->file, copy.text);
	return code;
}

void config_warn(struct config_tx *tx, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("warning: ", tx->warn);
	vfprintf(tx->warn, fmt, ap);
	fputc('\n', tx->warn);
	va_end(ap);
}

const struct config_object *config_tx_find(const struct config_tx *tx, const char *key)
{
	return model_find(tx->m, key);
}

uint32_t config_tx_needed(const struct config_tx *tx, const char *word)
{
	return model_needed(tx->m, word);
}

const struct config_object *config_tx_first(const struct config_tx *tx, const struct config_kind *kind)
{
	return tx->m->first[kind_index(kind)];
}

uint32_t config_tx_count(const struct config_tx *tx, const struct config_kind *kind)
{
	return tx->m->count[kind_index(kind)];
}

/* ---- entering ---- */

int config_put(struct config_tx *tx, const struct config_kind *k, enum config_verb verb, const void *data,
	       struct err *e)
{
	struct config_object *now = object_new(k, data, tx->line), *old = model_find(tx->m, now->key);
	int r = 0;

	if (verb == CONFIG_ADD && old && !object_equal(old, now)) {
		char *options = object_options(old);
		r = err_set(e, -EEXIST, "%s exists with other values (%.200s): use 'set %.200s ...' to change it",
			    now->key, *options ? options + (*options == ' ') : "all at their defaults", now->key);
		free(options);
	} else if (verb != CONFIG_ADD && !old && k != &kind_setting) {
		r = err_set(e, -ENOENT, "there is no %s", now->key);
	}
	if (r || (verb != CONFIG_DEL && old && object_equal(old, now))) {
		object_free(now);
		return r;
	}
	if (verb == CONFIG_DEL) {
		object_free(now);
		now = NULL;
	}
	tx_change(tx, old, now);
	return 0;
}

int config_words(struct config_tx *tx, unsigned line, const struct words *w, struct err *e)
{
	static struct parse p;
	struct call c = { .p = &p, .tx = tx };
	int r;

	tx->line = line;
	if (!w->n)
		return 0;
	r = grammar_parse(w, &p, e);
	if (!r && !(p.cmd->flags & CMD_CONFIG))
		r = err_set(e, -EINVAL, "'%s' is not a configuration command", w->w[0]);
	if (!r)
		r = p.cmd->run(&c, e);
	return r ? tx_where(tx, line, r, e) : 0;
}

int config_line(struct config_tx *tx, unsigned line, const char *text, struct err *e)
{
	static struct words w;
	int r = words_split(text, &w, e);

	return r ? tx_where(tx, line, r, e) : config_words(tx, line, &w, e);
}

/* ---- net changes ---- */

static const struct config_object *either(const struct change *c)
{
	return c->old ? c->old : c->now;
}

/* First old and last now of every key. */
static void collect_net(struct config_tx *tx)
{
	unsigned mask = 15, *place;

	while (mask < 2 * tx->journal.n)
		mask = mask * 2 + 1;
	place = calloc(mask + 1, sizeof(*place));
	if (!place)
		abort();
	for (unsigned i = 0; i < tx->journal.n; i++) {
		const struct change *c = &tx->journal.c[i];
		const struct config_object *o = either(c);
		unsigned h = o->hash & mask;
		while (place[h] && strcmp(either(&tx->net.c[place[h] - 1])->key, o->key))
			h = (h + 1) & mask;
		if (place[h]) {
			tx->net.c[place[h] - 1].now = c->now;
			tx->net.c[place[h] - 1].line = c->line;
			continue;
		}
		*append(&tx->net) = *c;
		place[h] = tx->net.n;
	}
	free(place);
	/* nothing in the end: added and deleted, or deleted and added alike */
	unsigned n = 0;
	for (unsigned i = 0; i < tx->net.n; i++) {
		struct change c = tx->net.c[i];
		if (c.old || c.now)
			if (!c.old || !c.now || !object_equal(c.old, c.now))
				tx->net.c[n++] = c;
	}
	tx->net.n = n;
}

/* ---- stage 1: check ---- */

struct check_ctx {
	struct config_tx *tx;
	const struct config_object *o;
	const char *word; /* is_word */
	bool found;
	struct err *e;
	int r;
};

static void check_occupied(void *arg, const char *word)
{
	struct check_ctx *c = arg;
	const struct config_object *other = model_occupant(c->tx->m, word, c->o);

	/* of two that are new, the later line is to blame: its own check will find the earlier one */
	for (unsigned i = 0; other && i < c->tx->net.n; i++)
		if (c->tx->net.c[i].now == other && other->line > c->o->line)
			return;
	if (other && !c->r)
		c->r = err_set(c->e, -EEXIST, "%s: %s is used by %s already", c->o->key, word, other->key);
}

static void check_needed(void *arg, const char *word)
{
	struct check_ctx *c = arg;

	if (!c->r && word[0] != '=' && !model_find(c->tx->m, word))
		c->r = err_set(c->e, -ENOENT, "%s: there is no %s", c->o->key, word);
}

static void is_word(void *arg, const char *word)
{
	struct check_ctx *c = arg;

	c->found |= !strcmp(word, c->word);
}

static bool object_needs(const struct config_object *o, const char *word)
{
	struct check_ctx c = { .word = word };

	if (o->kind->needs)
		o->kind->needs(o->data, is_word, &c);
	return c.found;
}

/* One of the objects that need the word, NULL none. */
static const struct config_object *user_of(const struct config_tx *tx, const char *word)
{
	if (!model_needed(tx->m, word))
		return NULL;
	for (unsigned k = 0; config_kinds[k]; k++)
		for (const struct config_object *o = tx->m->first[k]; o; o = o->next)
			if (object_needs(o, word))
				return o;
	return NULL;
}

static int in_use(struct config_tx *tx, const struct config_object *gone, struct err *e)
{
	const struct config_object *user = user_of(tx, gone->key);
	uint32_t n = model_needed(tx->m, gone->key);

	if (!user)
		return 0;
	if (n > 1)
		return err_set(e, -EBUSY, "%s is used by %s and %u more: delete those first", gone->key, user->key,
			       n - 1);
	return err_set(e, -EBUSY, "%s is used by %s: delete that first", gone->key, user->key);
}

static int check_one(struct config_tx *tx, const struct change *n, struct err *e)
{
	struct check_ctx c = { .tx = tx, .o = n->now, .e = e };

	if (!n->now)
		return in_use(tx, n->old, e);
	if (n->now->kind->occupies)
		n->now->kind->occupies(n->now->data, check_occupied, &c);
	if (n->now->kind->needs && !c.r)
		n->now->kind->needs(n->now->data, check_needed, &c);
	return c.r;
}

static int check(struct config_tx *tx, struct err *e)
{
	int r = 0;

	/* all references first: the kinds' own checks may then rely on them */
	for (unsigned pass = 0; pass < 2 && !r; pass++)
		for (unsigned i = 0; i < tx->net.n && !r; i++) {
			const struct change *n = &tx->net.c[i];
			const struct config_kind *k = either(n)->kind;
			if (pass == 0)
				r = check_one(tx, n, e);
			else if (k->check)
				r = k->check(tx, n->old ? n->old->data : NULL, n->now ? n->now->data : NULL, e);
			if (r)
				tx_where(tx, n->line, r, e);
		}
	return r;
}

/* ---- stage 2: apply ---- */

static const void *data_of(const struct config_object *o)
{
	return o ? o->data : NULL;
}

static int apply(struct config_tx *tx, struct config_object *old, struct config_object *now, unsigned line,
		 struct err *e)
{
	const struct change c = { .old = old, .now = now, .line = line };
	const struct config_kind *k = either(&c)->kind;
	int r = k->apply(data_of(old), data_of(now), e);

	if (r)
		return tx_where(tx, line, r, e);
	*append(&tx->done) = c;
	tx->commit_policy |= k == &kind_policy || k == &kind_endpoint;
	tx->commit_services |= k == &kind_service || k == &kind_backend || k == &kind_endpoint;
	return 0;
}

/* What was entered one by one becomes one. */
static int commit_tables(struct config_tx *tx, struct err *e)
{
	int r = tx->commit_policy ? policy_commit(e) : 0;

	if (r || !tx->commit_services)
		return r;
	service_endpoints_changed();
	return service_commit(e);
}

static void take_back(struct config_tx *tx)
{
	struct err e;

	for (unsigned i = tx->done.n; i-- > 0;) {
		const struct change *c = &tx->done.c[i];
		if (either(c)->kind->apply(data_of(c->now), data_of(c->old), &e))
			log_error("taking back %s: %s", either(c)->key, e.text);
	}
	if (commit_tables(tx, &e))
		log_error("taking back: %s", e.text);
}

static bool moves(const struct config_tx *tx, const struct config_object *o)
{
	return o->kind->moves && o->kind->moves(tx, o->data);
}

/* What hangs on a VTEP that goes, or on another one from now on, is applied again. */
static void collect_again(struct config_tx *tx)
{
	unsigned n_changed = tx->net.n;
	bool others = false;

	for (unsigned i = 0; i < n_changed; i++)
		others |= either(&tx->net.c[i])->kind->moves_others;
	for (unsigned i = 0; i < n_changed; i++) {
		struct change *c = &tx->net.c[i];
		c->split = c->old && c->now && (!c->old->kind->in_place || (others && moves(tx, c->old)));
	}
	for (unsigned k = 0; others && config_kinds[k]; k++)
		for (struct config_object *o = tx->m->first[k]; o && o->kind->moves; o = o->next) {
			bool changed = !moves(tx, o);
			for (unsigned i = 0; i < n_changed && !changed; i++)
				changed = tx->net.c[i].now == o;
			if (!changed)
				*append(&tx->net) = (struct change){ .old = o, .now = o, .split = true };
		}
}

enum phase { PHASE_GONE, PHASE_NEW };

static int apply_part(struct config_tx *tx, enum phase phase, const struct change *c, struct err *e)
{
	if (phase == PHASE_GONE && c->old && (!c->now || c->split))
		return apply(tx, c->old, NULL, c->line, e);
	if (phase == PHASE_NEW && c->now)
		return apply(tx, c->split ? NULL : c->old, c->now, c->line, e);
	return 0;
}

/* Deletions (in reverse order of kinds) or additions and changes of all kinds but the early ones. */
static int apply_phase(struct config_tx *tx, enum phase phase, struct err *e)
{
	unsigned n_kinds = 0;

	while (config_kinds[n_kinds])
		n_kinds++;
	for (unsigned j = 0; j < n_kinds; j++) {
		const struct config_kind *k = config_kinds[phase == PHASE_GONE ? n_kinds - 1 - j : j];
		if (k->early)
			continue;
		for (unsigned i = 0; i < tx->net.n; i++) {
			const struct change *c = &tx->net.c[i];
			int r = either(c)->kind == k ? apply_part(tx, phase, c, e) : 0;
			if (r)
				return r;
		}
	}
	return 0;
}

/* gone: only deletions, else only what is there afterwards */
static int apply_early(struct config_tx *tx, const struct config_kind *k, bool gone, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < tx->net.n && !r; i++) {
		struct change *c = &tx->net.c[i];
		if (either(c)->kind == k && gone == !c->now)
			r = apply(tx, c->old, c->now, c->line, e);
	}
	return r;
}

static bool opens_port(const struct config_tx *tx)
{
	for (unsigned i = 0; i < tx->net.n; i++)
		if (either(&tx->net.c[i])->kind == &kind_port && tx->net.c[i].now)
			return true;
	return false;
}

static int apply_all(struct config_tx *tx, struct err *e)
{
	static bool prepared;
	/* a port that goes may hold the device of one that comes; else it goes last */
	bool ports_go_first = opens_port(tx);
	int r;

	if ((r = apply_early(tx, &kind_setting, true, e)) || (r = apply_early(tx, &kind_setting, false, e)))
		return r;
	if (!prepared && config_hooks.prepare) {
		if ((r = config_hooks.prepare(e)))
			return r;
		prepared = true;
	}
	if (ports_go_first && (r = apply_early(tx, &kind_port, true, e)))
		return r;
	if ((r = apply_early(tx, &kind_port, false, e)))
		return r;
	collect_again(tx);
	if ((r = apply_phase(tx, PHASE_GONE, e)) || (r = apply_phase(tx, PHASE_NEW, e)))
		return r;
	if ((r = commit_tables(tx, e)))
		return tx_where(tx, 0, r, e);
	return ports_go_first ? 0 : apply_early(tx, &kind_port, true, e);
}

static void notify_remotes(const struct config_tx *tx)
{
	bool changed = false;

	for (unsigned i = 0; i < tx->net.n; i++)
		changed |= either(&tx->net.c[i])->kind->moves != NULL;
	if (changed && config_hooks.remotes_changed)
		config_hooks.remotes_changed();
}

static void notify_all(const struct config_tx *tx)
{
	notify_remotes(tx);
	for (unsigned k = 0; config_kinds[k]; k++)
		for (unsigned i = 0; i < tx->net.n && config_kinds[k]->notify; i++) {
			const struct change *c = &tx->net.c[i];
			if (either(c)->kind == config_kinds[k] && c->old != c->now)
				config_kinds[k]->notify(data_of(c->old), data_of(c->now));
		}
}

int config_commit(struct config_tx *tx, bool check_only, FILE *warnings, struct err *e)
{
	int r;

	collect_net(tx);
	r = check(tx, e);
	if (!r && !check_only) {
		r = apply_all(tx, e);
		if (r)
			take_back(tx);
	}
	if (r || check_only) {
		if (!r && warnings) {
			fflush(tx->warn);
			fputs(tx->warnings, warnings);
		}
		config_abort(tx);
		return r;
	}
	notify_all(tx);
	fflush(tx->warn);
	if (warnings)
		fputs(tx->warnings, warnings);
	for (unsigned i = 0; i < tx->journal.n; i++)
		object_free(tx->journal.c[i].old);
	tx_free(tx);
	return 0;
}

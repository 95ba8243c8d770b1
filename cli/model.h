/* SPDX-License-Identifier: BSD-2-Clause */
/* The model's containers, for config.c, transaction.c and config_file.c only. Control thread. */
#pragma once

#include "cli/config.h"

/* String -> objects (several may share a word for a while inside a transaction) or a count. */
struct word_entry {
	struct word_entry *chain;
	const struct config_object *owner; /* NULL: a counter */
	uint32_t hash, n;
	char word[];
};
struct model {
	struct config_object **buckets;
	struct word_entry **words;
	uint32_t n_buckets, n_objects, n_word_buckets, n_words;
	struct config_object *first[CONFIG_KINDS_MAX], *last[CONFIG_KINDS_MAX];
	uint32_t count[CONFIG_KINDS_MAX];
};
extern struct model config_model; /* what runs */
extern bool config_is_started;

void model_init(struct model *m);
void model_fini(struct model *m); /* frees its objects */
struct config_object *model_find(const struct model *m, const char *key);
void model_insert(struct model *m, struct config_object *o); /* the key is free; the last of its kind */
void model_remove(struct model *m, struct config_object *o); /* not freed */
/* Where it was before it was removed; all changes after that have been undone. */
void model_put_back(struct model *m, struct config_object *o);
/* Another object than 'o' that occupies 'word', NULL if none. */
const struct config_object *model_occupant(const struct model *m, const char *word, const struct config_object *o);
uint32_t model_needed(const struct model *m, const char *word);
unsigned kind_index(const struct config_kind *k);

struct config_object *object_new(const struct config_kind *k, const void *data, unsigned line);
void object_free(struct config_object *o);
bool object_equal(const struct config_object *a, const struct config_object *b); /* same key given: same options? */
char *object_options(const struct config_object *o);                             /* malloc'ed, never NULL */

struct config_tx *tx_begin(struct model *m, const char *file);
/* Makes the model hold 'now' instead of 'old'; either may be NULL. Owns 'now' from here on. */
void tx_change(struct config_tx *tx, struct config_object *old, struct config_object *now);
void tx_change_at(struct config_tx *tx, unsigned line, struct config_object *old, struct config_object *now);
/* Keeps the changes without checking or applying (a scratch model); frees the transaction. */
void tx_keep(struct config_tx *tx);
/* All commands of an open file into 'tx'. */
int tx_read(struct config_tx *tx, FILE *f, struct err *e);
/* "FILE:LINE: " in front of the sentence. */
int tx_where(const struct config_tx *tx, unsigned line, int code, struct err *e);

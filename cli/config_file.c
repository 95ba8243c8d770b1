/* SPDX-License-Identifier: BSD-2-Clause */
/* From kinds to command rows (add, set, del), and whole files as transactions. Control thread. */
#include "cli/model.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "fwd/base/log.h"

/* ---- rows ---- */

struct verb {
	const struct config_kind *kind;
	enum config_verb verb;
};
enum { DATA_MAX = 4096 };

/* An optional word of the key looks like an option that 'set' changes. */
static int no_such(const struct parse *p, const struct config_object *o, struct err *e)
{
	const char *s = strstr(o->kind->key, "~ [");
	char word[16] = "";

	if (s)
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(s + 3, " |"), s + 3);
	if (!*word || !parse_has(p, word))
		return err_set(e, -ENOENT, "there is no %s", o->key);
	return err_set(e, -ENOENT, "there is no %s: %s is part of its name: del the old one and add the new one",
		       o->key, word);
}

static int run_verb(struct call *c, struct err *e)
{
	static _Alignas(16) uint8_t data[DATA_MAX];
	const struct verb *v = c->p->cmd->aux;
	const struct config_kind *k = v->kind;
	struct config_object *key;
	const struct config_object *old;
	int r;

	memset(data, 0, sizeof(data));
	r = k->parse(c->p, data, e);
	if (!r && v->verb != CONFIG_ADD && k->find)
		r = k->find(c->tx, data, e);
	if (r || v->verb != CONFIG_SET)
		return r ? r : config_put(c->tx, k, v->verb, data, e);
	/* what is there, with this command's words over it */
	key = object_new(k, data, 0);
	old = config_tx_find(c->tx, key->key);
	if (!old)
		r = no_such(c->p, key, e);
	object_free(key);
	if (!old)
		return r;
	memcpy(data, old->data, k->size);
	r = k->parse(c->p, data, e);
	return r ? r : config_put(c->tx, k, CONFIG_SET, data, e);
}

static size_t bracketed(const char *s)
{
	char open = *s, close = open == '[' ? ']' : ')';
	size_t n = 0;
	int depth = 0;

	do {
		depth += s[n] == open;
		depth -= s[n] == close;
		n++;
	} while (depth);
	return n;
}

/* In 'set' every option may be absent. */
static void print_optional(const char *s, FILE *f)
{
	while (*s) {
		if (*s == ' ' || *s == '.') {
			fputc(*s++, f);
			continue;
		}
		size_t n = *s == '[' || *s == '(' ? bracketed(s) : strcspn(s, " ") + 1;
		if (*s != '[' && *s != '(')
			n += strcspn(s + n, " ");
		fprintf(f, *s == '[' ? "%.*s" : "[%.*s]", (int)n, s);
		s += n;
	}
}

static void generate_kind(const struct config_kind *k, struct verb v[3], void (*add)(const struct command *c))
{
	static const char *const verbs[] = { "add", "set", "del" };

	if (k->size > DATA_MAX)
		abort();
	for (unsigned i = 0; i < 3; i++) {
		char *pattern = NULL, help[256];
		size_t size;
		FILE *f = open_memstream(&pattern, &size);
		if (!f)
			abort();
		v[i] = (struct verb){ k, (enum config_verb)i };
		if (i == CONFIG_SET && !*k->options) {
			fclose(f);
			free(pattern);
			continue;
		}
		fprintf(f, "%s %s", verbs[i], k->key);
		if (i != CONFIG_DEL && *k->options)
			fputs(" ~ ", f);
		if (i == CONFIG_ADD)
			fputs(k->options, f);
		else if (i == CONFIG_SET)
			print_optional(k->options, f);
		fclose(f);
		snprintf(help, sizeof(help), "%s%s%s",
			 i == CONFIG_ADD   ? ""
			 : i == CONFIG_SET ? "change: "
					   : "delete: ",
			 k->help, i == CONFIG_SET && strstr(pattern, " none|") ? "; none takes an option back" : "");
		add(&(struct command){
			.pattern = pattern, .help = help, .run = run_verb, .flags = CMD_CONFIG, .aux = &v[i] });
		free(pattern);
	}
}

void config_generate(void (*add)(const struct command *c))
{
	static struct verb verbs[CONFIG_KINDS_MAX][3];

	settings_generate(add);
	for (unsigned k = 0; config_kinds[k]; k++)
		if (config_kinds[k] != &kind_setting)
			generate_kind(config_kinds[k], verbs[k], add);
}

/* ---- files ---- */

int tx_read(struct config_tx *tx, FILE *f, struct err *e)
{
	char *line = NULL;
	size_t size = 0;
	unsigned n = 0;
	int r = 0;

	while (!r && getline(&line, &size, f) >= 0)
		r = config_line(tx, ++n, line, e);
	free(line);
	return r;
}

static int open_file(const char *path, FILE **f, struct err *e)
{
	*f = fopen(path, "re");
	return *f ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
}

static void log_lines(char *text)
{
	char *save = NULL;

	for (char *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		log_warn("%s", strncmp(s, "warning: ", 9) ? s : s + 9);
}

static int commit_logged(struct config_tx *tx, bool check_only, struct err *e)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int r = config_commit(tx, check_only, f, e);

	if (f)
		fclose(f);
	if (text)
		log_lines(text);
	free(text);
	return r;
}

int config_load(const char *path, bool check_only, struct err *e)
{
	struct config_tx *tx;
	FILE *f;
	int r = open_file(path, &f, e);

	if (r)
		return r;
	tx = config_begin(path);
	r = tx_read(tx, f, e);
	fclose(f);
	if (!r)
		return commit_logged(tx, check_only, e);
	config_abort(tx);
	return r;
}

/* Changes that turn 'config_model' into 'wanted', whose objects move over. */
static void enter_difference(struct config_tx *tx, struct model *wanted)
{
	for (unsigned k = 0; config_kinds[k]; k++) {
		for (struct config_object *o = config_model.first[k], *next; o; o = next) {
			next = o->next;
			if (!model_find(wanted, o->key))
				tx_change_at(tx, 0, o, NULL);
		}
		for (struct config_object *o = wanted->first[k], *next; o; o = next) {
			struct config_object *old = model_find(&config_model, o->key);
			next = o->next;
			if (old && object_equal(old, o))
				continue;
			model_remove(wanted, o);
			tx_change_at(tx, o->line, old, o);
		}
	}
}

int config_reload(const char *path, struct err *e)
{
	struct model wanted;
	struct config_tx *tx;
	FILE *f;
	int r = open_file(path, &f, e);

	if (r)
		return r;
	model_init(&wanted);
	tx = tx_begin(&wanted, path);
	r = tx_read(tx, f, e);
	fclose(f);
	if (r) {
		config_abort(tx);
	} else {
		tx_keep(tx);
		tx = config_begin(path);
		enter_difference(tx, &wanted);
		r = commit_logged(tx, false, e);
	}
	model_fini(&wanted);
	return r;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Settings: rows of settings.def as commands, as objects of the model, and as 'show settings'. Control thread. */
#include "cli/model.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/show.h"
#include "fwd/settings.h"
#include "tables/abi/replay.h"
#include "tables/ct.h"
#include "tables/policy.h"
#include "tables/service.h"

enum { START = 1, DECIDE = 2 };
#define U32 "u32"
#define BOOL "off|on"
#define TEXT "TEXT"
#define WORDS_OR(words) words "|N"

static const struct setting {
	const char *name, *type;
	void *target;
	uint32_t value, min, max; /* value: the default */
	const char *unit;
	unsigned flags;
	const char *help;
} rows[] = {
#define SETTING(name, type, target, value, min, max, unit, flags, help)                                                \
	{ name, type, target, value, min, max, unit, flags, help },
#include "cli/settings.def"
#undef SETTING
};

struct setting_value {
	uint32_t row, value;
	char text[sizeof(settings.dpdk_eal_args)]; /* all texts are of that size */
};

static bool is_number(const struct setting *s)
{
	return !strcmp(s->type, U32);
}

static bool is_text(const struct setting *s)
{
	return !strcmp(s->type, TEXT);
}

/* Some words, or else a number. */
static bool is_mixed(const struct setting *s)
{
	const size_t n = strlen(s->type);
	return n > 2 && !strcmp(s->type + n - 2, "|N");
}

/* Word number 'v' of "a|b|c". */
static void print_value(const struct setting *s, uint32_t v, char buf[static 32])
{
	const char *w = s->type;

	if (is_number(s)) {
		snprintf(buf, 32, "%u", v);
		return;
	}
	if (is_mixed(s) && v >= s->min) {
		snprintf(buf, 32, "%u", v);
		return;
	}
	for (; v && strchr(w, '|'); v--)
		w = strchr(w, '|') + 1;
	snprintf(buf, 32, "%.*s", (int)strcspn(w, "|"), w);
}

static uint32_t read_value(const struct setting *s)
{
	return is_number(s) || is_mixed(s) ? LOAD_RELAXED((const uint32_t *)s->target)
					   : LOAD_RELAXED((const uint8_t *)s->target);
}

static void write_value(const struct setting *s, uint32_t v)
{
	if (is_number(s) || is_mixed(s))
		STORE_RELAXED((uint32_t *)s->target, v);
	else
		STORE_RELAXED((uint8_t *)s->target, (uint8_t)v);
}

/* ---- the command ---- */

static int run_set(struct call *c, struct err *e)
{
	const struct setting *s = c->p->cmd->aux;
	const struct arg *a = &c->p->arg[c->p->n - 1];
	struct setting_value v = { .row = (uint32_t)(s - rows) };
	char word[32] = "";

	if (is_text(s)) {
		if (strlen(a->text) >= sizeof(v.text))
			return err_set(e, -ENAMETOOLONG, "set %s: longer than %zu characters", s->name,
				       sizeof(v.text) - 1);
		snprintf(v.text, sizeof(v.text), "%s", a->text);
	} else if (a->type) { /* no keyword */
		v.value = (uint32_t)a->n;
	} else {
		for (; strcmp(word, a->text); v.value++)
			print_value(s, v.value, word);
		v.value--;
	}
	return config_put(c->tx, &kind_setting, CONFIG_SET, &v, e);
}

void settings_generate(void (*add)(const struct command *c))
{
	char pattern[128], help[256], unit[32];

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		const struct setting *s = &rows[i];
		char value[32];
		print_value(s, s->value, value);
		const char *word = strchr(s->unit, ' ') ? "" : s->unit;
		if (is_number(s))
			snprintf(pattern, sizeof(pattern), "set %s N:%u-%u%s", s->name, s->min, s->max, word);
		else if (is_mixed(s))
			snprintf(pattern, sizeof(pattern), "set %s %s:%u-%u%s", s->name, s->type, s->min, s->max, word);
		else
			snprintf(pattern, sizeof(pattern), "set %s %s", s->name, s->type);
		if (is_text(s))
			snprintf(value, sizeof(value), "none");
		snprintf(unit, sizeof(unit), "%s%s", *s->unit && *value >= '0' && *value <= '9' ? " " : "",
			 *value >= '0' && *value <= '9' ? s->unit : "");
		snprintf(help, sizeof(help), "%s (default %s%s%s)", s->help, value, unit,
			 s->flags & START ? ", at start only" : "");
		add(&(struct command){
			.pattern = pattern, .help = help, .run = run_set, .flags = CMD_CONFIG, .aux = s });
	}
}

void settings_default(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (is_text(&rows[i]))
			*(char *)rows[i].target = 0;
		else
			write_value(&rows[i], rows[i].value);
}

void show_settings(struct out *o)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		const struct setting *s = &rows[i];
		char now[32], usual[32];
		print_value(s, read_value(s), now);
		print_value(s, s->value, usual);
		out_row(o);
		out_str(o, "name", s->name);
		if (is_number(s)) {
			out_u64(o, "value", read_value(s));
			out_u64(o, "default", s->value);
		} else if (is_text(s)) {
			out_str(o, "value", s->target);
			out_str(o, "default", "");
		} else {
			out_str(o, "value", now);
			out_str(o, "default", usual);
		}
		out_str(o, "unit", s->unit);
		out_str(o, "help", s->help);
	}
}

/* ---- the object ---- */

static void print_key(const void *data, FILE *f)
{
	fputs(rows[((const struct setting_value *)data)->row].name, f);
}

static void print_options(const void *data, FILE *f)
{
	const struct setting_value *v = data;
	char word[32];

	if (is_text(&rows[v->row])) {
		fputc(' ', f);
		word_print(f, v->text);
		return;
	}
	print_value(&rows[v->row], v->value, word);
	fprintf(f, " %s", word);
}

static int apply(const void *old, const void *now, struct err *e)
{
	static const struct setting_value none;
	const struct setting_value *n = now;
	const struct setting *s = &rows[((const struct setting_value *)(now ? now : old))->row];
	const uint32_t value = n ? n->value : s->value;
	const char *text = n ? n->text : none.text;

	if (is_text(s) ? !strcmp(text, s->target) : value == read_value(s))
		return 0;
	if (s->flags & START && config_is_started)
		return err_set(e, -EBUSY, "set %s: works at start only: change the configuration file and restart",
			       s->name);
	if (is_text(s))
		memcpy(s->target, text, sizeof(none.text));
	else
		write_value(s, value);
	if (s->flags & DECIDE)
		gen_bump_extra();
	return 0;
}

static void notify(const void *old, const void *now)
{
	if (config_hooks.setting_changed)
		config_hooks.setting_changed(rows[((const struct setting_value *)(now ? now : old))->row].name);
}

const struct config_kind kind_setting = {
	.name = "setting",
	.size = sizeof(struct setting_value),
	.print_key = print_key,
	.print_options = print_options,
	.apply = apply,
	.notify = notify,
	.in_place = true,
	.early = true,
};

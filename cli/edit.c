/* SPDX-License-Identifier: BSD-2-Clause */
/* libedit for sluicectl: history, TAB completes by asking the daemon, ? shows what may follow. */
#include "cli/edit.h"

#include <histedit.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static EditLine *el;
static History *history_list;
static const char *prompt_text;
static edit_ask_fn *ask_daemon;
static char *last;

static char *prompt(EditLine *e)
{
	static char text[32];

	(void)e;
	snprintf(text, sizeof(text), "%s", prompt_text);
	return text;
}

/* What stands before the cursor; malloc'ed. */
static char *before_cursor(void)
{
	const LineInfo *li = el_line(el);

	return strndup(li->buffer, (size_t)(li->cursor - li->buffer));
}

/* Length of the unfinished last word. */
static size_t word_length(const char *line)
{
	const char *blank = strrchr(line, ' ');

	return strlen(blank ? blank + 1 : line);
}

/* Bytes that all candidates share, and how many there are; descriptions in <> do not count. */
static size_t common(const char *list, const char **first, unsigned *n)
{
	size_t len = 0;

	*n = 0;
	*first = NULL;
	for (const char *s = list; *s; s += strcspn(s, "\n") + (s[strcspn(s, "\n")] == '\n')) {
		size_t m = strcspn(s, "\n"), i = 0;
		if (*s == '<' || !m)
			continue;
		if (!(*n)++) {
			*first = s;
			len = m;
		}
		while (i < len && i < m && s[i] == (*first)[i])
			i++;
		len = i;
	}
	return len;
}

/* With nothing typed, the only word is taken unless something else may stand there, too, which a <...> of its own tells: one in front
 * of the word, or a second. */
static bool is_choice(const char *list)
{
	const char *about = strchr(list, '<');

	return *list == '<' || (about && strstr(about, "\n<"));
}

static unsigned char complete(EditLine *e, int ch)
{
	char *line = before_cursor(), *list = line ? ask_daemon("complete", line) : NULL;
	unsigned char r = CC_ERROR;

	(void)e;
	(void)ch;
	if (list) {
		const char *first;
		unsigned n;
		size_t typed = word_length(line), len = common(list, &first, &n);
		if (!typed && n == 1 && is_choice(list))
			n = 0;
		if (n && len > typed) {
			char *rest = strndup(first + typed, len - typed);
			el_insertstr(el, rest);
			free(rest);
			r = CC_REFRESH;
		}
		if (n == 1) {
			if (first[len - 1] != '=') /* its value follows */
				el_insertstr(el, " ");
			r = CC_REFRESH;
		} else if (r == CC_ERROR && *list) {
			printf("\n%s", list);
			r = CC_REDISPLAY;
		}
	}
	free(list);
	free(line);
	return r;
}

/* ? inside a quoted text is a character. */
static unsigned char question(EditLine *e, int ch)
{
	char *line = before_cursor(), *list = NULL;
	bool quoted = false;

	(void)e;
	(void)ch;
	for (const char *s = line; s && *s; s++)
		quoted ^= *s == '"';
	if (quoted) {
		free(line);
		el_insertstr(el, "?");
		return CC_REFRESH;
	}
	if (line)
		list = ask_daemon("complete", line);
	printf("?\n%s", list ? list : "");
	free(list);
	free(line);
	return CC_REDISPLAY;
}

/* The interrupt character at the prompt: the line is dropped, not the session. */
static unsigned char cancel(EditLine *e, int ch)
{
	const LineInfo *li = el_line(e);
	const int behind = (int)(li->lastchar - li->cursor), all = (int)(li->lastchar - li->buffer);

	(void)ch;
	el_cursor(e, behind);
	el_deletestr(e, all);
	fputs("^C\n", stdout);
	return CC_REDISPLAY;
}

static unsigned char suspend(EditLine *e, int ch)
{
	(void)ch;
	el_set(e, EL_PREP_TERM, 0);
	kill(0, SIGTSTP);
	el_set(e, EL_PREP_TERM, 1);
	return CC_REDISPLAY;
}

int edit_open(const char *text, edit_ask_fn *ask)
{
	HistEvent ev;

	prompt_text = text;
	ask_daemon = ask;
	el = el_init("sluicectl", stdin, stdout, stderr);
	history_list = history_init();
	if (!el || !history_list)
		return -1;
	history(history_list, &ev, H_SETSIZE, 500);
	history(history_list, &ev, H_SETUNIQUE, 1);
	el_set(el, EL_PROMPT, prompt);
	el_set(el, EL_EDITOR, "emacs");
	el_set(el, EL_HIST, history, history_list);
	el_set(el, EL_ADDFN, "sluice-complete", "complete", complete);
	el_set(el, EL_ADDFN, "sluice-question", "what may follow", question);
	el_set(el, EL_BIND, "^I", "sluice-complete", NULL);
	el_set(el, EL_BIND, "?", "sluice-question", NULL);
	el_set(el, EL_ADDFN, "sluice-cancel", "drop the line", cancel);
	el_set(el, EL_ADDFN, "sluice-suspend", "stop this program", suspend);
	el_set(el, EL_SETTY, "-d", "-isig", NULL); /* while a line is edited they are keys, else signals */
	el_set(el, EL_BIND, "^C", "sluice-cancel", NULL);
	el_set(el, EL_BIND, "^Z", "sluice-suspend", NULL);
	el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_source(el, NULL);
	return 0;
}

const char *edit_line(void)
{
	HistEvent ev;
	int n = 0;
	const char *s = el_gets(el, &n);

	free(last);
	last = NULL;
	if (!s || n <= 0)
		return NULL;
	if (strspn(s, " \t\r\n") < strlen(s))
		history(history_list, &ev, H_ENTER, s);
	last = strndup(s, strcspn(s, "\r\n"));
	return last;
}

void edit_close(void)
{
	free(last);
	last = NULL;
	if (history_list)
		history_end(history_list);
	if (el)
		el_end(el);
	history_list = NULL;
	el = NULL;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* sluicectl: one command, a batch, or a session at the terminal; all over one socket (protocol: cli/cli.h).
 * It knows no command but those that concern the user's side: save (the file is written here), quit, help's ?. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/edit.h"

static int sock = -1;
static int write_error; /* errno of an answer that could not be written */
static const char *socket_path = CLI_SOCKET;
static bool json;
static bool at_prompt; /* ^C ends the command, never the session */

static void usage(FILE *f)
{
	fprintf(f, "usage: sluicectl [-j] [-s SOCKET] [COMMAND WORDS...]\n"
		   "       sluicectl [-j] [-s SOCKET] -f FILE\n"
		   "  without words: interactive at a terminal, else a batch from standard input\n"
		   "  -f FILE    batch: all configuration commands of FILE as one transaction, then the others; - is "
		   "stdin\n"
		   "  -j         JSON\n"
		   "  -s SOCKET  daemon's socket (default " CLI_SOCKET ")\n"
		   "  -V version   -h this text\n"
		   "help: 'sluicectl help' lists the commands, 'sluicectl help add' those that begin so; at the prompt "
		   "TAB and ?\n"
		   "exit: 0 done, 1 refused by the daemon, 2 usage, 3 no daemon\n");
}

/* ---- the socket ---- */

static bool open_socket(bool quiet)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if ((size_t)snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path) >= sizeof(a.sun_path)) {
		fprintf(stderr, "sluicectl: socket path too long\n");
		return false;
	}
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock >= 0 && !connect(sock, (const struct sockaddr *)&a, sizeof(a)))
		return true;
	if (!quiet)
		fprintf(stderr, "sluicectl: no daemon at %s: %s%s\n", socket_path, strerror(errno),
			errno == EACCES ? " (you need to be root or in group sluice)" : "");
	if (sock >= 0)
		close(sock);
	sock = -1;
	return false;
}

static bool send_all(const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(sock, p, n, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

/* Ctrl-C ends a stream, not the program: the daemon sends what is left, and says so. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	if (interrupted++) /* the daemon does not answer */
		_exit(CLI_NO_DAEMON);
	shutdown(sock, SHUT_WR);
}

static void end_by_interrupt(bool on)
{
	struct sigaction a = { .sa_handler = on ? on_interrupt : SIG_DFL };

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
}

static bool receive_all(char *p, size_t n)
{
	while (n) {
		ssize_t k = recv(sock, p, n, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static bool read_head(char head[static 64])
{
	size_t n = 0;

	do {
		if (n == 63 || !receive_all(head + n, 1)) {
			*head = 0;
			return false;
		}
	} while (head[n++] != '\n');
	head[n] = 0;
	return true;
}

/* The reply's text, malloc'ed, NULL when the daemon went away; '*code' 0 or the errno of a refusal. The parts of a stream go to 'to'
 * as they come. */
static char *read_reply(int *code, size_t *len, FILE *to)
{
	char head[64];
	bool streaming = false;
	unsigned long size;
	char *text;

	while (read_head(head) && sscanf(head, "more %lu", &size) == 1) {
		end_by_interrupt(true);
		/* a former content of the file goes once the command was taken */
		if (!streaming && to != stdout && ftruncate(fileno(to), 0)) {
			write_error = errno;
			return NULL;
		}
		streaming = true;
		text = malloc(size + 1);
		if (!text || !receive_all(text, size)) {
			free(text);
			return NULL;
		}
		if (fwrite(text, 1, size, to) != size || fflush(to))
			write_error = errno;
		free(text);
		if (write_error)
			return NULL;
	}
	*code = 0;
	if (sscanf(head, "ok %lu", &size) != 1 && sscanf(head, "err %d %lu", code, &size) != 2)
		return NULL;
	text = malloc(size + 1);
	if (!text || !receive_all(text, size)) {
		free(text);
		return NULL;
	}
	text[size] = 0;
	*len = size;
	return text;
}

static void disconnect(void)
{
	close(sock);
	sock = -1;
}

static int lost(void)
{
	fprintf(stderr, "sluicectl: the daemon closed the connection\n");
	disconnect();
	return CLI_NO_DAEMON;
}

/* What was written to 'to' has not all got there: says so. True: it has. */
static bool written(FILE *to, const char *name)
{
	errno = 0;
	if (fflush(to) && !write_error)
		write_error = errno;
	if (!write_error && !ferror(to))
		return true;
	fprintf(stderr, "sluicectl: %s: %s\n", name, write_error ? strerror(write_error) : "write error");
	write_error = 0;
	clearerr(to);
	return false;
}

/* Sends head (a whole line) and body, prints the answer to 'to', a file of that name. */
static int request(const char *head, const char *body, size_t body_len, FILE *to, const char *name)
{
	size_t len;
	int code;
	char *text;

	end_by_interrupt(at_prompt);
	/* the daemon may refuse and close before it has read all of a large body: its answer is still there to read */
	bool sent = send_all(head, strlen(head)) && (!body_len || send_all(body, body_len));
	text = read_reply(&code, &len, to);
	end_by_interrupt(false);
	if (!text && write_error) { /* of a stream, which goes on */
		disconnect();
		written(to, name);
		return CLI_REFUSED;
	}
	if (!text)
		return lost();
	(void)sent;
	const bool dropped = interrupted && len; /* who waits for so much has enough */
	if (code) {
		fprintf(stderr, "%s\n", text);
	} else if (dropped) {
		fputs("interrupted\n", stderr);
	} else if ((len && fwrite(text, 1, len, to) != len) || (len && text[len - 1] != '\n' && fputc('\n', to) < 0)) {
		write_error = errno;
	}
	free(text);
	if (interrupted) { /* our side is closed */
		interrupted = 0;
		disconnect();
	}
	return !written(to, name) || code || dropped ? CLI_REFUSED : CLI_DONE;
}

/* ---- commands of this side ---- */

/* The file is written by this process, so that nobody writes with the daemon's rights. */
static int save_into(const char *file, const char *opened, const struct stat *is)
{
	FILE *f = fopen(opened, "we");
	int r;

	if (!f) {
		fprintf(stderr, "sluicectl: %s: %s\n", opened, strerror(errno));
		return CLI_REFUSED;
	}
	if (is) { /* who may read it stays */
		if (fchown(fileno(f), is->st_uid, is->st_gid) && errno != EPERM)
			write_error = errno;
		fchmod(fileno(f), is->st_mode & 07777);
	}
	r = request("save -\n", NULL, 0, f, file);
	errno = 0;
	if (r == CLI_DONE && fsync(fileno(f)) && errno != EINVAL && errno != EROFS) /* not of devices and pipes */
		write_error = errno;
	if (fclose(f) && !write_error)
		write_error = errno;
	if (r == CLI_DONE && write_error) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, strerror(write_error));
		r = CLI_REFUSED;
	}
	write_error = 0;
	return r;
}

/* A former file is replaced at once and as a whole, behind a symbolic link, too; what is no file is written to. */
static int save(const char *name)
{
	char file[PATH_MAX], tmp[PATH_MAX + 8];
	struct stat is;
	bool exists;
	int r;

	if (!strcmp(name, "-"))
		return request("save -\n", NULL, 0, stdout, "standard output");
	if (!realpath(name, file) && (size_t)snprintf(file, sizeof(file), "%s", name) >= sizeof(file)) {
		fprintf(stderr, "sluicectl: file name too long\n");
		return CLI_USAGE;
	}
	exists = !stat(file, &is);
	if (exists && !S_ISREG(is.st_mode))
		return save_into(file, file, NULL);
	snprintf(tmp, sizeof(tmp), "%s.new", file);
	r = save_into(file, tmp, exists ? &is : NULL);
	if (r == CLI_DONE && rename(tmp, file)) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, strerror(errno));
		r = CLI_REFUSED;
	}
	if (r != CLI_DONE)
		unlink(tmp);
	return r;
}

/* The file of "capture FILE ...", written with the rights of the user, as for save. */
static bool is_capture(const char *line, char *file, size_t size)
{
	char word[4000];

	line += strspn(line, " \t");
	if (strncmp(line, "capture", 7) || !strchr(" \t", line[7]) || !line[7])
		return false;
	line += 7 + strspn(line + 7, " \t");
	if (*line == '"')
		return sscanf(line, "\"%3999[^\"]\"", word) == 1 && snprintf(file, size, "%s", word) > 0;
	return sscanf(line, "%3999s", word) == 1 && snprintf(file, size, "%s", word) > 0;
}

/* The one argument of "save FILE" in 'line', unquoted into 'file'; false when it is something else. */
static bool is_save(const char *line, char *file, size_t size)
{
	size_t n = 0;
	bool quoted = false;

	line += strspn(line, " \t");
	if (strncmp(line, "save", 4) || !strchr(" \t", line[4]) || !line[4])
		return false;
	for (line += 4 + strspn(line + 4, " \t"); *line && (quoted || !strchr(" \t#", *line)); line++) {
		if (*line == '"') {
			quoted = !quoted;
			continue;
		}
		if (quoted && *line == '\\' && line[1])
			line++;
		if (n + 1 < size)
			file[n++] = *line;
	}
	file[n] = 0;
	return n && !line[strspn(line, " \t\r\n")];
}

static int run_line(const char *line)
{
	char file[4000];
	FILE *to = stdout;
	char *head;
	int r;

	if (is_save(line, file, sizeof(file)))
		return save(file);
	if (is_capture(line, file, sizeof(file)) && strcmp(file, "-") && !(to = fopen(file, "ae"))) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, strerror(errno));
		return CLI_REFUSED;
	}
	if (asprintf(&head, "%s%s\n", json ? "-j " : "", line) < 0) {
		if (to != stdout)
			fclose(to);
		return CLI_USAGE;
	}
	r = request(head, NULL, 0, to, to == stdout ? "standard output" : file);
	free(head);
	if (to != stdout && fclose(to) && r == CLI_DONE) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, strerror(errno));
		r = CLI_REFUSED;
	}
	return r;
}

/* ---- ways to be called ---- */

/* Words of argv back into one line that splits into the same words. A single one is a line already. */
static char *join(char **argv, int n)
{
	char *line = NULL;
	size_t size;
	FILE *f = open_memstream(&line, &size);

	if (!f)
		return NULL;
	for (int i = 0; i < n; i++) {
		const char *s = argv[i];
		bool quote = n > 1 && (!*s || *s == '#' || strpbrk(s, " \t\""));
		/* FIELD="a b" was meant for us, not for the shell's words */
		if (i)
			fputc(' ', f);
		if (quote)
			fputc('"', f);
		for (; *s; s++) {
			if (quote && (*s == '"' || *s == '\\'))
				fputc('\\', f);
			fputc(*s == '\n' ? ' ' : *s, f);
		}
		if (quote)
			fputc('"', f);
	}
	fclose(f);
	return line;
}

static char *read_file(FILE *f, size_t *n)
{
	size_t size = 64 * 1024;
	char *p = malloc(size), *q;

	for (*n = 0; p;) {
		size_t k = fread(p + *n, 1, size - *n, f);
		*n += k;
		if (!k)
			return p;
		if (*n == size) {
			q = realloc(p, size *= 2);
			if (!q)
				free(p);
			p = q;
		}
	}
	return NULL;
}

static int batch(const char *file)
{
	bool is_stdin = !strcmp(file, "-");
	FILE *f = is_stdin ? stdin : fopen(file, "re");
	char *text, *head;
	size_t n;
	int r;

	if (!f) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, strerror(errno));
		return CLI_USAGE;
	}
	text = read_file(f, &n);
	if (!text || ferror(f)) {
		fprintf(stderr, "sluicectl: %s: %s\n", file, text ? strerror(errno) : "out of memory");
		free(text);
		return CLI_USAGE;
	}
	if (!is_stdin)
		fclose(f);
	if (!n) {
		free(text);
		return CLI_DONE;
	}
	if (asprintf(&head, "%sbatch %zu %s\n", json ? "-j " : "", n, is_stdin ? "stdin" : file) < 0)
		return CLI_USAGE;
	r = request(head, text, n, stdout, "standard output");
	free(head);
	free(text);
	return r;
}

static char *ask(const char *what, const char *line)
{
	char *head, *text = NULL;
	size_t len;
	int code;

	if ((sock < 0 && !open_socket(true)) || asprintf(&head, "%s %s\n", what, line) < 0)
		return NULL;
	if (send_all(head, strlen(head)))
		text = read_reply(&code, &len, stdout);
	free(head);
	if (!text)
		lost();
	return text;
}

static bool is_word(const char *line, const char *word)
{
	line += strspn(line, " \t");
	return !strncmp(line, word, strlen(word)) && !line[strlen(word) + strspn(line + strlen(word), " \t")];
}

static int interactive(void)
{
	const char *line;
	int r = CLI_DONE;

	if (edit_open("sluice> ", ask)) {
		fprintf(stderr, "sluicectl: cannot use this terminal\n");
		return CLI_USAGE;
	}
	at_prompt = true;
	printf("sluice: 'help' lists the commands, TAB completes, ? shows what may follow, 'quit' ends\n");
	while ((line = edit_line())) {
		if (is_word(line, "quit") || is_word(line, "exit"))
			break;
		if (!line[strspn(line, " \t")])
			continue;
		if (sock < 0 && !open_socket(false)) {
			r = CLI_NO_DAEMON;
			continue;
		}
		r = run_line(line);
		fflush(stdout);
	}
	if (!line)
		putchar('\n');
	edit_close();
	return r == CLI_NO_DAEMON ? r : CLI_DONE;
}

static int one_shot(char **words, int n)
{
	char *line = join(words, n);
	int r = line ? run_line(line) : CLI_USAGE;

	free(line);
	return r;
}

int main(int argc, char **argv)
{
	const char *file = NULL;
	int c, r;

	while ((c = getopt(argc, argv, "+f:js:hV")) != -1) {
		switch (c) {
		case 'f':
			file = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'h':
			usage(stdout);
			return CLI_DONE;
		case 'V':
			printf("sluicectl %s\n", SLUICE_VERSION);
			return CLI_DONE;
		default:
			usage(stderr);
			return CLI_USAGE;
		}
	}
	if (file && optind < argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	signal(SIGPIPE, SIG_DFL);
	if (!open_socket(false))
		return CLI_NO_DAEMON;
	if (file || (optind == argc && !isatty(STDIN_FILENO)))
		r = batch(file ? file : "-");
	else if (optind < argc)
		r = one_shot(argv + optind, argc - optind);
	else
		r = interactive();
	return !written(stdout, "standard output") && r == CLI_DONE ? CLI_REFUSED : r;
}

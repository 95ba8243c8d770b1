/* SPDX-License-Identifier: BSD-2-Clause */
/* The command socket: sessions that collect a request, have it executed, and drain its reply. Control thread.
 *
 * A session is either reading or writing: the next request is looked at once the reply is out, so a client that sends
 * without reading costs one reply of memory. Listener and sessions hang on an epoll of their own. */
#include "cli/server.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/stream.h"
#include "fwd/base/log.h"
#include "fwd/base/net.h"

enum { SESSIONS_MAX = 256, EVENTS = 16, READ_SIZE = 64 * 1024 };

struct session {
	int fd;
	bool json, gone, closing; /* closing: after the reply */
	char *in;                 /* what came and is not a whole request yet */
	size_t in_n, in_size;
	size_t batch; /* bytes of the batch that is coming, 0 = reading lines */
	char batch_name[200];
	char *out;
	size_t out_n, out_at;
	struct stream *stream; /* trace, monitor, capture: goes on until one side ends it */
	bool stop;             /* the client wants no more of it */
	struct session *next;
};
static int listener = -1, epoll = -1;
static struct session *sessions;
static unsigned n_sessions;
static char socket_path[108];

/* ---- opening ---- */

static int address(const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if ((size_t)snprintf(a->sun_path, sizeof(a->sun_path), "%s", path) >= sizeof(a->sun_path))
		return err_set(e, -ENAMETOOLONG, "socket %s: the path is longer than %zu characters", path,
			       sizeof(a->sun_path) - 1);
	return 0;
}

static int make_directory(const char *path, struct err *e)
{
	char dir[108];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	if (mkdir(dir, 0755) && errno != EEXIST)
		return err_set(e, -errno, "cannot create %s: %s", dir, strerror(errno));
	return 0;
}

/* A socket left by a process that died is removed. */
static int remove_stale(const struct sockaddr_un *a, struct err *e)
{
	struct stat st;
	int fd, r;

	if (lstat(a->sun_path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "%s exists and is not a socket", a->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	r = connect(fd, (const struct sockaddr *)a, sizeof(*a));
	close(fd);
	if (!r)
		return err_set(e, -EADDRINUSE, "%s: another sluiced answers there; give -s or -n", a->sun_path);
	unlink(a->sun_path);
	return 0;
}

static void give_to_group(const char *path)
{
	const struct group *g = getgrnam("sluice");

	if (g && chown(path, (uid_t)-1, g->gr_gid))
		log_warn("%s: cannot give it to group sluice: %s", path, strerror(errno));
	if (chmod(path, 0660))
		log_warn("%s: chmod: %s", path, strerror(errno));
}

static int watch(int fd, uint32_t events, struct session *s, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	return epoll_ctl(epoll, op, fd, &ev);
}

int server_open(const char *path, struct err *e)
{
	struct sockaddr_un a;
	mode_t mask;
	int r;

	if ((r = address(path, &a, e)) || (r = make_directory(path, e)) || (r = remove_stale(&a, e)))
		return r;
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (listener < 0 || epoll < 0) {
		r = err_set(e, -errno, "socket: %s", strerror(errno));
		goto fail;
	}
	/* nobody but us until it has its group */
	mask = umask(0177);
	r = bind(listener, (const struct sockaddr *)&a, sizeof(a));
	umask(mask);
	if (r || listen(listener, 64)) {
		r = err_set(e, -errno, "%s: %s", path, strerror(errno));
		goto fail;
	}
	give_to_group(path);
	if (watch(listener, EPOLLIN, NULL, EPOLL_CTL_ADD)) {
		r = err_set(e, -errno, "epoll: %s", strerror(errno));
		unlink(path);
		goto fail;
	}
	snprintf(socket_path, sizeof(socket_path), "%s", path);
	return 0;
fail:
	if (listener >= 0)
		close(listener);
	if (epoll >= 0)
		close(epoll);
	listener = epoll = -1;
	return r;
}

int server_fd(void)
{
	return epoll;
}

/* ---- sessions ---- */

static void session_end(struct session *s)
{
	struct session **p = &sessions;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	close(s->fd);
	if (s->stream)
		stream_end(s->stream);
	free(s->in);
	free(s->out);
	free(s);
	n_sessions--;
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct session *s = n_sessions < SESSIONS_MAX ? calloc(1, sizeof(*s)) : NULL;
		if (!s || watch(fd, EPOLLIN, s, EPOLL_CTL_ADD)) {
			free(s);
			close(fd);
			continue;
		}
		s->fd = fd;
		s->next = sessions;
		sessions = s;
		n_sessions++;
	}
}

static void send_reply(struct session *s);

static void reply(struct session *s, int r, const char *text, size_t len)
{
	char head[48];
	int n = r ? snprintf(head, sizeof(head), "err %d %zu\n", -r, len)
		  : snprintf(head, sizeof(head), "ok %zu\n", len);

	s->out = malloc((size_t)n + len + 1);
	if (!s->out) {
		s->gone = true;
		return;
	}
	memcpy(s->out, head, (size_t)n);
	memcpy(s->out + n, text, len);
	s->out_n = (size_t)n + len;
	s->out_at = 0;
}

static void refuse(struct session *s, const char *text)
{
	reply(s, -EINVAL, text, strlen(text));
	s->closing = true;
}

static void stream_part(struct session *s, const char *text, size_t len, bool last)
{
	char *out = malloc(len + 64);

	if (!out) {
		s->gone = true;
		return;
	}
	size_t n = (size_t)sprintf(out, "more %zu\n", len);
	memcpy(out + n, text, len);
	n += len;
	if (last)
		n += (size_t)sprintf(out + n, "ok 0\n");
	s->out = out;
	s->out_n = n;
	s->out_at = 0;
}

/* What is left, and the end: one of both sides has enough. */
static void finish_stream(struct session *s, char **text, size_t *n)
{
	char *rest = NULL, *both;
	size_t n_rest = 0;

	stream_last(s->stream, &rest, &n_rest);
	both = realloc(*text, *n + n_rest + 1);
	if (both) {
		memcpy(both + *n, rest, n_rest);
		*text = both;
		*n += n_rest;
	}
	free(rest);
	stream_end(s->stream);
	s->stream = NULL;
	s->closing |= s->stop;
}

/* Sends the next parts until there are none or the socket is full. */
static void serve_stream(struct session *s)
{
	while (!s->gone && !s->out && s->stream) {
		char *text = NULL;
		size_t n;
		const bool more = stream_read(s->stream, &text, &n) && !s->stop;

		if (!more)
			finish_stream(s, &text, &n);
		if (n || !more)
			stream_part(s, text, n, !more);
		free(text);
		if (!s->out)
			return;
		send_reply(s);
	}
}

/* 'text' is one line, or a batch when 'batch' */
static void execute(struct session *s, char *text, bool batch)
{
	struct err e = { "" };
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	int r;

	if (!f) {
		s->gone = true;
		return;
	}
	r = batch ? cli_batch(s->batch_name, text, s->json, f, &e) : cli_execute(text, s->json, f, &e);
	fclose(f);
	s->stream = stream_take();
	if (s->stream)
		stream_part(s, "", 0, false);
	else if (r)
		reply(s, r, e.text, strlen(e.text));
	else
		reply(s, 0, out, size);
	free(out);
}

static void consume(struct session *s, size_t n)
{
	memmove(s->in, s->in + n, s->in_n - n);
	s->in_n -= n;
}

/* "batch BYTES NAME" */
static bool begin_batch(struct session *s, const char *line)
{
	char *end;

	if (strncmp(line, "batch ", 6))
		return false;
	s->batch = strtoul(line + 6, &end, 10);
	if (!s->batch || s->batch > CLI_BATCH_MAX || (*end && *end != ' ')) {
		s->batch = 0;
		refuse(s, "batch BYTES NAME: the size is missing or too large");
		return true;
	}
	snprintf(s->batch_name, sizeof(s->batch_name), "%s", *end ? end + 1 : "batch");
	return true;
}

/* Executes the first whole request in 'in'; false when there is none or it waits for its reply to go. */
static bool next_request(struct session *s)
{
	char *end, *line = s->in;

	if (s->out || s->closing || s->gone || s->stream || !s->in_n)
		return false;
	if (s->batch) {
		size_t n = s->batch;
		if (s->in_n < n)
			return false;
		/* in[] always has room for one byte more */
		char after = s->in[n];
		s->in[n] = 0;
		if (strlen(s->in) != n)
			refuse(s, "a batch is text: it has a byte 0");
		else
			execute(s, s->in, true);
		s->in[n] = after;
		consume(s, n);
		s->batch = 0;
		return true;
	}
	end = memchr(s->in, '\n', s->in_n);
	if (!end) {
		if (s->in_n >= CLI_LINE_MAX)
			refuse(s, "line too long");
		return false;
	}
	*end = 0;
	s->json = !strncmp(line, "-j ", 3);
	line += s->json ? 3 : 0;
	if (end - line >= CLI_LINE_MAX)
		refuse(s, "line too long");
	else if (!begin_batch(s, line))
		execute(s, line, false);
	consume(s, (size_t)(end + 1 - s->in));
	return true;
}

static void send_reply(struct session *s)
{
	while (s->out && s->out_at < s->out_n) {
		ssize_t n = send(s->fd, s->out + s->out_at, s->out_n - s->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			s->gone |= errno != EAGAIN && errno != EINTR;
			return;
		}
		s->out_at += (size_t)n;
	}
	free(s->out);
	s->out = NULL;
	s->gone |= s->closing;
}

static void receive(struct session *s)
{
	ssize_t n;

	if (s->in_size - s->in_n <= READ_SIZE) {
		size_t size = s->in_size * 2 + 2 * READ_SIZE;
		char *p = realloc(s->in, size);
		if (!p) {
			s->gone = true;
			return;
		}
		s->in = p;
		s->in_size = size;
	}
	n = recv(s->fd, s->in + s->in_n, READ_SIZE, MSG_DONTWAIT);
	if (n > 0)
		s->in_n += s->stream ? 0 : (size_t)n; /* a stream is ended, not talked to */
	else if (n == 0 && s->stream)
		s->stop = true;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		s->gone = true;
}

/* What can be done without waiting; then waits for what comes next. */
static void session_go_on(struct session *s)
{
	uint32_t events;

	serve_stream(s);
	while (!s->gone && next_request(s))
		send_reply(s);
	if (!s->gone && s->out)
		send_reply(s);
	serve_stream(s);
	events = s->out ? EPOLLOUT : 0;
	if (s->stream ? !s->stop : !s->out)
		events |= EPOLLIN;
	if (s->gone || watch(s->fd, events, s, EPOLL_CTL_MOD))
		session_end(s);
}

static void session_ready(struct session *s, uint32_t events)
{
	if (s->out)
		send_reply(s);
	if ((!s->out || s->stream) && !s->stop && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(s);
	session_go_on(s);
}

void server_streams(void)
{
	bool any = false;

	for (const struct session *s = sessions; s; s = s->next)
		any |= s->stream != NULL;
	if (any)
		streams_pump();
	for (struct session *s = sessions, *next; s; s = next) {
		next = s->next;
		if (s->stream && !s->out)
			session_go_on(s);
	}
}

void server_handle(void)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(epoll, ev, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr)
			session_ready(ev[i].data.ptr, ev[i].events);
		else
			accept_all();
	}
}

void server_close(void)
{
	if (listener < 0)
		return;
	while (sessions)
		session_end(sessions);
	close(listener);
	close(epoll);
	listener = epoll = -1;
	unlink(socket_path);
}

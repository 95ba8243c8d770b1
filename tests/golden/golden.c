/* SPDX-License-Identifier: BSD-2-Clause */
/* Golden packets: tests/golden/TOPIC/NAME.pkt, one scenario a file: configuration, packets in, packets out, all as text. Each
 * file runs in a process of its own, on an empty box. 'golden [FILE...]' prints 'ok FILE' or 'FAIL FILE' and what differs.
 *
 *	# text				comment; a line that begins with a blank continues the one before
 *	! COMMAND			as an operator types it; lines that follow each other are one transaction
 *	limits [frames=N tcp=N other=N]	of the box; before the first command
 *	route PREFIX port NAME|kernel [via GW] [metric N]	noroute ... (the same words)
 *	route PREFIX blackhole|unreachable|prohibit|throw|broadcast	a route that leads nowhere
 *	route ADDR local		an address that the box receives for and no interface has, as anycast ones
 *	local ADDR port NAME|host	an address of the box
 *	neigh NAME ADDR MAC|failed|gone	what the kernel says about a neighbour on a port
 *	claim ADDR			a pool or service address came: is it free?
 *	port NAME down|up|veth|beside|mtu N	the device; what comes by a veth may have an unfinished checksum; beside: the
 *					kernel is on the link, too
 *	clock +SECONDS
 *	in NAME PACKET			in gate from endpoint N PACKET		in host PACKET
 *	in gate from proxy PORT PACKET	nobody listens there; out gate to proxy PORT PACKET
 *	out NAME PACKET|none		out gate to endpoint N PACKET		out host PACKET
 *	again				the last 'in' again: must be replayed, with the same outcome
 *	drop NUMBER|SYMBOL [N]		packets dropped for that reason since the last 'in'
 *	held N, ct N, nat N, replayed N	now held; connections, mappings; replayed since the last 'in'
 *	expect show WORDS N		rows that 'show WORDS' has
 *	explain PACKET from ...		as the command; must change nothing. says STEP TEXT: a line of it contains that
 *	flood N				the last 'in' N times more, nobody takes what comes out; only the worker of its port runs
 *	noreplay			from here on do not send packets twice by itself
 *
 * Everything that happens must be said: an 'in' whose frames and drops are not all named fails. A packet whose shape allows it
 * is sent a second time by itself: what was decided must now be replayed, what was replayed is decided, with equal bytes.
 * Without eth, MACs are those of the port and its last 'neigh'; frames of the gate get their stamps either way. '*' stands for a
 * UDP source port of a tunnel (49152 and up), '$NAME' for a number that is bound by its first use in 'out'. */
#include "tests/golden/golden.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* One logical line: continuation lines joined. Returns lines read, 0 at the end. */
static unsigned read_line(FILE *f, char *line, size_t size)
{
	char part[4096];
	unsigned n = 0;
	line[0] = 0;
	for (long at = ftell(f); fgets(part, sizeof(part), f); at = ftell(f)) {
		part[strcspn(part, "\r\n")] = 0;
		if (n && part[0] != ' ' && part[0] != '\t') {
			fseek(f, at, SEEK_SET);
			break;
		}
		strncat(line, part, size - strlen(line) - 1);
		n++;
	}
	return n;
}

static int run_file(const char *path)
{
	static struct golden g;
	char line[8192];
	FILE *f = fopen(path, "r");
	unsigned n;
	g.path = path;
	if (!f) {
		perror(path);
		return 1;
	}
	g.out = open_memstream(&g.text, &g.text_size);
	for (; !g.failed && (n = read_line(f, line, sizeof(line))); g.line += n)
		golden_line(&g, line);
	fclose(f);
	golden_end(&g);
	fclose(g.out);
	printf("%s %s\n%s", g.failed ? "FAIL" : "ok  ", path, g.text);
	free(g.text);
	fflush(stdout);
	return g.failed;
}

/* In a process of its own, so that a crash fails one file and every file starts from nothing. */
static bool run_apart(const char *path)
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		exit(run_file(path));
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		perror("fork");
		return false;
	}
	if (WIFSIGNALED(status))
		printf("FAIL %s\n  died of signal %d\n", path, WTERMSIG(status));
	else if (WEXITSTATUS(status) > 1)
		printf("FAIL %s\n  exit code %d\n", path, WEXITSTATUS(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void run_dir(const char *dir, unsigned *count)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char path[1024];
		struct stat st;
		size_t len = strlen(names[i]->d_name);
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && stat(path, &st) == 0) {
			if (S_ISDIR(st.st_mode))
				run_dir(path, count);
			else if (len > 4 && strcmp(names[i]->d_name + len - 4, ".pkt") == 0)
				count[!run_apart(path)]++;
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

int main(int argc, char **argv)
{
	unsigned count[2] = { 0 };
	for (int i = 1; i < argc; i++)
		count[!run_apart(argv[i])]++;
	if (argc == 1)
		run_dir("tests/golden", count);
	printf("%u passed, %u failed\n", count[0], count[1]);
	return count[1] || !count[0];
}

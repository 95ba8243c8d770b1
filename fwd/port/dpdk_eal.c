/* SPDX-License-Identifier: BSD-2-Clause */
/* DPDK's environment: started with the first DPDK port, alive as long as the process. It probes no device but those that ports
 * name. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "fwd/port/dpdk.h"
#include "fwd/settings.h"

/* behind ours: they define container_of and likely unless somebody has */
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_version.h>

enum {
	HUGE_MIN_MIB = 128, /* fewer free huge pages: ordinary memory */
	EAL_WORDS = 48,
};

/* ---- what the EAL and drivers say ---- */

/* While a port opens the first error is kept, as the reason to report; otherwise errors go to the log. Drivers may speak on
 * any thread. */
static struct {
	pthread_mutex_t lock;
	bool opening;
	char reason[200];
} said = { .lock = PTHREAD_MUTEX_INITIALIZER };

static ssize_t on_said(void *cookie, const char *text, size_t size)
{
	const int n = (int)(size && text[size - 1] == '\n' ? size - 1 : size);
	const bool error = rte_log_cur_msg_loglevel() <= (int)RTE_LOG_ERR;
	(void)cookie;
	pthread_mutex_lock(&said.lock);
	const bool opening = said.opening;
	if (error && opening && !said.reason[0])
		snprintf(said.reason, sizeof(said.reason), "%.*s", n, text);
	pthread_mutex_unlock(&said.lock);
	if (error && !opening)
		log_warn("dpdk: %.*s", n, text);
	else
		log_debug("dpdk: %.*s", n, text);
	return (ssize_t)size;
}

void dpdk_listen(bool opening)
{
	pthread_mutex_lock(&said.lock);
	said.opening = opening;
	if (opening)
		said.reason[0] = 0;
	pthread_mutex_unlock(&said.lock);
}

int dpdk_refuse(const struct port *p, int code, const char *what, struct err *e)
{
	code = code < 0 ? code : -EINVAL;
	return err_set(e, code, "port %s: %s '%s': %s", p->conf.name, what, p->conf.devargs,
		       said.reason[0] ? said.reason : rte_strerror(-code));
}

/* ---- the EAL ---- */

static uint64_t free_huge_mib(void)
{
	static const char *const sizes[] = { "2048", "1048576" };
	uint64_t mib = 0;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		char path[96];
		unsigned long n = 0;
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%skB/free_hugepages", sizes[i]);
		FILE *f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%lu", &n) == 1)
			mib += n * (strtoul(sizes[i], NULL, 10) / 1024);
		fclose(f);
	}
	return mib;
}

/* Cuts 'text' at blanks into v[n...]; the new n. */
static int add_words(char **v, int n, char *text)
{
	char *rest = NULL;
	for (char *w = strtok_r(text, " ", &rest); w && n < EAL_WORDS - 1; w = strtok_r(NULL, " ", &rest))
		v[n++] = w;
	return n;
}

static void init_log(void)
{
	static const cookie_io_functions_t io = { .write = on_said };
	FILE *f = fopencookie(NULL, "w", io);
	if (f)
		rte_openlog_stream(f);
}

/* The EAL pins the calling thread to the CPU of lcore 0; the control thread stays where it may be. */
static int init_unpinned(int n, char **v)
{
	cpu_set_t cpus;
	const bool known = !sched_getaffinity(0, sizeof(cpus), &cpus);
	const int rc = rte_eal_init(n, v);
	if (known)
		sched_setaffinity(0, sizeof(cpus), &cpus);
	return rc;
}

/* Once. What failed half-way cannot be tried again in the same process. */
int dpdk_eal_start(const struct port *p, struct err *e)
{
	static bool running;
	static char failure[200], base[128], memory[sizeof(settings.dpdk_eal_args)], name[] = "sluiced";
	char *v[EAL_WORDS] = { name };
	const char *given = settings.dpdk_eal_args;
	cpu_set_t cpus;
	int cpu = 0;
	if (running)
		return 0;
	if (failure[0])
		return err_set(e, -EIO, "port %s: DPDK did not start: %s; see 'set dpdk eal-args', and restart",
			       p->conf.name, failure);
	CPU_ZERO(&cpus);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &cpus))
		cpu++;
	init_log();
	/* -a with an address that no device has: none is taken unasked, above all not the machine's own */
	snprintf(base, sizeof(base), "--lcores 0@%d --no-telemetry --file-prefix sluice-%d -a 0000:00:00.0", cpu,
		 (int)getpid());
	if (!given[0])
		given = free_huge_mib() >= HUGE_MIN_MIB ? "--in-memory" : "--no-huge --no-shconf -m 512";
	snprintf(memory, sizeof(memory), "%s", given);
	if (init_unpinned(add_words(v, add_words(v, 1, base), memory), v) < 0) {
		snprintf(failure, sizeof(failure), "%s", said.reason[0] ? said.reason : rte_strerror(rte_errno));
		return err_set(e, -EIO, "port %s: DPDK does not start with '%s': %s; see 'set dpdk eal-args'",
			       p->conf.name, given, failure);
	}
	running = true;
	(void)rmdir(rte_eal_get_runtime_dir()); /* empty, unless the given words share memory with others */
	log_info("%s started with %s", rte_version(), given);
	return 0;
}

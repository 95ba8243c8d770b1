/* SPDX-License-Identifier: BSD-2-Clause */
/* Capture file ports: in -> engine -> out holds the same frames; each half alone works; bad files are refused or counted. */
#include <errno.h>
#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fwd/engine.h"

enum { N = 4096 };
static char dir[] = "/tmp/test_port_pcap.XXXXXX";
static struct port *to; /* where the engine of this test sends everything */

void engine_burst(struct worker *w, struct pkt *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		worker_tx(w, to->index, p[i].data, p[i].len, p[i].port);
}

void engine_held(struct worker *w)
{
	(void)w;
}

static int setup(void **state)
{
	(void)state;
	struct err e;
	return !mkdtemp(dir) || frames_init(N, &e) || workers_init(1, &e);
}

static int teardown(void **state)
{
	(void)state;
	char cmd[64];
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	workers_fini();
	bool whole = frames_free() == N && frames_big_free() == frame_area.n_big;
	frames_fini();
	return system(cmd) || !whole ? -1 : 0;
}

static const char *path(const char *name)
{
	static char buf[4][64];
	static unsigned i;
	i = (i + 1) % 4;
	snprintf(buf[i], sizeof(buf[i]), "%s/%s", dir, name);
	return buf[i];
}

/* Frame i has 60 + i bytes, all i. */
static void write_capture(const char *file, int link, unsigned n, unsigned first_len)
{
	pcap_t *p = pcap_open_dead(link, 65535);
	pcap_dumper_t *d = pcap_dump_open(p, file);
	u_char bytes[65536];
	assert_non_null(d);
	for (unsigned i = 0; i < n; i++) {
		struct pcap_pkthdr h = { .ts = { .tv_sec = i }, .caplen = first_len + i, .len = first_len + i };
		memset(bytes, (int)i, sizeof(bytes));
		pcap_dump((u_char *)d, &h, bytes);
	}
	pcap_dump_close(d);
	pcap_close(p);
}

static unsigned check_capture(const char *file)
{
	char text[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline(file, text);
	struct pcap_pkthdr *h;
	const u_char *bytes;
	unsigned n = 0;
	assert_non_null(p);
	assert_int_equal(pcap_datalink(p), DLT_EN10MB);
	for (; pcap_next_ex(p, &h, &bytes) == 1; n++) {
		assert_int_equal(h->len, 60 + n);
		assert_int_equal(h->caplen, 60 + n);
		for (unsigned k = 0; k < h->len; k++)
			assert_int_equal(bytes[k], n & 0xff);
		assert_true(h->ts.tv_sec > 1000000000); /* when it was sent, not when it had been captured */
	}
	pcap_close(p);
	return n;
}

static int try_open(const char *name, const char *in, const char *out, struct port **p, struct err *e)
{
	struct port_conf c = { .kind = "pcap" };
	strcpy(c.name, name);
	strcpy(c.in, in);
	strcpy(c.out, out);
	e->text[0] = 0;
	return port_open(&c, -1, p, e);
}

static void copies_a_file(void **state)
{
	(void)state;
	struct err e;
	struct port *p;
	write_capture(path("in"), DLT_EN10MB, 300, 60);
	assert_int_equal(try_open("p0", path("in"), path("out"), &p, &e), 0);
	to = p;
	while (worker_run_once(workers[0]))
		;
	/* flushed already: readable while the port is open */
	assert_int_equal(check_capture(path("out")), 300);
	assert_int_equal(workers_port(p->index).rx.packets, 300);
	assert_int_equal(workers_port(p->index).tx.packets, 300);
	assert_int_equal(workers_port(p->index).tx.bytes, 300 * 60 + 299 * 300 / 2);
	port_close(p, true);
}

static void each_half_alone(void **state)
{
	(void)state;
	struct err e;
	struct port *in, *out;
	write_capture(path("in"), DLT_EN10MB, 100, 60);
	assert_int_equal(try_open("in", path("in"), "", &in, &e), 0);
	assert_int_equal(try_open("out", "", path("out2"), &out, &e), 0);
	to = out;
	while (worker_run_once(workers[0]))
		;
	assert_int_equal(check_capture(path("out2")), 100);
	assert_int_equal(workers_port(out->index).rx.packets, 0);
	/* sent to a port without an out file: taken, gone */
	to = in;
	worker_tx(workers[0], in->index, frame_get(&workers[0]->frames), 60, in->index);
	worker_run_once(workers[0]);
	assert_int_equal(workers_port(in->index).tx.packets, 1);
	port_close(in, true);
	port_close(out, true);
}

static void refuses_bad_files(void **state)
{
	(void)state;
	struct err e;
	struct port *p;
	assert_int_equal(try_open("p", "", "", &p, &e), -EINVAL);
	assert_int_equal(try_open("p", path("absent"), "", &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "absent"));
	assert_int_equal(try_open("p", "", path("no/such/dir"), &p, &e), -EINVAL);
	write_capture(path("raw"), DLT_RAW, 1, 60);
	assert_int_equal(try_open("p", path("raw"), "", &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "Ethernet"));
	assert_null(port_by_name("p"));
}

/* Frames longer than the largest are left out and counted, as is a file cut in the middle. */
static void counts_what_it_cannot_hold(void **state)
{
	(void)state;
	struct err e;
	struct port *p, *out;
	struct port_stats s = { 0 };
	struct stat st;
	write_capture(path("long"), DLT_EN10MB, 10, BIG_ROOM - 4); /* 5 fit */
	assert_int_equal(stat(path("long"), &st), 0);
	assert_int_equal(truncate(path("long"), st.st_size - 100), 0);
	assert_int_equal(try_open("p", path("long"), "", &p, &e), 0);
	assert_int_equal(try_open("out", "", path("out3"), &out, &e), 0);
	to = out;
	while (worker_run_once(workers[0]))
		;
	p->ops->stats(&p->queue[0], &s);
	assert_int_equal(workers_port(p->index).rx.packets, 5);
	assert_int_equal(s.rx_dropped, 5); /* 4 too long, 1 cut */
	port_close(p, true);
	port_close(out, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_a_file),
		cmocka_unit_test(each_half_alone),
		cmocka_unit_test(refuses_bad_files),
		cmocka_unit_test(counts_what_it_cannot_hold),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

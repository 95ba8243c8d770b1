/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole engine between two capture files: what pcap ports are for. Packets of a capture come in by one uplink, are decided
 * and replayed, and leave into another file. */
#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "fwd/fib.h"
#include "fwd/resolve.h"
#include "tables/ct.h"
#include "tests/support/box.h"

enum { FRAMES = 5 };

static char dir[] = "/tmp/test_engine_pcap.XXXXXX";

static void write_capture(const char *file, int n_frames)
{
	uint8_t frame[PKTTEXT_FRAME_MAX];
	struct err e = { "" };
	pcap_t *p = pcap_open_dead(DLT_EN10MB, 65535);
	pcap_dumper_t *d = pcap_dump_open(p, file);
	assert_non_null(d);
	for (int i = 0; i < n_frames; i++) {
		int n = pkttext_parse("ip 192.0.2.9 > 198.51.100.2 | udp 5000 > 53 | data 40", frame, &e);
		struct pcap_pkthdr h = { .caplen = (bpf_u_int32)n, .len = (bpf_u_int32)n };
		assert_true(n > 0);
		pcap_dump((u_char *)d, &h, frame);
	}
	pcap_dump_close(d);
	pcap_close(p);
}

static void check_capture(const char *file)
{
	char text[PKTTEXT_MAX], err[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *h;
	const u_char *bytes;
	unsigned n = 0;
	pcap_t *p = pcap_open_offline(file, err);
	assert_non_null(p);
	for (; pcap_next_ex(p, &h, &bytes) == 1; n++) {
		pkttext_print(bytes, h->len, text);
		/* one hop on, the next hop's MAC, checksums right (wrong ones would be printed) */
		assert_non_null(strstr(text, "> 02:00:00:00:00:22"));
		assert_non_null(strstr(text, "ip 192.0.2.9 > 198.51.100.2 ttl=63 | udp 5000 > 53 | data 40"));
	}
	assert_int_equal(n, FRAMES);
	pcap_close(p);
}

static void test_capture_to_capture(void **state)
{
	char in[64], out[64], empty[64], commands[512];
	struct err e = { "" };
	const struct ipaddr hop = ip_from4(htonl(0xc6336402)); /* 198.51.100.2 */
	const struct mac mac = { { 2, 0, 0, 0, 0, 0x22 } };
	(void)state;
	snprintf(in, sizeof(in), "%s/in.pcap", dir);
	snprintf(out, sizeof(out), "%s/out.pcap", dir);
	snprintf(empty, sizeof(empty), "%s/empty.pcap", dir);
	write_capture(in, FRAMES);
	assert_int_equal(box_open(&(struct box_limits){ 0 }, &e), 0);
	snprintf(commands, sizeof(commands), "add port p1 pcap in %s/none out %s transit on\n", dir, out);
	assert_int_not_equal(box_commands("t", commands, stdout, &e), 0); /* no such capture: refused, nothing opened */
	write_capture(empty, 0);
	snprintf(commands, sizeof(commands), "add port p1 pcap in %s out %s transit on\n", empty, out);
	if (box_commands("t", commands, stdout, &e))
		fail_msg("%s", e.text);
	struct port *p1 = port_by_name("p1");
	p1->ifindex = 77; /* routes name devices */
	fib_ports_changed();
	assert_int_equal(box_route(true, "198.51.100.0/24", p1, NULL, &e), 0);
	resolve_kernel_neighbor(p1->ifindex, &hop, &mac, true, false);
	/* known before the burst, of which only three packets would wait */
	resolve_request(&(struct request){ .kind = REQUEST_RESOLVE, .key = { .ip = hop, .dev = p1->index } });
	snprintf(commands, sizeof(commands), "add port p0 pcap in %s out /dev/null\n", in);
	if (box_commands("t", commands, stdout, &e))
		fail_msg("%s", e.text);
	for (int i = 0; i < 20; i++)
		box_run();
	assert_int_equal(ct_count(&ct4), 1);
	assert_int_equal(workers[0]->decided, 1);
	assert_int_equal(workers[0]->replayed, FRAMES - 1);
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
	assert_int_equal(box_drops(), 0);
	if (!box_close(&e))
		fail_msg("%s", e.text);
	check_capture(out);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const files[] = { "in.pcap", "out.pcap", "empty.pcap" };
	char path[64];
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_capture_to_capture) };
	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* gen OBJECT DEVICE FLOWS[/HOT] DST-MAC [LENGTH|imix|vxlan [PPS [REPLY-TO [PEER]]]]: UDP frames out of a veth until a signal, PPS a
 * second or (0) as fast as one core makes them; at its end it prints 'sent N seconds S'. LENGTH is without FCS; imix: 60, 590 and 1514, 7:4:1.
 * FLOWS is a power of two; flow f goes from 10.0.0.1 port 0x4000 | f % 16 Ki to 10.200.0.1 + f / 16 Ki port 5001, in random
 * order, no UDP checksum; with HOT nine of ten frames are of the first HOT flows. REPLY-TO: the answers instead, to that address
 * (10.0.0.1, or what it was translated to), PEER in place of 10.200.0.1. vxlan: frames of 60 bytes, from 10.3.0.9 and to MAC
 * 02:00:00:00:20:02, in VXLAN of VNI 300 from 10.0.0.1 to 10.0.0.254 port 4789.
 * By BPF_PROG_TEST_RUN with live frames: no socket, no copy, so it outruns what it measures. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/base/net.h"

struct gen_conf {
	uint64_t sent, first_ns, last_ns, turn;
	uint32_t interval, ifindex, flow_mask, hot_mask, random, peer, reply, imix, vxlan;
	uint8_t header[96];
};
enum { OUTER = 50 }; /* Ethernet, IPv4, UDP, VXLAN */

static volatile sig_atomic_t stop;

static void on_signal(int s)
{
	(void)s;
	stop = 1;
}

static void build(uint8_t *f, const struct mac *dst, unsigned len, const struct ipaddr *reply_to)
{
	memcpy(f, dst->b, 6);
	memcpy(f + 6, (uint8_t[]){ 2, 0, 0, 0, 0, 1 }, 6);
	wr16(f + 12, ET_IP4);
	f[14] = 0x45;
	wr16(f + 16, (uint16_t)(len - 14));
	f[20] = 0x40;
	f[22] = 64;
	f[23] = PROTO_UDP;
	if (reply_to) {
		memcpy(f + 30, reply_to->b + 12, 4);
		wr16(f + 34, 5001);
	} else {
		memcpy(f + 26, (uint8_t[]){ 10, 0, 0, 1 }, 4);
		wr16(f + 36, 5001);
	}
	wr16(f + 38, (uint16_t)(len - 34));
}

/* Puts the outer headers in front of what is there: 'len' bytes with them. */
static void wrap(uint8_t *h, unsigned len)
{
	uint8_t *outer = h, *inner = h + OUTER;
	memmove(inner, h, 42);
	memcpy(inner, (uint8_t[]){ 2, 0, 0, 0, 0x20, 2 }, 6);
	memcpy(inner + 26, (uint8_t[]){ 10, 3, 0, 9 }, 4);
	wr16(outer + 16, (uint16_t)(len - 14));
	memcpy(outer + 30, (uint8_t[]){ 10, 0, 0, 254 }, 4);
	st16(outer + 24, (uint16_t)~csum_fold(csum_add(outer + 14, 20, 0)));
	wr16(outer + 36, 4789);
	wr16(outer + 38, (uint16_t)(len - 34));
	memcpy(outer + 42, (uint8_t[]){ 8, 0, 0, 0, 0, 300 >> 8, 300 & 0xff, 0 }, 8);
}

int main(int argc, char **argv)
{
	uint8_t frame[1514] = { 0 };
	struct mac dst;
	uint32_t zero = 0;
	struct ipaddr reply_to, peer;
	const bool reply = argc > 7, imix = argc > 5 && strcmp(argv[5], "imix") == 0,
		   vxlan = argc > 5 && strcmp(argv[5], "vxlan") == 0;
	if (argc < 5 || !mac_parse(argv[4], &dst) || (reply && !ip_parse(argv[7], &reply_to)) ||
	    !ip_parse(argc > 8 ? argv[8] : "10.200.0.1", &peer)) {
		fprintf(stderr,
			"usage: gen OBJECT DEVICE FLOWS[/HOT] DST-MAC [LENGTH|imix|vxlan [PPS [REPLY-TO [PEER]]]]\n");
		return 2;
	}
	const char *slash = strchr(argv[3], '/');
	const unsigned flows = (unsigned)atoi(argv[3]), hot = slash ? (unsigned)atoi(slash + 1) : flows,
		       len = imix       ? 1514
			     : vxlan    ? OUTER + 60
			     : argc > 5 ? (unsigned)atoi(argv[5])
					: 60;
	const double pps = argc > 6 ? atof(argv[6]) : 0;
	struct bpf_object *o = bpf_object__open_file(argv[1], NULL);
	if (!o || bpf_object__load(o)) {
		fprintf(stderr, "gen: cannot load %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	struct gen_conf c = { .ifindex = if_nametoindex(argv[2]),
			      .flow_mask = flows - 1,
			      .hot_mask = hot - 1,
			      .random = 0x9e3779b9,
			      .peer = ntohl(peer.w[3]),
			      .interval = pps > 0 ? (uint32_t)(1024e9 / pps) : 0,
			      .reply = reply,
			      .imix = imix,
			      .vxlan = vxlan };
	build(frame, &dst, len, reply ? &reply_to : NULL);
	if (vxlan)
		wrap(frame, len);
	memcpy(c.header, frame, sizeof(c.header));
	const int map = bpf_object__find_map_fd_by_name(o, "conf");
	bpf_map_update_elem(map, &zero, &c, BPF_ANY);
	const uint64_t start = clock_ns();
	int prog = bpf_program__fd(bpf_object__find_program_by_name(o, "gen"));
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	while (!stop) {
		struct xdp_md ctx = { .data_end = len };
		/* each call costs a grace period, tens of ms: a long one, which a signal ends */
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = len, .repeat = 1 << 24,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64, .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx));
		if (bpf_prog_test_run_opts(prog, &run) && errno != EINTR) {
			fprintf(stderr, "gen: %s\n", strerror(errno));
			return 1;
		}
	}
	const double seconds = (double)(clock_ns() - start) / 1e9;
	bpf_map_lookup_elem(map, &zero, &c);
	printf("sent %llu seconds %.6f\n", (unsigned long long)c.sent,
	       c.first_ns ? (double)(c.last_ns - c.first_ns) / 1e9 : seconds);
	return 0;
}

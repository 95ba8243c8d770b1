/* SPDX-License-Identifier: BSD-2-Clause */
/* gen OBJECT DEVICE FLOWS DST-MAC [LENGTH]: UDP frames out of a veth as fast as one core makes them, until a signal.
 * FLOWS is a power of two; flow f has source port 0x4000 | f % 16 Ki and destination 10.200.0.1 + f / 16 Ki, in random
 * order, no UDP checksum. By BPF_PROG_TEST_RUN with live frames: no socket, no copy, so it outruns what it measures. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "fwd/base/net.h"

struct gen_conf {
	uint32_t ifindex, flow_mask, random, dst;
	uint8_t header[64];
};

static volatile sig_atomic_t stop;

static void on_signal(int s)
{
	(void)s;
	stop = 1;
}

static void build(uint8_t *f, const struct mac *dst, unsigned len)
{
	memcpy(f, dst->b, 6);
	memcpy(f + 6, (uint8_t[]){ 2, 0, 0, 0, 0, 1 }, 6);
	wr16(f + 12, ET_IP4);
	f[14] = 0x45;
	wr16(f + 16, (uint16_t)(len - 14));
	f[20] = 0x40;
	f[22] = 64;
	f[23] = PROTO_UDP;
	memcpy(f + 26, (uint8_t[]){ 10, 0, 0, 1 }, 4);
	wr16(f + 36, 5001);
	wr16(f + 38, (uint16_t)(len - 34));
}

int main(int argc, char **argv)
{
	uint8_t frame[1514] = { 0 };
	struct mac dst;
	uint32_t zero = 0;
	if (argc < 5 || !mac_parse(argv[4], &dst)) {
		fprintf(stderr, "usage: gen OBJECT DEVICE FLOWS DST-MAC [LENGTH]\n");
		return 2;
	}
	unsigned flows = (unsigned)atoi(argv[3]), len = argc > 5 ? (unsigned)atoi(argv[5]) : 60;
	struct bpf_object *o = bpf_object__open_file(argv[1], NULL);
	if (!o || bpf_object__load(o)) {
		fprintf(stderr, "gen: cannot load %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	struct gen_conf c = { if_nametoindex(argv[2]), flows - 1, 0x9e3779b9, 0x0ac80001, { 0 } };
	build(frame, &dst, len);
	memcpy(c.header, frame, sizeof(c.header));
	bpf_map_update_elem(bpf_object__find_map_fd_by_name(o, "conf"), &zero, &c, BPF_ANY);
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
	return 0;
}

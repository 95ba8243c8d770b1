/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the BPF tests run: a network namespace of their own (lo is interface 1 and nobody else's) and a mount namespace
 * without bpffs, so that the loader has to mount one and no pin is left behind. Needs root; otherwise the test is
 * skipped. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/magic.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "xdp/gate.h"

#define LO 1

static struct loader *loader;

static inline void env_open(void)
{
	struct err e = { "" };

	if (loader_open(&loader, "test", &e))
		fail_msg("%s", e.text);
}

static inline int env_setup(void **state)
{
	struct statfs s;
	struct err e;

	(void)state;
	if (loader_check_caps(&e)) {
		fprintf(stderr, "skipped: %s\n", e.text);
		exit(77);
	}
	assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	while (!statfs("/sys/fs/bpf", &s) && s.f_type == BPF_FS_MAGIC)
		assert_int_equal(umount2("/sys/fs/bpf", MNT_DETACH), 0);
	log_set_level(LOG_WARN);
	env_open();
	return 0;
}

static inline int env_teardown(void **state)
{
	(void)state;
	loader_close(loader, true);
	return access("/sys/fs/bpf/sluice", F_OK) == 0; /* a clean end leaves no pins */
}

static inline struct ipnet net(const char *s)
{
	struct ipnet n;

	assert_true(ipnet_parse(s, &n));
	return n;
}

/* "02 00 00 | 45" to bytes; returns how many. */
static inline unsigned hex(uint8_t *out, const char *s)
{
	unsigned n = 0, v;

	for (; *s; s++)
		if (*s != ' ' && *s != '|') {
			assert_int_equal(sscanf(s, "%2x", &v), 1);
			out[n++] = (uint8_t)v;
			s++;
		}
	return n;
}

/* Runs an XDP program on one frame as received from lo, queue 0. */
static inline uint32_t run_xdp(enum loader_prog prog, const void *frame, uint32_t size)
{
	struct xdp_md c = { .data_end = size, .ingress_ifindex = LO };
	LIBBPF_OPTS(bpf_test_run_opts, t, .data_in = frame, .data_size_in = size, .ctx_in = &c,
		    .ctx_size_in = sizeof(c), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(loader_prog_fd(loader, prog), &t), 0);
	return t.retval;
}

/* Runs a tc program on one frame of device 'ifindex'; the frame afterwards is in 'out' (same size). */
static inline uint32_t run_tc(enum loader_prog prog, uint32_t ifindex, const void *frame, uint32_t size, void *out)
{
	struct __sk_buff c = { .ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, t, .data_in = frame, .data_size_in = size, .data_out = out,
		    .data_size_out = size, .ctx_in = &c, .ctx_size_in = sizeof(c), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(loader_prog_fd(loader, prog), &t), 0);
	return t.retval;
}

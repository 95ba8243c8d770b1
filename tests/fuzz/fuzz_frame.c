/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole engine: the first byte chooses the ingress port, the rest is a frame. It is sent twice, so that what can be
 * replayed is. Properties: every frame is counted once; nothing ill-formed leaves; checksums that were right leave right; both
 * times the same comes out where the packet is replayed. */
#include <stdlib.h>
#include <string.h>

#include "cli/pkttext.h"
#include "tests/support/check.h"
#include "tests/support/fixed.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fixed_open();
	return 0;
}

static void wrong(const char *what, const uint8_t *in, uint32_t in_len, const uint8_t *out, uint32_t out_len)
{
	char text[PKTTEXT_MAX];
	fprintf(stderr, "%s\n  in:  %s\n", what, pkttext_print(in, in_len, text));
	if (out)
		fprintf(stderr, "  out: %s\n", pkttext_print(out, out_len, text));
	abort();
}

/* All frames that came out, judged; a hash of their bytes. */
static uint64_t judge(const uint8_t *in, uint32_t n, bool veth)
{
	uint8_t out[BOX_FRAME_MAX];
	uint64_t hash = 14695981039346656037ull;
	unsigned was = check_frame(in, n);
	bool l4_right = !(was & (FRAME_L4_CSUM | FRAME_FRAGMENT | FRAME_OTHER | (veth ? 0 : FRAME_PARTIAL)));
	for (unsigned p = 0; p < FIXED_PORTS; p++)
		for (uint32_t len; (len = box_take(fixed_ports[p], out));) {
			unsigned is = check_frame(out, len);
			if (is & FRAME_SHORT || (is & FRAME_INNER && !(was & FRAME_INNER)))
				wrong("an ill-formed frame left", in, n, out, len);
			if (is & FRAME_IP_CSUM)
				wrong("a wrong IPv4 header checksum left", in, n, out, len);
			if (l4_right && is & (FRAME_L4_CSUM | FRAME_PARTIAL))
				wrong("a checksum that was right left wrong", in, n, out, len);
			for (uint32_t i = 0; i < len; i++)
				hash = (hash ^ out[i]) * 1099511628211ull;
			hash = (hash ^ p) * 1099511628211ull;
		}
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e;
	if (size < 1 || size - 1 > FRAME_ROOM)
		return 0;
	struct port *p = fixed_ports[data[0] % FIXED_PORTS];
	const uint8_t *frame = data + 1;
	uint32_t n = (uint32_t)size - 1;
	uint64_t hash[2], replayed = workers[0]->replayed;
	for (unsigned i = 0; i < 2; i++) {
		if (box_send(p, frame, n))
			wrong("the port is full", frame, n, NULL, 0);
		box_run();
		hash[i] = judge(frame, n, p == fixed_ports[FIXED_UP1]);
		if (!box_balanced(&e))
			wrong(e.text, frame, n, NULL, 0);
	}
	if (workers[0]->replayed > replayed + 1)
		wrong("replayed without a decision", frame, n, NULL, 0);
	if (workers[0]->replayed == replayed + 1 && hash[0] != hash[1])
		wrong("replay gives other bytes than the decision", frame, n, NULL, 0);
	fixed_clear();
	return 0;
}

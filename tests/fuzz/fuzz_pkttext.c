/* SPDX-License-Identifier: BSD-2-Clause */
/* pkttext: any frame prints to a text that gives the same bytes, and any text that is taken gives a frame for which that holds.
 * The first byte chooses: odd = the rest is text, even = a frame. */
#include <stdlib.h>
#include <string.h>

#include "cli/pkttext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_frame(const uint8_t *frame, uint32_t len)
{
	char text[PKTTEXT_MAX];
	uint8_t back[PKTTEXT_FRAME_MAX];
	struct err e = { "" };
	if (len == 0)
		return;
	pkttext_print(frame, len, text);
	int n = pkttext_parse(text, back, &e);
	if (n != (int)len || memcmp(back, frame, len) != 0) {
		fprintf(stderr, "%d bytes instead of %u from: %s\n%s\n", n, len, text, e.text);
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t frame[PKTTEXT_FRAME_MAX];
	if (size < 1 || size > PKTTEXT_FRAME_MAX)
		return 0;
	if (!(data[0] & 1)) {
		memcpy(frame, data + 1, size - 1);
		check_frame(frame, (uint32_t)size - 1);
		return 0;
	}
	char text[PKTTEXT_FRAME_MAX + 1];
	struct err e;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	int n = pkttext_parse(text, frame, &e);
	if (n > 0)
		check_frame(frame, (uint32_t)n);
	return 0;
}

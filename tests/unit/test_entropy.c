/* SPDX-License-Identifier: BSD-2-Clause */
/* The outer UDP source port of tunnels (RFC 7348 5): one for each inner flow, many in all, from 49152 up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/pkttext.h"
#include "tests/support/fixed.h"

enum { FLOWS = 256 };

/* What a packet of flow 'n' leaves with; 'v6': of the inner packet. */
static uint16_t source_port(unsigned n, bool v6)
{
	char text[256];
	uint8_t in[PKTTEXT_FRAME_MAX], out[BOX_FRAME_MAX];
	struct err e = { "" };
	snprintf(text, sizeof(text), "eth 02:e1:00:00:00:0a > 02:00:00:00:0a:0a | ip %s | udp %u > 53 | data 9",
		 v6 ? "2001:db8:1::10 > 2001:db8:2::7" : "10.1.0.10 > 10.2.0.7", 5000 + n);
	int len = pkttext_parse(text, in, &e);
	if (len < 0)
		fail_msg("%s", e.text);
	assert_int_equal(box_send(fixed_ports[FIXED_GATE], in, (uint32_t)len), 0);
	box_run(); /* the first one waits for its tunnel's headers */
	assert_true(box_take(fixed_ports[FIXED_UP0], out) > 64);
	assert_int_equal(rd16(out + 12), ET_IP4);
	assert_int_equal(out[23], PROTO_UDP);
	return rd16(out + 34);
}

static void spreads_and_stays(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		static bool seen[65536];
		uint16_t port[FLOWS];
		unsigned distinct = 0;
		memset(seen, 0, sizeof(seen));
		for (unsigned n = 0; n < FLOWS; n++) {
			port[n] = source_port(n, v6);
			assert_in_range(port[n], 49152, 65535);
			distinct += !seen[port[n]];
			seen[port[n]] = true;
		}
		/* 256 balls into 16384 boxes: 254 are hit on average, standard deviation 1.4 */
		assert_in_range(distinct, 240, FLOWS);
		for (unsigned n = 0; n < FLOWS; n++)
			assert_int_equal(source_port(n, v6), port[n]);
	}
}

static int setup(void **state)
{
	(void)state;
	fixed_open();
	return 0;
}

static int teardown(void **state)
{
	struct err e = { "" };
	(void)state;
	fixed_clear();
	if (box_close(&e))
		return 0;
	print_error("%s\n", e.text);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(spreads_and_stays) };
	return cmocka_run_group_tests(tests, setup, teardown);
}

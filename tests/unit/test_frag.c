/* SPDX-License-Identifier: BSD-2-Clause */
/* Fragments: what a datagram's row knows, against a model; rows that go; identifications; and the engine with two workers,
 * fragments shuffled over two ports, so that nearly all of them change workers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pkttext.h"
#include "fwd/base/clock.h"
#include "fwd/frag.h"
#include "fwd/resolve.h"
#include "tests/support/box.h"
#include "tests/support/check.h"

enum { UNITS = 200, HOSTS = 40, PIECES = 5, PIECE = 64 };

static uint32_t dice(uint32_t n)
{
	return (uint32_t)(rand() >> 4) % n;
}

/* ---- the row ---- */

static void in_order_without_end(void **state)
{
	(void)state;
	struct frag_value v = { 0 };
	for (uint32_t at = 0; at < 65528; at += 8)
		assert_int_equal(frag_add(&v, at, 8, true), FRAG_FITS);
	assert_int_equal(frag_add(&v, 65528, 7, false), FRAG_FITS);
	assert_true(frag_complete(&v));
	assert_int_equal(frag_add(&v, 65528, 7, false), FRAG_AGAIN);
	assert_int_equal(frag_add(&v, 0, 8, true), FRAG_CLASH); /* joined with others: cautious */
}

static void too_many_holes(void **state)
{
	(void)state;
	struct frag_value v = { 0 };
	for (uint32_t i = 0; i < FRAG_RANGES; i++)
		assert_int_equal(frag_add(&v, i * 16, 8, true), FRAG_FITS);
	assert_int_equal(frag_add(&v, FRAG_RANGES * 16, 8, true), FRAG_CLASH);
	frag_sub(&v, 0, 8, true);
	assert_int_equal(frag_add(&v, FRAG_RANGES * 16, 8, true), FRAG_FITS);
}

/* Random pieces: fits exactly when no unit was seen before and the ends agree. */
static void random_pieces(void **state)
{
	(void)state;
	srand(2);
	for (unsigned round = 0; round < 20000; round++) {
		struct frag_value v = { 0 };
		uint8_t seen[2 * UNITS] = { 0 };
		uint32_t end = 0, got = 0, highest = 0;
		for (unsigned i = 0; i < 12; i++) {
			uint32_t s = dice(UNITS), n = 1 + dice(20);
			bool more = dice(6), hit = false;
			uint32_t len = n * 8 - (more ? 0 : dice(8)), stop = s * 8 + len;
			for (uint32_t u = s; u < s + n; u++)
				hit |= seen[u];
			bool bad = hit || (end && (more ? stop >= end : stop != end)) || (!more && highest > stop);
			enum frag_fit fit = frag_add(&v, s * 8, len, more);
			if (bad != (fit != FRAG_FITS))
				fail_msg("round %u: %u+%u more %d: %d", round, s * 8, len, more, fit);
			if (bad)
				continue;
			if (dice(4) == 0) { /* taken back: as if it had not come */
				frag_sub(&v, s * 8, len, more);
				continue;
			}
			memset(seen + s, 1, n);
			got += len;
			highest = MAX(highest, stop);
			end = more ? end : stop;
			assert_int_equal(frag_complete(&v), end && got == end);
		}
	}
}

/* ---- the table ---- */

static struct frag_key key_of(uint32_t i)
{
	return (struct frag_key){ .src = ip_from4(htonl(0x0a000000 + i)), .dst = ip_from4(1), .id = i, .proto = 17 };
}

static uint32_t gone, last_gone;
static void count_gone(unsigned slot, uint32_t row)
{
	(void)slot;
	gone++;
	last_gone = frag_key_at(row)->id;
}

static void oldest_goes(void **state)
{
	(void)state;
	void (*hook)(unsigned, uint32_t) = frag_on_delete;
	struct frag_key k;
	frag_on_delete = count_gone;
	for (uint32_t i = 1; i <= 120; i++) {
		k = key_of(i);
		assert_int_not_equal(frag_row(0, 100, &k, 50, 30), 0);
		assert_int_equal(gone, i > 100 ? i - 100 : 0);
		assert_true(i <= 100 || last_gone == i - 100);
	}
	assert_int_equal(frag_count(), 100);
	/* known: the same row, as long as it is young and not complete */
	uint32_t row = frag_row(0, 100, &k, 79, 30);
	struct frag_value *v = frag_at(row);
	assert_int_equal(frag_add(v, 0, 16, true), FRAG_FITS);
	assert_int_equal(frag_row(0, 100, &k, 79, 30), row);
	assert_int_equal(v->got, 16);
	assert_int_equal(frag_row(0, 100, &k, 80, 30), row);
	assert_int_equal(v->got, 0);
	assert_int_equal(frag_add(v, 0, 16, true), FRAG_FITS);
	assert_int_equal(frag_add(v, 16, 3, false), FRAG_FITS);
	frag_row(0, 100, &k, 80, 30);
	assert_int_equal(v->got, 0);
	frag_on_delete = hook;
	frag_clear(0);
	assert_int_equal(frag_count(), 0);
}

static void identifications_do_not_meet(void **state)
{
	(void)state;
	struct ipaddr src = ip_from4(htonl(0xc6336401)), dst = ip_from4(htonl(0xcb007107));
	uint8_t *seen = calloc(1, 65536);
	assert_non_null(seen);
	for (unsigned i = 0; i < 65536; i++) {
		uint16_t id = (uint16_t)frag_new_id(&src, &dst, PROTO_UDP);
		assert_false(seen[id]++);
	}
	free(seen);
}

/* What a datagram was called before is known, or not, but never wrong. */
static void former_identifications(void **state)
{
	enum { N = 100000, LATEST = 1000 };
	uint64_t seed = 7;
	unsigned known = 0;
	uint32_t was;
	(void)state;
	for (uint32_t i = 1; i <= N; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		frag_id_note(seed, i & 0xffff, i);
	}
	seed = 7;
	for (uint32_t i = 1; i <= N; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		assert_false(frag_id_was(seed, (i + 1) & 0xffff, &was));
		if (!frag_id_was(seed, i & 0xffff, &was))
			continue;
		assert_int_equal(was, i);
		known += i > N - LATEST;
	}
	assert_in_range(known, LATEST * 4 / 5, LATEST);
	/* what comes again has its last one */
	frag_id_note(seed, 1, 8);
	frag_id_note(seed, 1, 9);
	assert_true(frag_id_was(seed, 1, &was) && was == 9);
}

/* ---- the engine ---- */

static struct port *up[2];

/* Piece 'k' of the datagram of host 'h': its first one names the port. */
static uint32_t build(unsigned h, unsigned k, uint8_t *frame)
{
	char text[256], from[MAC_STRLEN], rest[96];
	struct err e = { "" };
	struct port *p = up[(h + k) % 2];
	if (k == 0)
		snprintf(rest, sizeof(rest), "udp %u > 53 len=%u csum=0 | data %u", 5000 + h, PIECES * PIECE,
			 PIECE - 8);
	else
		snprintf(rest, sizeof(rest), "data %u", PIECE);
	snprintf(text, sizeof(text),
		 "eth 02:00:00:00:00:99 > %s | ip 198.51.100.%u > 203.0.113.%u id=7 %s off=%u proto=17 | %s",
		 mac_print(&p->mac, from), 10 + h, 10 + h % 3, k < PIECES - 1 ? "mf" : "", k * PIECE, rest);
	int n = pkttext_parse(text, frame, &e);
	if (n < 0)
		fail_msg("%s: %s", text, e.text);
	return (uint32_t)n;
}

static void open_box(void)
{
	static const char *const lines =
		"set worker count 2\nadd port up0 mem transit on\nadd port up1 mem transit on\n";
	const struct box_limits limits = { .frames = 8192 };
	struct err e = { "" };
	struct ipaddr a;
	struct mac m = { { 2, 0, 0, 0, 0, 0x98 } };
	char text[128];
	FILE *none = fopen("/dev/null", "w");
	assert_non_null(none);
	snprintf(text, sizeof(text), "%s", lines);
	if (box_open(&limits, &e) || box_commands("test", text, none, &e))
		fail_msg("%s", e.text);
	fclose(none);
	up[0] = port_by_name("up0");
	up[1] = port_by_name("up1");
	assert_int_not_equal(up[0]->queue[0].owner, up[1]->queue[0].owner);
	assert_int_equal(box_route(true, "203.0.113.0/24", up[1], "192.0.3.254", &e), 0);
	assert_true(ip_parse("192.0.3.254", &a));
	resolve_kernel_neighbor(up[1]->ifindex, &a, &m, true, false);
	/* the first packet asks for the neighbour */
	uint8_t f[PKTTEXT_FRAME_MAX], out[BOX_FRAME_MAX];
	char mac[MAC_STRLEN], whole[160];
	snprintf(whole, sizeof(whole), "eth 02:00:00:00:00:99 > %s | ip 198.51.100.9 > 203.0.113.9 | udp 1 > 53",
		 mac_print(&up[0]->mac, mac));
	int n = pkttext_parse(whole, f, &e);
	assert_true(n > 0);
	assert_int_equal(box_send(up[0], f, (uint32_t)n), 0);
	box_run();
	assert_int_not_equal(box_take(up[1], out), 0);
}

static unsigned take_all(void)
{
	uint8_t out[BOX_FRAME_MAX];
	uint64_t before[HOSTS] = { 0 };
	unsigned n = 0;
	for (uint32_t len; (len = box_take(up[1], out)); n++) {
		assert_int_equal(check_frame(out, len), FRAME_FRAGMENT);
		unsigned h = out[14 + 15] - 10u, k = (rd16(out + 20) & 0x1fff) * 8 / PIECE;
		assert_true(h < HOSTS);
		assert_false(before[h] & 1ull << k);
		assert_true(k == 0 || before[h] & 1); /* none leaves before the first of its datagram */
		before[h] |= 1ull << k;
	}
	return n;
}

static void two_workers_any_order(void **state)
{
	(void)state;
	struct err e;
	uint8_t f[PKTTEXT_FRAME_MAX];
	unsigned order[HOSTS * PIECES], owners = 0;
	srand(3);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < HOSTS * PIECES; i++) {
			unsigned j = dice(i + 1);
			order[i] = order[j];
			order[j] = i;
		}
		for (unsigned i = 0; i < HOSTS * PIECES; i++) {
			unsigned h = order[i] / PIECES, k = order[i] % PIECES;
			uint32_t n = build(h, k, f);
			assert_int_equal(box_send(up[(h + k) % 2], f, n), 0);
			if (dice(3) == 0)
				worker_run_once(workers[dice(2)]);
		}
		box_run();
		assert_int_equal(take_all(), HOSTS * PIECES);
		assert_int_equal(box_drops(), 0);
		if (!box_balanced(&e))
			fail_msg("%s", e.text);
	}
	for (unsigned w = 0; w < 2; w++)
		owners += workers[w]->replayed > 0;
	assert_int_equal(owners, 2);
	assert_int_equal(workers[0]->n_frags + workers[1]->n_frags, 0);
}

/* Ends without a beginning, of many sources: what waits stays within the limits, and ends by itself. */
static void flood_is_bounded(void **state)
{
	(void)state;
	struct err e;
	uint8_t f[PKTTEXT_FRAME_MAX];
	uint32_t most = 0, n = build(1, 1, f), frames_before = frames_free();
	for (unsigned i = 0; i < 20000; i++) {
		wr32(f + 14 + 12, 0xac100000 + i % 5000);
		wr16(f + 14 + 4, (uint16_t)(i / 5000));
		st16(f + 14 + 10, 0);
		st16(f + 14 + 10, (uint16_t)~csum_fold(csum_add(f + 14, IP4_HLEN, 0)));
		assert_int_equal(box_send(up[0], f, n), 0);
		worker_run_once(workers[1 - up[0]->queue[0].owner]);
		most = MAX(most, MAX(workers[0]->n_frags, workers[1]->n_frags));
	}
	/* 8192 frames: an eighth of them, by two */
	assert_int_equal(most, 8192 / 8 / 2);
	assert_true(frames_before - frames_free() < 8192 / 4);
	assert_true(frag_count() <= FRAG_CAPACITY);
	box_advance(3 * NS_PER_S);
	assert_int_equal(workers[0]->n_frags + workers[1]->n_frags, 0);
	assert_int_equal(box_drops(), 20000);
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
}

/* What waits, and what is on its way to another worker, when the port it came by is deleted. */
static void port_goes(void **state)
{
	(void)state;
	struct err e = { "" };
	struct ipaddr a;
	struct mac m = { { 2, 0, 0, 0, 0, 0x97 } };
	char command[] = "del port up0\n", text[160], mac[MAC_STRLEN];
	uint8_t f[PKTTEXT_FRAME_MAX], out[BOX_FRAME_MAX];
	const uint16_t port = up[0]->index;
	const uint64_t drops = box_drops();
	assert_int_equal(box_route(true, "203.0.114.0/24", up[1], "192.0.3.253", &e), 0);
	snprintf(text, sizeof(text), "eth 02:00:00:00:00:99 > %s | ip 198.51.100.9 > 203.0.114.9 | udp 1 > 53",
		 mac_print(&up[0]->mac, mac));
	int n = pkttext_parse(text, f, &e);
	assert_true(n > 0);
	assert_int_equal(box_send(up[0], f, (uint32_t)n), 0); /* waits for its neighbour */
	assert_int_equal(box_send(up[0], f, build(1, 1, f)), 0);
	box_run();                              /* waits for its first fragment */
	for (unsigned h = 3; h < HOSTS; h += 2) /* first ones: half of them lie in the ring between the workers */
		assert_int_equal(box_send(up[0], f, build(h, 0, f)), 0);
	assert_int_equal(workers_port(port).held, 2);
	FILE *none = fopen("/dev/null", "w");
	assert_non_null(none);
	if (box_commands("test", command, none, &e))
		fail_msg("%s", e.text);
	fclose(none);
	assert_null(ports[port]);
	assert_true(ip_parse("192.0.3.253", &a));
	resolve_kernel_neighbor(up[1]->ifindex, &a, &m, true, false);
	box_run();
	n = (int)build(1, 0, f);
	assert_int_equal(box_send(up[1], f, (uint32_t)n), 0);
	box_run();
	assert_int_equal(workers_port(port).held, 0);
	assert_true(box_drops() >= drops + 2);
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
	while (box_take(up[1], out))
		;
}

static int setup(void **state)
{
	(void)state;
	open_box();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	struct err e = { "" };
	bool whole = box_close(&e);
	if (!whole)
		print_error("%s\n", e.text);
	return whole ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_without_end),
		cmocka_unit_test(too_many_holes),
		cmocka_unit_test(random_pieces),
		cmocka_unit_test(oldest_goes),
		cmocka_unit_test(identifications_do_not_meet),
		cmocka_unit_test(former_identifications),
		cmocka_unit_test(two_workers_any_order),
		cmocka_unit_test(flood_is_bounded),
		cmocka_unit_test(port_goes),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

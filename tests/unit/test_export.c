/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel replay, the engine's side: what a record looks like, how it follows its connection, how counts come home. */
#include "tests/unit/export_kit.h"

/* ---- records ---- */

static uint16_t fold(uint64_t s)
{
	return csum_fold(s);
}

static void test_record(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		uint32_t i = link_up(c, 1);
		engine_moves(c, i, 10);
		ticks(1);
		for (unsigned d = 0; d < 2; d++) {
			const struct replay_flow4 *a = kernel_find(c, 2 * i + d);
			const struct replay_flow6 *b = kernel_find(c, 2 * i + d);
			assert_non_null(a);
			if (v6) {
				const struct flow6 *f = ct_flow6(2 * i + d);
				assert_int_equal(b->in, f->in);
				assert_int_equal(b->adj, f->adj);
				assert_memory_equal(b->dst, f->dst, 16);
				assert_int_equal(b->dport, f->dport);
				/* the two parts are the engine's one */
				assert_int_equal(fold((uint64_t)b->d_addr + b->d_port) % 0xffff, f->d4 % 0xffff);
				assert_int_equal(b->use.owner, 2 * i + d);
			} else {
				const struct flow4 *f = ct_flow4(2 * i + d);
				assert_int_equal(a->in, f->in);
				assert_int_equal(a->adj, f->adj);
				assert_int_equal(a->d3, f->d3);
				assert_int_equal(a->src, f->src);
				assert_int_equal(a->sport, f->sport);
				assert_int_equal(fold((uint64_t)a->d_addr + a->d_port) % 0xffff, f->d4 % 0xffff);
				assert_int_equal(a->use.seen, REPLAY_SEEN_NOW(now_ns));
				assert_int_equal(a->flags, REPLAY_BY_TC);
			}
		}
	}
}

static void test_counts_come_home(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1000));
	struct export_count n = export_counted(&ct4, i, 0);
	assert_int_equal(n.packets, 1000);
	assert_int_equal(n.bytes, 100000);
	move_clock(3000);
	assert_true(kernel_moves(&ct4, i, 500));
	ticks(1);
	assert_int_equal(export_counted(&ct4, i, 1).packets, 1500);
	assert_in_range(ct_flow4(2 * i)->seen, now_s() - 1, now_s() + 1);
	/* they stay when it leaves the kernel, and come on top when it returns */
	move_clock(7000);
	ticks(1);
	assert_int_equal(connections(), 0);
	assert_null(kernel_find(&ct4, 2 * i));
	assert_int_equal(export_counted(&ct4, i, 0).packets, 1500);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	assert_int_equal(export_counted(&ct4, i, 0).packets, 1501);
	/* and end with the connection: another one in its place starts at zero */
	assert_true(ct_delete(&ct4, 0, i));
	ticks(1);
	uint32_t next = 0;
	for (unsigned k = 2; k < 3000 && next != i; k++) {
		rcu_poll_deferred();
		next = link_up(&ct4, k);
	}
	assert_int_equal(next, i);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 0);
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 0);
	assert_true(kernel_moves(&ct4, i, 1));
}

static void test_new_decision(void **state)
{
	(void)state;
	const uint16_t dep[4] = { 100, 0, 0, 0 };
	uint32_t i = link_up_dep(&ct4, 1, PROTO_TCP, dep);
	struct export_totals t;
	engine_moves(&ct4, i, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	gen_bump(100);
	assert_false(kernel_moves(&ct4, i, 1)); /* at once, without us */
	ticks(1);
	assert_false(kernel_moves(&ct4, i, 1));
	decide_record(&ct4, 2 * i, FLOW_IN_ENDPOINT | 10, adj_port, dep);
	decide_record(&ct4, 2 * i + 1, FLOW_IN_UPLINK, adj_box, dep);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	export_read_totals(&t);
	assert_int_equal(t.renewed, 2);
	assert_int_equal(t.promoted, 1);
	/* old numbers rest: theirs are not used again for two seconds */
	assert_int_equal(t.resting[0], 2);
	ticks(31);
	kernel_moves(&ct4, i, 1);
	export_read_totals(&t);
	assert_int_equal(export_table_free(false, now_ns), FLOWS - 1 - 2);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 3);
}

/* Decided anew between the copy and its place in the kernel's table: who did that could not see the place yet. */
static void test_changed_on_its_way(void **state)
{
	const uint16_t dep[4] = { 100, 0, 0, 0 };
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		const uint32_t i = link_up(c, 1);
		for (unsigned changed = 0; changed < 2; changed++) {
			struct export_pair p = { .conn = i, .v6 = v6 };
			union export_record k;
			assert_true(export_record_copy(c, 2 * i, &k));
			gen_bump(100);
			if (changed)
				decide_record(c, 2 * i, FLOW_IN_ENDPOINT | 10, adj_host, dep);
			assert_true(export_write_record(&p, 0, &k, now_ns));
			assert_int_equal(kernel_valid(c, kernel_find(c, 2 * i)), !changed);
			export_table_remove(v6, p.number[0], now_ns);
			export_totals.records[v6]--;
		}
	}
}

static void test_end_of_connection(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1), k = link_up(&ct4, 2);
	engine_moves(&ct4, i, 10);
	engine_moves(&ct4, k, 10);
	ticks(1);
	assert_true(kernel_moves(&ct4, i, 1));
	record_stop_both(&ct4, 2 * i); /* an RST */
	ct_conn(&ct4, i)->state = CT_RST_SEEN;
	assert_false(kernel_valid(&ct4, kernel_find(&ct4, 2 * i)));
	assert_false(kernel_valid(&ct4, kernel_find(&ct4, 2 * i + 1)));
	assert_true(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_int_equal(connections(), 1);
	assert_string_equal(export_state(&ct4, i), "state");
	export_stop(&ct4, k); /* twice does not bring it back */
	export_stop(&ct4, k);
	assert_false(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_true(kernel_moves(&ct4, k, 1));
	assert_true(ct_delete(&ct4, 0, k));
	assert_false(kernel_moves(&ct4, k, 1));
	ticks(1);
	assert_int_equal(connections(), 0);
}

/* ---- time ---- */

static void test_no_expiry_while_offloaded(void **state)
{
	(void)state;
	uint32_t saved = ct_timeouts[CT_T_TCP_ESTABLISHED];
	uint32_t i = link_up(&ct4, 1);
	ct_timeouts[CT_T_TCP_ESTABLISHED] = 10;
	engine_moves(&ct4, i, 10);
	ticks(1);
	for (unsigned n = 0; n < 5; n++) { /* no tick in between: only the question helps */
		move_clock(9000);
		assert_true(kernel_moves(&ct4, i, 1));
		move_clock(8000);
		ct_age(&ct4, 0, 1, 100000, now_s());
		assert_true(ct_is_live(&ct4, i));
		assert_in_range(ct_remaining(&ct4, i, now_s()), 1, 4);
	}
	move_clock(12000);
	ct_age(&ct4, 0, 1, 100000, now_s());
	assert_false(ct_is_live(&ct4, i));
	assert_false(kernel_moves(&ct4, i, 1));
	ct_timeouts[CT_T_TCP_ESTABLISHED] = saved;
}

static void test_quiet_direction_stays(void **state)
{
	(void)state;
	uint32_t i = link_up(&ct4, 1);
	engine_moves(&ct4, i, 10);
	ticks(1);
	for (unsigned n = 0; n < 200; n++) {
		struct replay_flow4 *k = kernel_find(&ct4, 2 * i);
		assert_non_null(k);
		k->use.packets += 10;
		k->use.seen = REPLAY_SEEN_NOW(now_ns);
		ticks(1);
	}
	struct replay_flow4 *quiet = kernel_find(&ct4, 2 * i + 1);
	assert_true(now_ns - ((uint64_t)quiet->use.seen << REPLAY_SEEN_SHIFT) < 3 * NS_PER_S);
	assert_int_equal(export_counted(&ct4, i, 1).packets, 0);
	assert_int_equal(export_counted(&ct4, i, 0).packets, 2000);
}

int main(void)
{
#define T(name, with) cmocka_unit_test_setup_teardown(name, with, teardown)
	const struct CMUnitTest tests[] = {
		T(test_record, setup),
		T(test_counts_come_home, setup),
		T(test_new_decision, setup),
		T(test_changed_on_its_way, setup),
		T(test_end_of_connection, setup),
		T(test_no_expiry_while_offloaded, setup),
		T(test_quiet_direction_stays, setup),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}

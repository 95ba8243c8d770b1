/* SPDX-License-Identifier: BSD-2-Clause */
/* fwd/base/out: text, JSON, filters, limits, text that came from outside. */
#include "fwd/base/out.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static void sample_row(struct out *o, const char *src, const char *net, uint64_t packets, const char *name)
{
	struct ipaddr a;
	struct ipnet n;
	struct mac m;
	assert_true(ip_parse(src, &a) && ipnet_parse(net, &n) && mac_parse("02:00:00:00:00:0a", &m));
	out_row(o);
	out_ip(o, "src", &a);
	out_net(o, "prefix", &n);
	out_u64(o, "packets", packets);
	out_mac(o, "mac", &m);
	out_bool(o, "up", packets > 5);
	out_fmt(o, "vip", "%s", src);
	out_str(o, "name", name);
}

static char *sample(bool json, const struct out_filter *f, unsigned n, unsigned max, int want)
{
	struct err e = { "" };
	struct out *o = out_new(json, f, n, max);
	char *text;
	sample_row(o, "10.1.2.3", "10.0.0.0/8", 1, "a");
	sample_row(o, "10.2.0.1", "10.2.0.0/16", 123456, NULL);
	sample_row(o, "2001:db8::1", "2001:db8::/32", 7, "long name");
	int r = out_end(o, &text, &e);
	assert_int_equal(r, want);
	if (r)
		assert_true(!text && e.text[0]);
	out_free(o);
	return text;
}

static void test_text(void **state)
{
	(void)state;
	char *t = sample(false, NULL, 0, 0, 0);
	assert_string_equal(t, "src          prefix         packets  mac                up   vip          name\n"
			       "10.1.2.3     10.0.0.0/8           1  02:00:00:00:00:0a  no   10.1.2.3     a\n"
			       "10.2.0.1     10.2.0.0/16     123456  02:00:00:00:00:0a  yes  10.2.0.1\n"
			       "2001:db8::1  2001:db8::/32        7  02:00:00:00:00:0a  yes  2001:db8::1  long name\n");
	free(t);
}

static void test_json(void **state)
{
	(void)state;
	char *t = sample(true, NULL, 0, 0, 0);
	json_t *j = json_loads(t, 0, NULL);
	assert_int_equal(json_array_size(j), 3);
	json_t *r = json_array_get(j, 1);
	assert_string_equal(json_string_value(json_object_get(r, "src")), "10.2.0.1");
	assert_string_equal(json_string_value(json_object_get(r, "prefix")), "10.2.0.0/16");
	assert_int_equal(json_integer_value(json_object_get(r, "packets")), 123456);
	assert_string_equal(json_string_value(json_object_get(r, "mac")), "02:00:00:00:00:0a");
	assert_true(json_is_true(json_object_get(r, "up")));
	assert_true(json_is_null(json_object_get(r, "name")));
	assert_string_equal(json_object_iter_key(json_object_iter(r)), "src"); /* order kept */
	json_decref(j);
	free(t);
}

static unsigned count(const char *field, const char *value, unsigned max)
{
	const struct out_filter f = { field, value };
	char *t = sample(true, &f, 1, max, 0);
	json_t *j = json_loads(t, 0, NULL);
	unsigned n = (unsigned)json_array_size(j);
	assert_non_null(j);
	json_decref(j);
	free(t);
	/* the text form keeps as many */
	t = sample(false, &f, 1, max, 0);
	unsigned lines = 0;
	for (char *c = t; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, n ? n + 1 : 0);
	free(t);
	return n;
}

static void test_filters(void **state)
{
	(void)state;
	assert_int_equal(count("src", "10.1.2.3", 0), 1);
	assert_int_equal(count("src", "10.0.0.0/8", 0), 2);
	assert_int_equal(count("src", "10.2.0.0/16", 0), 1);
	assert_int_equal(count("src", "0.0.0.0/0", 0), 2);
	assert_int_equal(count("src", "::/0", 0), 1);
	assert_int_equal(count("src", "2001:DB8:0::1", 0), 1);
	assert_int_equal(count("src", "10.1", 0), 0);
	assert_int_equal(count("prefix", "10.0.0.0/8", 0), 2);  /* itself and what is inside */
	assert_int_equal(count("prefix", "10.2.0.0/16", 0), 1); /* not the wider one */
	assert_int_equal(count("packets", "7", 0), 1);
	assert_int_equal(count("packets", "07", 0), 0);
	assert_int_equal(count("mac", "02:00:00:00:00:0A", 0), 3);
	assert_int_equal(count("up", "yes", 0), 2);
	assert_int_equal(count("up", "true", 0), 2);
	assert_int_equal(count("up", "off", 0), 1);
	assert_int_equal(count("vip", "10.0.0.0/8", 0), 2);
	assert_int_equal(count("name", "long name", 0), 1);
	assert_int_equal(count("name", "long", 0), 0);
	assert_int_equal(count("name", "", 0), 1);
	assert_int_equal(count("src", "10.0.0.0/8", 1), 1);

	const struct out_filter two[] = { { "src", "10.0.0.0/8" }, { "up", "no" } };
	char *t = sample(true, two, 2, 0, 0);
	json_t *j = json_loads(t, 0, NULL);
	assert_int_equal(json_array_size(j), 1);
	json_decref(j);
	free(t);
	const struct out_filter unknown[] = { { "src", "1.1.1.1" }, { "colour", "no" } };
	assert_null(sample(true, unknown, 2, 0, -EINVAL));
	assert_null(sample(false, unknown, 2, 0, -EINVAL));
}

static void test_max(void **state)
{
	(void)state;
	const struct out_filter f = { "odd", "yes" };
	struct out *o = out_new(true, &f, 1, 3);
	unsigned i = 0;
	char *t;
	for (; i < 100 && !out_full(o); i++) {
		out_row(o);
		out_u64(o, "n", i);
		out_bool(o, "odd", i & 1);
	}
	assert_int_equal(i, 6); /* 1, 3, 5 matched */
	out_row(o);             /* a walker that does not look goes on unharmed */
	out_u64(o, "n", 7);
	out_bool(o, "odd", true);
	assert_int_equal(out_end(o, &t, NULL), 0);
	assert_string_equal(t, "[\n{\"n\":1,\"odd\":true},\n{\"n\":3,\"odd\":true},\n{\"n\":5,\"odd\":true}\n]");
	free(t);
	out_free(o);
}

static void test_empty(void **state)
{
	(void)state;
	const struct out_filter f = { "nothing", "x" };
	for (int json = 0; json < 2; json++) {
		struct out *o = out_new(json, &f, 1, 0);
		char *t;
		assert_int_equal(out_end(o, &t, NULL), 0);
		assert_string_equal(t, json ? "[]" : "");
		free(t);
		out_free(o);
	}
	out_free(NULL);
}

/* Names must neither forge rows nor break JSON. */
static void test_odd_strings(void **state)
{
	(void)state;
	static const char *const odd[] = { "a\nb", "tab\there", "quote\"\\", "\xff\xfe", "gr\xc3\xbc\xc3\x9f" };
	for (int json = 0; json < 2; json++) {
		struct out *o = out_new(json, NULL, 0, 0);
		char *t;
		for (unsigned i = 0; i < ARRAY_LEN(odd); i++) {
			out_row(o);
			out_str(o, "name", odd[i]);
			out_u64(o, "n", UINT64_MAX);
		}
		assert_int_equal(out_end(o, &t, NULL), 0);
		unsigned lines = 0;
		for (char *c = t; *c; c++)
			lines += *c == '\n';
		if (json) {
			json_t *j = json_loads(t, 0, NULL);
			assert_int_equal(json_array_size(j), ARRAY_LEN(odd));
			assert_string_equal(json_string_value(json_object_get(json_array_get(j, 0), "name")), "a\nb");
			assert_string_equal(json_string_value(json_object_get(json_array_get(j, 3), "name")), "??");
			json_decref(j);
		} else {
			assert_int_equal(lines, ARRAY_LEN(odd) + 1);
			assert_non_null(strstr(t, "a?b       18446744073709551615\n"));
			assert_non_null(strstr(t, "gr\xc3\xbc\xc3\x9f      18446744073709551615\n"));
		}
		free(t);
		out_free(o);
	}
}

static void test_many(void **state)
{
	(void)state;
	struct out *o = out_new(true, NULL, 0, 0);
	char *t;
	for (unsigned i = 0; i < 100000; i++) {
		out_row(o);
		out_u64(o, "n", i);
	}
	assert_int_equal(out_end(o, &t, NULL), 0);
	json_t *j = json_loads(t, 0, NULL);
	assert_int_equal(json_array_size(j), 100000);
	json_decref(j);
	free(t);
	out_free(o);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text), cmocka_unit_test(test_json),  cmocka_unit_test(test_filters),
		cmocka_unit_test(test_max),  cmocka_unit_test(test_empty), cmocka_unit_test(test_odd_strings),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests_name("out", tests, NULL, NULL);
}

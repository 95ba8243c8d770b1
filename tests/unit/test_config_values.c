/* SPDX-License-Identifier: BSD-2-Clause */
/* Values that are not what they look like: units, rules that match nothing, devices that are not there. */
#include "tests/unit/config_env.h"

static void test_units(void **state)
{
	(void)state;
	/* a unit of the same kind counts; what is saved is the number */
	ok("set ct timeout udp 5m");
	assert_int_equal(ct_timeouts[CT_T_UDP], 300);
	ok("set ct timeout tcp-established 2h");
	assert_int_equal(ct_timeouts[CT_T_TCP_ESTABLISHED], 7200);
	ok("set frag queue-bytes 2M");
	assert_int_equal(settings.frag_queue_bytes, 2 << 20);
	refused("set frag queue-bytes 1G", "is not a number from 0 to 16777216 bytes");
	refused("set ct timeout udp 5M", "'5M' is not a number from 1 to 31536000 s");
	refused("set ct timeout udp 366d", "is not a number from 1 to 31536000 s");
	refused("set ct timeout udp m", "is not a number");
	refused("set ct timeout udp 99999999999999999999s", "is not a number");
	refused("set icmp burst 5s", "'5s' is not a number from 1 to 100000 errors");
	ok("set tcp mss-clamp 1400B");
	assert_int_equal(settings.mss_clamp, 1400);
	char *text = saved();
	assert_non_null(strstr(text, "set ct timeout udp 300\nset ct timeout tcp-established 7200\n"));
	free(text);
	ok("set tcp mss-clamp off");
	settings_default();
}

static void test_rules_without_effect(void **state)
{
	(void)state;
	/* what no packet matches is taken, and said */
	char *warning = NULL;
	size_t size;
	FILE *f = open_memstream(&warning, &size);
	assert_int_equal(cli_execute("add policy identity 7 egress deny cidr fd00::/8 icmp", false, f, &e), 0);
	assert_int_equal(cli_execute("add policy identity 7 egress deny cidr fd00::/8 icmpv6", false, f, &e), 0);
	assert_int_equal(cli_execute("add policy identity 7 egress deny cidr 10.0.0.0/8 icmpv6", false, f, &e), 0);
	fclose(f);
	assert_string_equal(warning,
			    "warning: policy: icmp never matches fd00::/8, which is IPv6: for that say icmpv6\n"
			    "warning: policy: icmpv6 never matches 10.0.0.0/8, which is IPv4: for that say icmp\n");
	free(warning);
}

static void test_devices(void **state)
{
	(void)state;
	ok("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 7");
	config_devices_required = true;
	refused("set endpoint 10 device lxc99", "endpoint 10: there is no device 'lxc99'; see 'ip link'");
	config_devices_required = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_units),
		T(test_rules_without_effect),
		T(test_devices),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}

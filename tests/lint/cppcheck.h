/* SPDX-License-Identifier: BSD-2-Clause */
/* Macros of system headers for cppcheck, which does not read those. Included before every source by cppcheck.sh. */
#define LIBBPF_OPTS(type, name, ...) struct type name = { __VA_ARGS__ }
#define DECLARE_LIBBPF_OPTS LIBBPF_OPTS
#define bpf_object__for_each_program(p, o)                                                                             \
	for (p = bpf_object__next_program(o, 0); p; p = bpf_object__next_program(o, p))
#define bpf_object__for_each_map(m, o) for (m = bpf_object__next_map(o, 0); m; m = bpf_object__next_map(o, m))

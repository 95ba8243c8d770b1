# SPDX-License-Identifier: BSD-2-Clause
# make help lists the targets. Variants, each in its own directory: SAN=1 (ASan + UBSan), TSAN=1, FUZZ=1 (clang libFuzzer),
# DPDK=1 adds the DPDK port. CC=clang works. B=DIR builds elsewhere. Sources are found by wildcard.

# Debian packages: the one list. Build, tests and lint.
PACKAGES = gcc make pkg-config clang llvm libclang-rt-14-dev libbpf-dev libxdp-dev liburcu-dev libmnl-dev libelf-dev \
	zlib1g-dev libjansson-dev libpcap-dev libedit-dev libcmocka-dev linux-libc-dev \
	bpftool iproute2 ethtool iputils-ping nftables nginx haproxy coturn iperf3 wrk tcpdump hping3 curl python3 jq procps util-linux \
	clang-format-14 clang-tidy-14 cppcheck shellcheck lua5.4 valgrind
# What bench-peers measures beside sluice, and plots; nothing else needs them
BENCH_PACKAGES = dpdk dpdk-dev libdpdk-dev openvswitch-switch-dpdk gnuplot-nox

VERSION = 0.1.0
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
FUZZ_SECONDS ?= 60
CLANG ?= clang

ifdef SAN
B ?= build-san
VARIANT = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
else ifdef TSAN
B ?= build-tsan
# gcc warns that TSan does not model fences
VARIANT = -O1 -fno-omit-frame-pointer -fsanitize=thread $(if $(findstring clang,$(CC)),,-Wno-tsan)
else ifdef FUZZ
B ?= build-fuzz
CC = $(CLANG)
VARIANT = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
else ifdef DPDK
B ?= build-dpdk
VARIANT = -O3
else
B ?= build
VARIANT = -O3
endif

DEPS = build/.deps$(if $(DPDK),-dpdk)
ifeq ($(origin CC),default)
CC = gcc
endif
WARN = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wwrite-strings \
	-Wundef -Wformat=2
CPPFLAGS += -I. -D_GNU_SOURCE -DSLUICE_VERSION='"$(VERSION)"' -DSLUICE_BUILD='"$(B)"'
# VARIANT after the user's CFLAGS, so that a package build's -O2 does not undo it
ALL_CFLAGS = -std=gnu17 -g -march=x86-64-v3 -maes -pthread $(WARN) $(CFLAGS) $(VARIANT)
BPF_CFLAGS = -target bpf -O2 -g -fno-strict-aliasing -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers \
	-I. -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)
LIBS = -lxdp -lbpf -lmnl -lpcap -ljansson -lurcu-qsbr -lelf -lz -lm
ifdef DPDK
CPPFLAGS += -DSLUICE_DPDK=1
# Its -march would undo ours
RTE_CPPFLAGS := $(patsubst -I%,-isystem %,$(filter-out -march=%,$(shell pkg-config --cflags libdpdk)))
LIBS += $(shell pkg-config --libs libdpdk)
endif

# ---- sources ----
SRC_base = $(wildcard fwd/base/*.c)
SRC_tables = $(wildcard tables/*.c)
SRC_xdp_sluice = $(filter-out %.bpf.c,$(wildcard xdp/*.c)) $(wildcard xdp/*.S)
SRC_fwd = $(filter-out fwd/main.c $(if $(DPDK),,fwd/port/dpdk%),\
	$(wildcard fwd/*.c fwd/step/*.c fwd/port/*.c))
SRC_cli = $(filter-out cli/client.c cli/edit.c,$(wildcard cli/*.c))
SRC_support = $(wildcard tests/support/*.c bench/kit.c bench/image.c bench/scale_churn.c bench/core_age.c)
LAYERS = cli fwd xdp_sluice tables base
BPF = $(patsubst xdp/%.bpf.c,$(B)/xdp/%.o,$(wildcard xdp/*.bpf.c))
ARCHIVES = $(LAYERS:%=$(B)/lib%.a)
obj = $(patsubst %,$(B)/obj/%.o,$(basename $(1)))

# ---- tests, narrowed by T ----
# An exact name wins over names that merely contain it; SUITE/NAME and NAME:FUNCTION are what their program is called.
t = $(notdir $(firstword $(subst :, ,$(T))))
pick = $(if $(T),$(or $(filter $(t) test_$(t) fuzz_$(t),$(1)),$(foreach n,$(1),$(if $(findstring $(t),$(n)),$(n)))),$(1))
UNIT = $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
BPFTEST = $(patsubst tests/bpf/%.c,%,$(wildcard tests/bpf/test_*.c))
FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES = $(filter-out %.bpf kit image scale_churn core_age,$(patsubst bench/%.c,%,$(wildcard bench/*.c)))
HAVE_GOLDEN = $(wildcard tests/golden/golden.c)
DPDK_BIN = $(addprefix $(B)/dpdk/,$(call pick,test_port) golden)
UNIT_BIN = $(patsubst %,$(B)/unit/%,$(call pick,$(UNIT)))
BPFTEST_BIN = $(patsubst %,$(B)/bpf/%,$(call pick,$(BPFTEST)))
REPLAY_BIN = $(patsubst %,$(B)/fuzz/replay_%,$(call pick,$(FUZZERS)))
FUZZ_BIN = $(patsubst %,$(B)/fuzz/%,$(call pick,$(FUZZERS)))
GOLDEN_BIN = $(if $(HAVE_GOLDEN),$(B)/golden)
BENCH_BIN = $(BENCHES:%=$(B)/bench/%)
# What has threads, under ThreadSanitizer; the first two are part of 'check' and link the tables only
TSAN_CHECK = test_tsan test_tables_race
TSAN_TESTS ?= $(TSAN_CHECK) test_hidx test_pool test_ct_random test_nat_random test_policy test_lpm test_ring test_worker \
	test_worker_race test_record_race test_nat_block
PROGRAMS = $(if $(wildcard fwd/main.c),$(B)/sluiced) $(if $(wildcard cli/client.c),$(B)/sluicectl)

RUN = tests/run.sh $(if $(T),-t '$(T)')
# All cores, unless the caller chose
J = $(if $(findstring jobserver,$(MAKEFLAGS))$(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
SUB = +@$(MAKE) --no-print-directory $(J)

.PHONY: all deps check unit golden net bpf fuzz fuzz-corpus san tsan guard guard-renew lint format conformance check-dpdk \
	bench bench-core bench-scale bench-tables bench-io bench-kernel bench-peers demo install clean help _all _tests _dpdk \
	_san _tsan _fuzz _bench FORCE
.DELETE_ON_ERROR:
.SECONDARY:
all: $(DEPS)
	$(SUB) _all

help:
	@echo 'all          sluiced and sluicectl in $(B)/'
	@echo 'deps         install missing Debian packages'
	@echo 'check        lint, all tests; T=NAME: the test of that name (unit test, golden file, scenario ...)'
	@echo 'unit golden bpf net fuzz-corpus san guard lint   one part of check'
	@echo 'tsan         all tests with threads under ThreadSanitizer; check has two of them'
	@echo 'guard-renew  what a replayed packet may cost (tests/guard.baseline) becomes what it costs now'
	@echo 'check-dpdk   the DPDK port in a build of its own (needs libdpdk-dev): net_ring, golden packets, real peers'
	@echo 'fuzz         each fuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'format       clang-format in place'
	@echo 'conformance  docs/conformance.md out of docs/conformance.rows'
	@echo 'bench-core bench-scale bench-tables bench-io bench-kernel   measurements'
	@echo 'bench-peers  sluice beside OVS, testpmd and the kernel; installs them; ARGS=full memory devices tcp vxlan'
	@echo 'demo         a gateway between namespaces, with real traffic'
	@echo 'install      PREFIX=$(PREFIX) DESTDIR=   clean'
	@echo 'variants     SAN=1 TSAN=1 FUZZ=1 DPDK=1 CC=clang B=DIR'

# ---- packages ----
deps: $(DEPS)
$(DEPS): Makefile tests/deps.sh
	@mkdir -p build
	@tests/deps.sh '$(PACKAGES) $(if $(DPDK),libdpdk-dev)'
	@touch $@

# ---- compile (V=1 prints the commands) ----
Q = $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-5s %s\n' $(1) $(2))
_all: $(PROGRAMS) $(BPF)
_tests: _all $(UNIT_BIN) $(GOLDEN_BIN) $(BPFTEST_BIN) $(B)/bench/guard
_dpdk: _all $(DPDK_BIN)
_san: $(UNIT_BIN) $(GOLDEN_BIN) $(REPLAY_BIN)
_tsan: $(TSAN_TESTS:%=$(B)/unit/%)
_fuzz: $(FUZZ_BIN)
_bench: $(BENCH_BIN)

# Another compiler or other flags: everything is stale
$(B)/.flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(CC) $(subst ','"'"',$(CPPFLAGS) $(ALL_CFLAGS)) | $(CLANG) $(BPF_CFLAGS) | $(LIBS)' >$@.$$PPID
	@if cmp -s $@.$$PPID $@; then rm -f $@.$$PPID; else mv -f $@.$$PPID $@; fi

$(B)/obj/%.o: %.c $(B)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
# 'private': these flags are not those of what a target depends on
$(B)/obj/fwd/port/dpdk.o $(B)/obj/fwd/port/dpdk_%.o $(B)/obj/tests/dpdk/%.o: private CPPFLAGS += $(RTE_CPPFLAGS)
# An assembler file carries the BPF objects (.incbin "xdp/NAME.o")
$(B)/obj/%.o: %.S $(BPF) $(B)/.flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CPPFLAGS) -I$(B) -Wa,-I,$(B) -Wa,--noexecstack -c -o $@ $<
$(B)/xdp/%.o: xdp/%.bpf.c $(B)/.flags
	@mkdir -p $(@D)
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

# 'q' and not 'r': fwd/x.c and fwd/step/x.c are two members of one name
define layer
$(B)/lib$(1).a: $(call obj,$(SRC_$(1)))
	@rm -f $$@
	$(Q)ar qcsD $$@ $$^
endef
$(foreach l,$(LAYERS) support,$(eval $(call layer,$(l))))

link = $(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--as-needed -Wl,--start-group $(filter %.a,$^) -Wl,--end-group
$(B)/sluiced: $(B)/obj/fwd/main.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)
$(B)/sluicectl: $(call obj,$(wildcard cli/client.c cli/edit.c)) $(B)/libbase.a
	$(call say,LINK,$@)
	$(Q)$(link) -ljansson -lurcu-qsbr -ledit
$(B)/unit/%: $(B)/obj/tests/unit/%.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS)
$(TSAN_CHECK:%=$(B)/unit/%): $(B)/unit/%: $(B)/obj/tests/unit/%.o $(B)/libtables.a $(B)/libbase.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS)
$(B)/bpf/%: $(B)/obj/tests/bpf/%.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS)
$(B)/golden: $(call obj,$(wildcard tests/golden/*.c)) $(B)/libsupport.a $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS)
$(B)/dpdk/test_%: $(B)/obj/tests/dpdk/test_%.o $(B)/obj/tests/dpdk/wire.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS) -lrte_net_ring
$(B)/dpdk/golden: $(call obj,$(wildcard tests/golden/*.c) tests/dpdk/golden_wire.c tests/dpdk/wire.c) $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS) -lrte_net_ring
$(B)/bench/%: $(B)/obj/bench/%.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS) $(LIBS_$*)
# bench/tables compares with rte_hash where DPDK is installed; 'private': the flags are not those of what it links
LIBS_tables = -lurcu-cds $(if $(HAVE_RTE),$(shell pkg-config --libs libdpdk))
HAVE_RTE = $(shell pkg-config --exists libdpdk 2>/dev/null && echo 1)
$(B)/obj/bench/tables.o: private CPPFLAGS += $(if $(HAVE_RTE),-DBENCH_RTE=1 $(patsubst -I%,-isystem %,\
	$(filter-out -march=%,$(shell pkg-config --cflags libdpdk))),-DBENCH_RTE=0)
$(B)/fuzz/replay_%: $(B)/obj/tests/fuzz/%.o $(B)/obj/tests/fuzz/replay_main.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -lcmocka $(LIBS)
$(B)/fuzz/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libsupport.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) -fsanitize=fuzzer -lcmocka $(LIBS)

# ---- test ----
# All tests: sanitizer builds are made beside the scenarios, which mostly wait
check: $(DEPS)
	$(SUB) _tests
	$(if $(T),$(SUB) SAN=1 B=build-san _san)
	$(if $(T),$(SUB) TSAN=1 B=build-tsan TSAN_TESTS='$(TSAN_CHECK)' _tsan)
	@B=$(B) TSAN_TESTS='$(TSAN_CHECK)' $(RUN) $(if $(T),,build) lint unit golden guard bpf net fuzz san tsan
unit golden guard bpf net: $(DEPS)
	$(SUB) _tests
	@B=$(B) $(RUN) $@
check-dpdk:
	$(SUB) DPDK=1 deps
	$(SUB) DPDK=1 _dpdk
	@B=build-dpdk $(RUN) dpdk
san: $(DEPS)
	$(SUB) SAN=1 B=build-san _san
	@B=$(B) $(RUN) san
tsan: $(DEPS)
	$(SUB) TSAN=1 B=build-tsan _tsan
	@B=$(B) TSAN_TESTS='$(TSAN_TESTS)' $(RUN) tsan
fuzz-corpus: $(DEPS)
	$(SUB) SAN=1 B=build-san _san
	@B=$(B) $(RUN) fuzz
guard-renew: bench
	@B=$(B) tests/guard.sh -r
lint: $(DEPS)
	@B=$(B) $(RUN) lint
fuzz: $(DEPS)
	$(SUB) FUZZ=1 B=build-fuzz _fuzz
	@set -e; for f in $(call pick,$(FUZZERS)); do echo "== $$f"; mkdir -p build-fuzz/corpus/$$f build-fuzz/crash; \
		build-fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build-fuzz/crash/$$f- build-fuzz/corpus/$$f $$(ls -d tests/fuzz/corpus/$$f 2>/dev/null); done
format: $(DEPS)
	@bash -c '. tests/lint/_lib.sh; sources "*.c" "*.h"' | xargs -r clang-format-14 -i
conformance:
	@tests/conformance.sh >docs/conformance.md.new && mv docs/conformance.md.new docs/conformance.md

# ---- measure, show ----
# Runs it, keeps its results in $(B)/bench/NAME.json, draws them: NAME METHOD -- COMMAND
KEEP_RESULT = bench/result.py run
bench: $(DEPS)
	$(SUB) _bench
bench-core: bench
	@B=$(B) $(KEEP_RESULT) core 'one core, bursts of 64, median of 9 rounds' -- $(B)/bench/core $(ARGS)
bench-scale: bench
	@B=$(B) $(KEEP_RESULT) scale 'interleaved rounds' -- $(B)/bench/scale $(ARGS)
bench-tables: bench
	@B=$(B) $(KEEP_RESULT) tables 'interleaved rounds' -- $(B)/bench/tables $(ARGS)
bench-io: all bench
	@B=$(B) $(KEEP_RESULT) io 'AF_XDP over veth, medians, in turns' -- bench/io.sh $(ARGS)
bench-kernel: all bench
	@tests/deps.sh '$(BENCH_PACKAGES)'
	@rc=0; B=$(B) $(KEEP_RESULT) kernel 'iperf3 over veth, medians, in turns; uplinks: search for 0.1 % loss' -- bench/kernel.sh $(ARGS) || rc=$$?; \
		bench/verdict.py $(B)/bench/kernel.json; exit $$rc
bench-peers: all bench
	@tests/deps.sh '$(BENCH_PACKAGES)'
	@rc=0; B=$(B) $(KEEP_RESULT) peers 'same run, same traffic; memory: cycles; devices: search for 0.1 % loss' -- bench/peers.sh $(ARGS) || rc=$$?; \
		bench/verdict.py $(B)/bench/peers.json; exit $$rc
demo: all
	@B=$(B) tests/net/_demo.sh

# ---- install ----
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(SYSCONFDIR)/sluice $(DESTDIR)$(UNITDIR)
	install -m 755 $(B)/sluiced $(B)/sluicectl $(DESTDIR)$(PREFIX)/sbin/
	sed 's|@SBINDIR@|$(PREFIX)/sbin|' dist/sluice.service >$(DESTDIR)$(UNITDIR)/sluice.service
	test -e $(DESTDIR)$(SYSCONFDIR)/sluice/sluice.conf || \
		install -m 640 dist/sluice.conf $(DESTDIR)$(SYSCONFDIR)/sluice/sluice.conf
clean:
	rm -rf build build-san build-tsan build-fuzz build-dpdk

-include $(shell find $(B)/obj $(B)/xdp -name '*.d' 2>/dev/null)

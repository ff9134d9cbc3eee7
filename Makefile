# autoscale: `make help` lists the targets. Not recursive, except that a target first lets .ci/deps look for missing
# packages and then asks make again, which only then knows where the libraries are. SAN=1 builds with the address and
# undefined-behaviour sanitizers, V=1 shows the commands, BUILD=DIR builds somewhere else.
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

VERSION := 0.1.0
ifeq ($(origin CC),default)
CC      := gcc
endif
BUILD   ?= build$(if $(SAN),-san)
B       := $(BUILD)
PREFIX  ?= /usr/local
export PATH := $(PATH):/usr/sbin:/sbin# where Debian keeps the servers that the tests start

comma    := ,
PKGS     := libcurl libcjson libconfig libuv sqlite3 libpq libmicrohttpd libsystemd libmariadb hiredis
HEADERS  := libvirt libarchive# loaded at run time, only when a hypervisor is asked for
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
OPT      ?= -O2 -g
CFLAGS   ?= $(OPT)
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
Q        := $(if $(V),,@)
say       = $(if $(V),,@echo "  $(1)")
HAVE     := $(shell pkg-config --exists $(PKGS) $(HEADERS) 2>/dev/null && echo yes)
ifeq ($(HAVE),yes)
# other people's headers are not measured by our warnings
PKG_CFLAGS := $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(PKGS) $(HEADERS)))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif
CPPFLAGS  += -D_GNU_SOURCE -DAUTOSCALE_VERSION='"$(VERSION)"' -Iinclude
ALL_CFLAGS = -std=c17 $(WARN) $(CFLAGS) $(SANFLAGS) $(CPPFLAGS) $(PKG_CFLAGS) -MMD -MP
# what is loaded at run time calls what the sanitizer only finds at the start
SANLIBS   := $(if $(SAN),-Wl$(comma)--no-as-needed -lvirt -Wl$(comma)--as-needed)
LDLIBS    := $(PKG_LIBS) $(SANLIBS) -lm -lpthread
LINK       = $(CC) $(CFLAGS) $(SANFLAGS) $(LDFLAGS)

# Packages first, then the targets $(2), on all processors unless -j was given.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
with = +@.ci/deps $(1) && $(MAKE) --no-print-directory $(JOBS) $(2)
# After `sudo make` the files belong to the user again.
give_back = if [ "$${SUDO_UID:-0}" != 0 ]; then chown -Rh "$$SUDO_UID:$$SUDO_GID" $(B) $(wildcard $(B)-san); fi

# --- what there is -------------------------------------------------------------------------------
CORE_SRC  := $(wildcard controller/*/*.c drivers/*.c drivers/*/*.c policies/*.c)
CORE_OBJ  := $(CORE_SRC:%.c=$(B)/%.o)
MAIN_OBJ  := $(B)/controller/main.o
HOOK_OBJ  := $(B)/hooks/controller/loop/commit.o $(B)/hooks/controller/loop/tick.o
LIB       := $(B)/libautoscale.a
BIN       := $(B)/autoscale
HOOKS     := $(B)/autoscale-hooks
MAN       := $(B)/autoscale.1 $(B)/autoscale.conf.5
SHOP      := $(addprefix $(B)/examples/shop/,shop order loadgen)
UNIT_BIN  := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c tests/sim/test_*.c))
UNIT_SH   := $(wildcard tests/unit/*.sh)
FUZZ_BIN  := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
E2E_BIN   := $(patsubst %.c,$(B)/%,$(wildcard tests/e2e/test_*.c tests/e2e/lib/*.c))
BENCH_BIN := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/bench_*.c))
SAN_BIN   := $(patsubst $(B)/%,$(B)-san/%,$(UNIT_BIN))
SAN_FUZZ  := $(patsubst $(B)/%,$(B)-san/%,$(FUZZ_BIN))

.PHONY: all programs check check-all unit e2e fuzz demo demo-vm bench examples deps check-deps demo-deps lint lint-all \
        install uninstall clean help

all: ## build/autoscale and its manual pages (what is missing is installed, when it can be)
	$(call with,build,programs)

programs: $(BIN) $(MAN)

examples: ## the shop of examples/shop: the service, its order client, the load generator
	$(call with,build,$(SHOP))

# --- compiling -----------------------------------------------------------------------------------
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC   $<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/hooks/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC   $< (test hooks))
	$(Q)$(CC) $(ALL_CFLAGS) -DAUTOSCALE_TEST_HOOKS -c $< -o $@

# Whole at once: with -j another make may be linking it at this moment.
$(LIB): $(CORE_OBJ)
	$(call say,AR   $@)
	$(Q)ar rcs $@.$$$$ $^ && mv $@.$$$$ $@

$(BIN): $(MAIN_OBJ) $(LIB)
	$(call say,LINK $@)
	$(Q)$(LINK) $(MAIN_OBJ) $(LIB) $(LDLIBS) -o $@

# The program as the crash tests run it: it dies where AUTOSCALE_CRASH says. Never installed.
$(HOOKS): $(MAIN_OBJ) $(HOOK_OBJ) $(LIB)
	$(call say,LINK $@)
	$(Q)$(LINK) $(MAIN_OBJ) $(HOOK_OBJ) $(LIB) $(LDLIBS) -o $@

$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(LIB)
	$(call say,LINK $@)
	$(Q)$(LINK) $^ $(LDLIBS) -o $@

# These speak to libvirt themselves as well, as somebody else, or read what was made.
$(B)/tests/unit/test_libvirt_seed: LDLIBS += -larchive
$(B)/tests/unit/test_libvirt_driver $(B)/tests/e2e/test_libvirt_driver $(B)/tests/bench/bench_virt: LDLIBS += -lvirt

$(filter $(B)/tests/sim/%,$(UNIT_BIN)): $(B)/tests/sim/simworld.o

$(B)/tests/%: $(B)/tests/%.o $(LIB)
	$(call say,LINK $@)
	$(Q)$(LINK) $(filter %.o,$^) $(LIB) $(LDLIBS) -lcmocka -o $@

# The examples stand alone: no library of ours, and no more of others than each needs, as the shop's go into an image.
$(B)/examples/shop/shop:    OWN_LIBS = $(shell pkg-config --libs libmicrohttpd libcjson libpq) -lm -lpthread
$(B)/examples/shop/order:   OWN_LIBS = $(shell pkg-config --libs libcurl libcjson)
$(B)/examples/shop/loadgen: OWN_LIBS = $(shell pkg-config --libs libcurl) -lm
$(B)/examples/shop/shop:    $(addprefix $(B)/examples/shop/,shop.o orderform.o pool.o)
$(B)/examples/shop/order:   $(addprefix $(B)/examples/shop/,order.o)
$(B)/examples/shop/loadgen: $(addprefix $(B)/examples/shop/,loadgen.o curve.o histogram.o)
$(SHOP):
	$(call say,LINK $@)
	$(Q)$(LINK) $^ $(OWN_LIBS) -o $@

# The option parts of the manual come from the tables that parse the options.
$(B)/autoscale.1: controller/autoscale.1
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(B)/autoscale.conf.5: controller/autoscale.conf.5.in $(BIN)
	$(call say,MAN  $@)
	@mkdir -p $(B)/man
	$(Q)$(BIN) drivers --man-blocks >$(B)/man/blocks
	$(Q)$(BIN) drivers --man >$(B)/man/drivers
	$(Q)$(BIN) policies --man >$(B)/man/policies
	$(Q)sed -e '/^@BLOCKS@$$/{r $(B)/man/blocks' -e 'd}' -e '/^@DRIVERS@$$/{r $(B)/man/drivers' -e 'd}' \
	    -e '/^@POLICIES@$$/{r $(B)/man/policies' -e 'd}' $< >$@

# --- proof ---------------------------------------------------------------------------------------
check: ## every test there is, set-up included; needs root (sudo make check); about fifteen minutes
	@if [ "$$(id -u)" != 0 ]; then \
	    echo "make check needs root: its end-to-end tests start Docker, HAProxy and databases of their own." >&2; \
	    echo "Run: sudo make check        (without root: make unit fuzz)" >&2; exit 1; fi
	$(call with,build demo docker vm test,programs $(SHOP) $(HOOKS) $(UNIT_BIN) $(E2E_BIN) $(BENCH_BIN))
	@$(MAKE) --no-print-directory $(JOBS) SAN=1 BUILD=$(B)-san $(SAN_BIN) $(SAN_FUZZ)
	@BUILD=$(B) tests/run --title "rules, documents, examples" $(UNIT_SH) \
	    --title "units and the simulated loop" $(UNIT_BIN) \
	    --title "the same with address and undefined-behaviour sanitizers" $(SAN_BIN) \
	    --title "fuzz corpora, with sanitizers" $(SAN_FUZZ) \
	    --title "end to end, on real servers, three at a time" --jobs 3 $$(BUILD=$(B) tests/e2e/run --list); \
	    status=$$?; $(give_back); exit $$status

unit: ## rules, documents, unit tests, the loop under a virtual clock; needs no root (SAN=1: with sanitizers)
	$(call with,build,programs $(UNIT_BIN))
	@BUILD=$(B) tests/run $(UNIT_SH) $(UNIT_BIN)

fuzz: ## every parser over its corpus and mutations of it (SAN=1: with sanitizers)
	$(call with,build,$(FUZZ_BIN))
	@BUILD=$(B) tests/run $(FUZZ_BIN)

e2e: ## the end-to-end tests alone; needs root (one of them: sudo tests/e2e/run tests/e2e/FILE)
	$(call with,build demo docker vm test,programs $(SHOP) $(HOOKS) $(E2E_BIN))
	@BUILD=$(B) tests/e2e/run; status=$$?; $(give_back); exit $$status

demo: ## a flash sale on a real shop, about a minute; needs root: sudo make demo
	$(call with,build demo docker,programs $(SHOP))
	@BUILD=$(B) examples/shop/run.sh; status=$$?; $(give_back); exit $$status

demo-vm: ## the same on virtual machines of two hypervisors, two to three minutes; needs root: sudo make demo-vm
	$(call with,build demo vm,programs $(SHOP))
	@BUILD=$(B) examples/shop-vm/run.sh; status=$$?; $(give_back); exit $$status

bench: ## measures what README.md promises, as ratios of one run; needs root
	$(call with,build demo docker vm,programs $(SHOP) $(BENCH_BIN))
	@BUILD=$(B) tests/bench/run; status=$$?; $(give_back); exit $$status

.PHONY: bench-elasticity
bench-elasticity: all ## compares the default policy with every baseline on recorded loads: minutes, or with SEEDS=20 an hour ($TRACES, default ../shared/traces)
	$(Q)BUILD=$(B) tests/bench/elasticity

lint: ## everything once more with clang, and the layout of the .c files
	$(call with,build,CC=clang BUILD=$(B)-clang lint-all)

lint-all: programs $(HOOKS) $(SHOP) $(UNIT_BIN) $(FUZZ_BIN) $(E2E_BIN) $(BENCH_BIN)
	@if command -v clang-format >/dev/null; then \
	    find controller drivers policies tests examples -type f -name '*.c' -exec clang-format --dry-run -Werror {} +; \
	else echo "clang-format is not installed: the layout was not checked"; fi

# --- packages ------------------------------------------------------------------------------------
deps: ## install what building and the unit tests need
	@.ci/deps build

demo-deps: ## install what the demo needs beside it
	@.ci/deps build demo docker

check-deps: ## say what is missing for `make check`, and install nothing
	@.ci/deps --list build demo docker vm test

# --- installing ----------------------------------------------------------------------------------
INSTALLED_DOC := $(DESTDIR)$(PREFIX)/share/doc/autoscale

install: all ## into $(DESTDIR)$(PREFIX): the program, its manual pages, the examples as documentation
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/autoscale
	install -m 0644 $(B)/autoscale.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 $(B)/autoscale.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -d $(INSTALLED_DOC)
	install -m 0644 README.md $(INSTALLED_DOC)/README.md
	install -m 0644 policies/README.md $(INSTALLED_DOC)/policies.md
	cp -R --no-preserve=ownership examples $(INSTALLED_DOC)/
	sed -i 's|/usr/local/bin/|$(PREFIX)/bin/|' $(INSTALLED_DOC)/examples/autoscale.service

uninstall: ## remove what install has put there; configuration and journal stay
	rm -f $(DESTDIR)$(PREFIX)/bin/autoscale $(DESTDIR)$(PREFIX)/share/man/man1/autoscale.1 \
	    $(DESTDIR)$(PREFIX)/share/man/man5/autoscale.conf.5
	rm -rf $(INSTALLED_DOC)

clean: ## remove what was built
	rm -rf build build-san build-clang

help: ## this list
	@echo "make TARGET [V=1] [SAN=1] [BUILD=DIR] [CC=clang]"
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

-include $(shell find $(B) -type f -name '*.d' 2>/dev/null)

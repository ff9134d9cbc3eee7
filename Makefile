# autoscale: `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

VERSION  := 0.1.0
CC       ?= gcc
ifeq ($(origin CC),default)
CC       := gcc
endif
BUILD    ?= build$(if $(SAN),-san)
B        := $(BUILD)
PREFIX   ?= /usr/local
SUDO     := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

PKGS     := libcurl libcjson libconfig libuv sqlite3 libpq libmicrohttpd libsystemd
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
OPT      ?= -O2 -g
CFLAGS   ?= $(OPT)
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
comma    := ,
Q        := $(if $(V),,@)
say       = $(if $(V),,@echo "  $(1)")
HAVE     := $(shell pkg-config --exists $(PKGS) 2>/dev/null && echo yes)
ifeq ($(HAVE),yes)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif
CPPFLAGS += -D_GNU_SOURCE -DAUTOSCALE_VERSION='"$(VERSION)"' -Iinclude
ALL_CFLAGS = -std=c17 $(WARN) $(CFLAGS) $(SANFLAGS) $(CPPFLAGS) $(PKG_CFLAGS) -MMD -MP
LDLIBS   := $(PKG_LIBS) -lm -lpthread

# --- what there is -------------------------------------------------------------------------------
CORE_SRC   := $(wildcard controller/*/*.c drivers/*.c drivers/*/*.c policies/*.c)
CORE_OBJ   := $(CORE_SRC:%.c=$(B)/%.o)
MAIN_OBJ   := $(B)/controller/main.o
LIB        := $(B)/libautoscale.a
BIN        := $(B)/autoscale
UNIT_SRC   := $(wildcard tests/unit/test_*.c tests/sim/test_*.c)
UNIT_BIN   := $(UNIT_SRC:%.c=$(B)/%)
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN   := $(FUZZ_SRC:%.c=$(B)/%)
BENCH_SRC  := $(wildcard tests/bench/bench_*.c)
BENCH_BIN  := $(BENCH_SRC:%.c=$(B)/%)

.PHONY: all
all: ## build build/autoscale (installs missing packages first, when it can)
	@if [ "$(HAVE)" = yes ]; then :; else $(MAKE) --no-print-directory deps; fi
	@$(MAKE) --no-print-directory $(BIN)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC   $<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(LIB): $(CORE_OBJ)
	$(call say,AR   $@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BIN): $(MAIN_OBJ) $(LIB)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(MAIN_OBJ) $(LIB) $(LDLIBS) -o $@

$(B)/tests/%: $(B)/tests/%.o $(LIB)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $< $(LIB) $(LDLIBS) -lcmocka -o $@

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# libsss_sigchld: build, test, install. What is made lies below $(O).
#
#   make                 the shared and the static library, and the programs
#   make check           all tests; check-valgrind, check-asan, check-tsan,
#                        check-old-kernels and check-sssd run more
#   make install         DESTDIR, PREFIX, BINDIR, LIBDIR, LIBEXECDIR, INCLUDEDIR, MANDIR
#   make stage           the same into $(O)/stage
#   make header          include/sss_sigchld.h anew from src/ffi
#   make exports         the list of exports anew from the library
#   make abi             the ABI that check-abi compares with, anew from the header
#   make fuzz            FUZZ_RUNS inputs to each target of fuzz/, or FUZZ_SECONDS long
#   make dist            a tarball with all crates, for building without network
#
# The version nodes need a linker that takes more than one version script: lld,
# rustc's own on x86_64. Elsewhere: make CDYLIB_FLAGS=-Clink-arg=-fuse-ld=lld

.NOTPARALLEL:
.DELETE_ON_ERROR:

VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
SOVERSION := $(shell sed -n 's/^const SOVERSION: &str = "\(.*\)";/\1/p' build.rs)

O          ?= build
override O := $(abspath $(O))
STAGE      := $(O)/stage

DESTDIR    ?=
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man

CARGO      ?= cargo
RUSTC      ?= rustc
CARGO_HOME ?= $(HOME)/.cargo
HOST        = $(shell $(RUSTC) -vV | sed -n 's/^host: //p')
INSTALL    ?= install
PKG_CONFIG ?= pkg-config
CARGO_TARGET_DIR ?= $(O)/cargo
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR

SONAME   := libsss_sigchld.so.$(SOVERSION)
REALNAME := $(SONAME).$(shell echo $(VERSION) | cut -d. -f2-)
LIBRARY  := $(O)/lib/$(REALNAME)
ARCHIVE  := $(O)/lib/libsss_sigchld.a

# What is installed beside the library: programs of examples-c, whose names then begin
# with sss-, and the programs that the library executes itself.
PROGRAMS := $(addprefix $(O)/bin/sss-,init supervise)
HELPERS  := $(patsubst src/bin/%.rs,$(O)/libexec/%,$(wildcard src/bin/sss-*.rs))
HEADERS  := $(patsubst include/%,%,$(wildcard include/*.h include/*.hpp include/sss_sigchld/*.h))
MANUALS  := $(wildcard man/*.[1357])

# Where the library finds its helpers: src reads it by option_env!().
HELPERDIR := $(LIBEXECDIR)/sss_sigchld

# Built anywhere, the bytes are the same. RUSTFLAGS in the environment hides the
# flags of cargo's configuration, so they are set there only if they are already.
REMAP := --remap-path-prefix=$(CARGO_HOME)=cargo \
	 --remap-path-prefix=$(CURDIR)=sss_sigchld-$(VERSION)
ifdef RUSTFLAGS
SHIP := RUSTFLAGS="$(RUSTFLAGS) $(REMAP)" $(CARGO) rustc
else
comma := ,
empty :=
SHIP := $(CARGO) --config 'build.rustflags=[$(subst $(empty) $(empty),$(comma),$(patsubst %,"%",$(REMAP)))]' rustc
endif
SHIP += --release --locked
SHIPPED := $(CARGO_TARGET_DIR)$(addprefix /,$(CARGO_BUILD_TARGET))/release

.PHONY: all
all: $(LIBRARY) $(ARCHIVE) $(PROGRAMS) $(HELPERS)

AS_CDYLIB = --crate-type cdylib -- --cfg sss_symver $(CDYLIB_FLAGS) \
	-Clink-arg=-Wl,--version-script=$(CURDIR)/pkgconfig/sss_sigchld.map

# cargo knows what is stale.
$(LIBRARY): FORCE
	SSS_SIGCHLD_HELPERS=$(HELPERDIR) $(SHIP) --lib $(AS_CDYLIB)
	@mkdir -p $(@D)
	cp -p $(SHIPPED)/libsss_sigchld.so $@
	ln -sf $(REALNAME) $(@D)/$(SONAME)
	ln -sf $(SONAME) $(@D)/libsss_sigchld.so

$(ARCHIVE): FORCE
	SSS_SIGCHLD_HELPERS=$(HELPERDIR) $(SHIP) --lib --crate-type staticlib
	@mkdir -p $(@D)
	cp -p $(SHIPPED)/libsss_sigchld.a $@

$(O)/bin/sss-%: examples-c/%.c $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) -std=gnu99 -O2 -Wall -Wextra $(CPPFLAGS) $(CFLAGS) -Iinclude $< -o $@ \
		$(LDFLAGS) -L$(O)/lib -lsss_sigchld

# In a folder of its own: otherwise cargo builds the library again each time.
$(O)/libexec/%: FORCE
	CARGO_TARGET_DIR=$(O)/libexec/cargo $(SHIP) --bin $*
	cp -p $(O)/libexec/cargo$(addprefix /,$(CARGO_BUILD_TARGET))/release/$* $@

.PHONY: header
header:
	$(CARGO) check --locked --lib --features regen-header

.PHONY: exports
exports: all
	c-tests/build/exports $(LIBRARY) > c-tests/build/exports.list

.PHONY: abi
abi:
	$(TESTENV) c-tests/build/check-abi --write

## Install

# What is there already is not built again: root may have no cargo.
BUILT := $(LIBRARY) $(ARCHIVE) $(PROGRAMS) $(HELPERS)
PCDIR := $(DESTDIR)$(LIBDIR)/pkgconfig

# Each path that is installed, but for the libraries and their links.
man_of = $(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $(1)))/$(notdir $(1))
INSTALLED = $(PCDIR)/sss_sigchld.pc \
	$(addprefix $(DESTDIR)$(INCLUDEDIR)/,$(HEADERS)) \
	$(addprefix $(DESTDIR)$(BINDIR)/,$(notdir $(PROGRAMS))) \
	$(addprefix $(DESTDIR)$(HELPERDIR)/,$(notdir $(HELPERS))) \
	$(foreach page,$(MANUALS),$(call man_of,$(page)))
LIBRARIES = $(addprefix $(DESTDIR)$(LIBDIR)/,$(REALNAME) $(SONAME) libsss_sigchld.so libsss_sigchld.a)

.PHONY: install
install: $(if $(filter-out $(wildcard $(BUILT)),$(BUILT)),all)
	$(if $(filter $(STAGE)/%,$(HELPERDIR)),,@grep -qF '$(HELPERDIR)' $(LIBRARY) || \
		echo "warning: the library was not built for $(HELPERDIR):" \
			"give make the same PREFIX and LIBEXECDIR" >&2)
	$(INSTALL) -d $(sort $(dir $(INSTALLED) $(LIBRARIES)))
	$(INSTALL) -p -m 755 $(LIBRARY) $(DESTDIR)$(LIBDIR)/$(REALNAME)
	ln -sf $(REALNAME) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsss_sigchld.so
	$(INSTALL) -p -m 644 $(ARCHIVE) $(DESTDIR)$(LIBDIR)/libsss_sigchld.a
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		pkgconfig/sss_sigchld.pc.in > $(PCDIR)/sss_sigchld.pc
	chmod 644 $(PCDIR)/sss_sigchld.pc
	set -e; for h in $(HEADERS); do $(INSTALL) -p -m 644 include/$$h $(DESTDIR)$(INCLUDEDIR)/$$h; done
	set -e; for m in $(MANUALS); do $(INSTALL) -p -m 644 $$m $(DESTDIR)$(MANDIR)/man$${m##*.}; done
	set -e; for p in $(PROGRAMS); do $(INSTALL) -p -m 755 $$p $(DESTDIR)$(BINDIR); done
	set -e; for p in $(HELPERS); do $(INSTALL) -p -m 755 $$p $(DESTDIR)$(HELPERDIR); done

# Folders that are named after the library go too, if they are empty by then.
.PHONY: uninstall
uninstall:
	rm -f $(LIBRARIES) $(INSTALLED)
	for d in $(DESTDIR)$(INCLUDEDIR)/sss_sigchld $(DESTDIR)$(HELPERDIR); do \
		[ ! -d $$d ] || rmdir $$d; done

.PHONY: stage
stage: all
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install DESTDIR= PREFIX=$(STAGE) BINDIR=$(STAGE)/bin \
		LIBDIR=$(STAGE)/lib LIBEXECDIR=$(STAGE)/libexec \
		INCLUDEDIR=$(STAGE)/include MANDIR=$(STAGE)/share/man

## Test

# What the recipes below hand to c-tests/build/* and c-tests/Makefile.
TESTENV = O=$(O) STAGE=$(STAGE) VERSION=$(VERSION) SONAME=$(SONAME) \
	MAKE="$(MAKE)" RUSTC="$(RUSTC)" HOST=$(HOST) PKG_CONFIG="$(PKG_CONFIG)" \
	PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig:$(PKG_CONFIG_PATH)
CTESTS  = $(TESTENV) $(MAKE) --no-print-directory -C c-tests

.PHONY: check
check: check-rust check-package check-c

.PHONY: check-rust
check-rust:
	$(CARGO) test --locked

PACKAGE_CHECKS := check-header-stale check-header check-exports check-elf \
	check-child-calls check-pkgconfig check-install check-man check-readme check-porting check-figures \
	check-abi

.PHONY: check-package $(PACKAGE_CHECKS)
check-package: $(PACKAGE_CHECKS)

check-header-stale:
	mkdir -p $(O)
	SSS_SIGCHLD_HEADER=$(O)/regenerated.h $(MAKE) --no-print-directory header
	diff -u include/sss_sigchld.h $(O)/regenerated.h

check-header check-pkgconfig check-readme check-porting: stage
	$(TESTENV) c-tests/build/$@

# Tables and pictures are what report.py makes of the committed results.
check-figures:
	rm -rf $(O)/figures && mkdir -p $(O)/figures
	cp -r README.md benches src $(O)/figures
	python3 $(O)/figures/benches/report.py > $(O)/figures/log
	diff -u README.md $(O)/figures/README.md
	diff -ru benches $(O)/figures/benches

check-exports: all
	c-tests/build/exports $(LIBRARY) | diff -u c-tests/build/exports.list -
	c-tests/build/declared include/sss_sigchld.h c-tests/build/exports.list

check-elf: all
	$(TESTENV) c-tests/build/$@ $(LIBRARY)

check-child-calls: all
	$(TESTENV) c-tests/build/$@ $(LIBRARY)

check-install: all
check-install check-man check-abi:
	$(TESTENV) c-tests/build/$@

# One program or a few: make check-c TESTS="reregister burst"
.PHONY: check-c check-leaks check-valgrind check-old-kernels
check-c: stage
	$(CTESTS) check

check-leaks: stage
	$(TESTENV) c-tests/build/$@

check-valgrind: stage check-leaks
	$(CTESTS) check PROFILE=valgrind

# Whether the oldest supported Rust builds the library. If rustup does not have it: whether
# the source has let chains, the syntax that it does not know. An older edition refuses
# them; what else that edition refuses does not matter. clippy checks the standard library.
MSRV     := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
OLD_RUST := $(O)/old-rust
.PHONY: check-old-rust
check-old-rust:
	rm -rf $(OLD_RUST)/src && mkdir -p $(OLD_RUST)
	cp -r Cargo.toml Cargo.lock build.rs cbindgen.toml src pkgconfig $(OLD_RUST)
	if rustup run $(MSRV) cargo --version; then \
		CARGO_TARGET_DIR=$(OLD_RUST)/cargo rustup run $(MSRV) cargo check --locked --lib --bins; \
	else \
		sed -i 's/^edition = .*/edition = "2021"/' $(OLD_RUST)/Cargo.toml; \
		cd $(OLD_RUST) && CARGO_TARGET_DIR=$(OLD_RUST)/cargo $(CARGO) check --locked --lib \
			> $(OLD_RUST)/log 2>&1 || ! grep -A1 'let chains' $(OLD_RUST)/log; \
	fi

# The other architectures: rustup target add NAME-unknown-linux-gnu
ARCHITECTURES ?= aarch64 powerpc64le riscv64gc s390x
.PHONY: check-architectures
check-architectures:
	set -e; for name in $(ARCHITECTURES); do \
		$(CARGO) check --locked --lib --bins --target $$name-unknown-linux-gnu; done

# As root: what an ordinary user's make check-rust check-c say.
RUST_TESTS = $(shell $(CARGO) test --locked --lib --no-run --message-format=json 2>/dev/null | \
	sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
.PHONY: check-user
check-user: stage
	$(TESTENV) c-tests/build/$@ "$(RUST_TESTS)"

check-old-kernels: stage
	$(CTESTS) check PROFILE=linux-5.10
	$(CTESTS) check PROFILE=linux-4.19

# The sanitizers are unstable options of a stable compiler, for tests only.
ASAN_RUSTFLAGS := -Zsanitizer=address
# The standard library too: what is not instrumented orders nothing for tsan.
TSAN_RUSTFLAGS := -Zsanitizer=thread
TSAN_CARGOFLAGS := -Zbuild-std

.PHONY: check-asan check-tsan
check-asan: stage $(O)/asan/libsss_sigchld.a
	$(CTESTS) check PROFILE=asan

check-tsan: stage $(O)/tsan/libsss_sigchld.a
	$(CTESTS) check PROFILE=tsan

$(O)/asan/libsss_sigchld.a: SANITIZE := $(ASAN_RUSTFLAGS)
$(O)/tsan/libsss_sigchld.a: SANITIZE := $(TSAN_RUSTFLAGS)
$(O)/tsan/libsss_sigchld.a: CARGOFLAGS := $(TSAN_CARGOFLAGS)
$(O)/%/libsss_sigchld.a: FORCE
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(SANITIZE)" CARGO_TARGET_DIR=$(@D)/cargo \
		$(CARGO) rustc $(CARGOFLAGS) --locked --lib --target $(HOST) --crate-type staticlib
	cp -p $(@D)/cargo/$(HOST)/debug/libsss_sigchld.a $@

.PHONY: check-sssd
check-sssd: stage
	$(TESTENV) c-tests/sssd/run

# Each target of fuzz/fuzz_targets for so many inputs; FUZZ="one another" names some,
# FUZZ_SECONDS=3600 goes on for that long instead. What was found interesting is kept
# and begun with the next time. libFuzzer comes with its crate; it needs unstable
# options of the stable compiler.
FUZZ      ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_RUNS ?= 1000000
FUZZ_FLAGS := --cfg fuzzing -Cdebug-assertions -Zsanitizer=address -Cpasses=sancov-module \
	$(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table \
	trace-compares)
.PHONY: fuzz
fuzz:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(FUZZ_FLAGS)" CARGO_TARGET_DIR=$(O)/fuzz $(CARGO) build \
		--locked --release --manifest-path fuzz/Cargo.toml --target $(HOST)
	set -e; for target in $(FUZZ); do \
		mkdir -p $(O)/fuzz/corpus/$$target; \
		echo "fuzz $$target"; \
		$(O)/fuzz/$(HOST)/release/$$target $(O)/fuzz/corpus/$$target \
			$(if $(FUZZ_SECONDS),-max_total_time=$(FUZZ_SECONDS),-runs=$(FUZZ_RUNS)) \
			-timeout=10 -artifact_prefix=$(O)/fuzz/$$target- -verbosity=0 -print_final_stats=1; \
	done

# The soaks of c-tests, or some of them: SOAK_TESTS=soak is all families in one daemon.
SOAK_SECONDS ?= 600
.PHONY: soak
soak: stage
	$(CTESTS) soak SOAK_SECONDS=$(SOAK_SECONDS) $(addprefix SOAK_TESTS=,$(SOAK_TESTS))

# All families, an hour and a half: benches/README.md. BENCH_ARGS=--short runs everything
# once, judges statuses alone, and writes nothing.
.PHONY: bench
bench: stage
	$(MAKE) --no-print-directory -C benches O=$(O)/bench PKG_CONFIG="$(PKG_CONFIG)" \
		SSS_CFLAGS=-I$(STAGE)/include \
		SSS_LIBS="-L$(STAGE)/lib -Wl,-rpath,$(STAGE)/lib -lsss_sigchld"
	cp $(STAGE)/bin/sss-supervise $(O)/bench/supervise
	export SSS_FORKSRV_HELPER=$(STAGE)/libexec/sss_sigchld/sss-forksrv; \
	for what in $(or $(BENCH_ARGS),"" "--make vfork" --adapters --spawn); do \
		python3 benches/run.py $(O)/bench $$what || exit; \
	done; \
	python3 benches/forksrv/run.py $(O)/bench $(BENCH_ARGS)
	python3 benches/watch/run.py $(O)/bench $(BENCH_ARGS)
	python3 benches/log/run.py $(O)/bench/log $(BENCH_ARGS)
	python3 benches/service/run.py $(O)/bench/service-adoption $(BENCH_ARGS)
	LD_LIBRARY_PATH=$(STAGE)/lib python3 benches/supervise/run.py $(O)/bench/supervise $(BENCH_ARGS)
	$(if $(BENCH_ARGS),,python3 benches/report.py)

.PHONY: check-reproducible
check-reproducible:
	$(TESTENV) DIST_FILES="$(DIST_FILES)" c-tests/build/$@

## Distribute

DIST       := sss_sigchld-$(VERSION)
DIST_FILES := .ci .gitignore CHANGELOG.md Cargo.lock Cargo.toml LICENSE-APACHE LICENSE-MIT \
	Makefile README.md benches build.rs c-tests cbindgen.toml debian docs examples-c fuzz \
	include man pkgconfig src

# When its files were last changed, as far as the tarball says: the changelog's date.
DIST_TIME = $(or $(SOURCE_DATE_EPOCH),$(shell date -d "$$(sed -n '/^ -- /{s/.*>  //p;q}' debian/changelog)" +%s))

.PHONY: dist check-dist check-debian
dist:
	rm -rf $(O)/dist
	mkdir -p $(O)/dist/$(DIST)/.cargo
	tar -c --exclude=target --exclude=__pycache__ $(DIST_FILES) | tar -x -C $(O)/dist/$(DIST)
	cd $(O)/dist/$(DIST) && $(CARGO) vendor --locked > .cargo/config.toml
	tar -C $(O)/dist -c --sort=name --owner=0 --group=0 --numeric-owner \
		--mtime=@$(DIST_TIME) $(DIST) | gzip -n > $(O)/$(DIST).tar.gz
	@echo $(O)/$(DIST).tar.gz

check-dist check-debian: dist
	$(TESTENV) c-tests/build/$@ $(O)/$(DIST).tar.gz

.PHONY: clean
clean:
	rm -rf $(O)

.PHONY: FORCE
FORCE:

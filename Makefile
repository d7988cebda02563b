# unblend: build, test, demonstrate, install. `make help` lists the targets.
#
# giouring reaches into package syscall by go:linkname, which Go links since 1.23 only with
# -checklinkname=0. An -ldflags on the command line replaces the one in GOFLAGS instead of adding
# to it, so every -ldflags here carries it. CGO_ENABLED=0: AllThreadsSyscall refuses to run in a
# program that links C.

LINKNAME := -checklinkname=0
export GOFLAGS := -buildvcs=false -ldflags=$(LINKNAME)
export CGO_ENABLED := 0

GOFUMPT := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
SEEDS ?= 200
SEQUENCES ?= 450
CUTS ?= 20
KILLS ?= 30
FUZZTIME ?= 2m
MINUTES ?= 30
KERNEL ?= 6.12
KERNELS ?= 6.12 backports
HOST ?=
DEV ?=
BENCHFLAGS ?=

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
SBINDIR = $(PREFIX)/sbin
BIN ?= bin/unblend

STAGE := .ci/stage
GENERATED := $(foreach o,blend requests,bpf/$(o)_bpfel.go bpf/$(o)_bpfel.o)
VMRUN := go run ./tools/internal/vm/vmrun

.DEFAULT_GOAL := build
.PHONY: build help test test-objects test-plant test-runner test-kernel lint generate demo sim scope corrupt \
	fuzz bench bench-full bench-parts bench-sim crash kills mixed campaigns install uninstall clean \
	FORCE

## build: bin/unblend, the one program (the default)
build: bin/unblend

bin/unblend: FORCE
	go build -trimpath -ldflags='$(LINKNAME) -X main.version=$(VERSION)' -o $@ ./tools/unblend

## test: everything, here and in virtual machines (under half an hour on two cores)
test:
	@mkdir -p bin && rm -f bin/stages
	@$(STAGE) packages .ci/deps test
	@$(STAGE) lint $(MAKE) -s lint
	@$(STAGE) 'BPF object' $(MAKE) -s test-objects
	@$(STAGE) build $(MAKE) -s build
	@$(STAGE) 'unit tests' go test -short ./...
	@$(STAGE) 'simulation, $(SEEDS) seeds' $(SIM) -from=0
	@$(STAGE) 'planted bugs' $(MAKE) -s test-plant
	@$(STAGE) 'virtual machine runner' $(MAKE) -s test-runner
	@if [ -d tools/internal/vmtest ]; then for k in $(KERNELS); do \
		$(STAGE) "kernel $$k" $(MAKE) -s test-kernel KERNEL=$$k || exit; \
	done; fi
	@echo '== all passed'; cat bin/stages

## test-objects: the committed BPF object is what its source makes
test-objects:
	@before=$$(sha256sum $(GENERATED)) && $(MAKE) -s generate && \
		echo "$$before" | sha256sum --check --quiet || \
		{ echo "the object was stale: commit what make generate made"; exit 1; }

## test-plant: bugs planted in the engine on purpose: each must be caught
test-plant:
	go test -tags plant ./log ./placement -run '^TestPlanted' -count=1 -timeout 1h

## test-runner: the tests of the virtual machine runner itself
test-runner:
	UNBLEND_NO_SKIP=1 go test ./tools/internal/vm/... -count=1 -timeout 20m

## test-kernel: the tests on one real kernel, KERNEL=6.12
test-kernel: build
	@.ci/kernel $(KERNEL)

## lint: gofumpt, vet, staticcheck, and the project's own rules (tools/internal/tidy)
lint:
	@out=$$(go run $(GOFUMPT) -l .) && test -z "$$out" || \
		{ echo "lint: gofumpt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	go vet -tags plant ./log ./placement ./tools/internal/shard
	go run $(STATICCHECK) ./...
	go test -count=1 ./tools/internal/tidy

## generate: run the code generators (installs clang-14, llvm-14 and libbpf-dev)
generate:
	.ci/deps generate
	go generate ./...

## demo: the main job in a virtual machine; HOST=1: on this machine's own kernel
demo: build
	go build -o bin/demo ./tools/internal/demo
ifeq ($(HOST),1)
	bin/demo -unblend bin/unblend -host
else
	.ci/deps vm
	$(VMRUN) -kernel $(KERNEL) -t 900s -- bin/demo -unblend bin/unblend
endif

SIM = env GOGC=400 go test ./placement -run '^TestSimCampaign$$' -count=1 -v -timeout 24h -args -seeds=$(SEEDS)

## sim: crash simulation of the whole engine, SEEDS=200 more than docs/campaigns.jsonl has
sim:
	$(SIM) -record

SCOPE = env GOGC=400 go test ./placement -run '^Test(Scope|Nth)$$' -count=1 -v -timeout 24h \
	-args -sequences=$(SEQUENCES)

## scope: every crash of short sequences, SEQUENCES=450 more than recorded, and every failing I/O
scope:
	$(SCOPE) -record

## corrupt: damage every structure of a small pool, bit by bit and block by block (an hour)
corrupt:
	env GOGC=400 go test ./placement -run '^TestCorruption$$' -count=1 -v -timeout 24h -args \
		-corrupt -record

## fuzz: every fuzzer for FUZZTIME=2m
fuzz:
	.ci/fuzz $(FUZZTIME)

BENCH = .ci/deps bench && go build -o bin/benchrun ./tools/internal/bench/benchrun && \
	bin/benchrun -kernel $(KERNEL) $(if $(DEV),-dev $(DEV)) $(BENCHFLAGS)

## bench: unblend beside loop, dm-thin and qcow2 (under 40 minutes); DEV=/dev/X: on a spare disk
bench:
	$(BENCH) core

## bench-full: the same with every target and workload (hours); goes on where it was interrupted
bench-full:
	$(BENCH) full

## bench-parts: snapshots in depth, restart, tracing, processor time, memory, hard disks (two hours)
bench-parts:
	.ci/deps test && .ci/deps bench
	go test ./tools/internal/vmbench -run '^$$' -bench . -timeout 4h

## bench-sim: device operations per write, clones and the like, on simulated disks
bench-sim:
	go test ./perf/... -run '^$$' -bench . -benchmem -timeout 2h

# A campaign on each real kernel: what the tests named $(1) do, with the setting $(2).
CAMPAIGN = .ci/deps test && for k in $(KERNELS); do \
	env UNBLEND_RECORD=$(CURDIR)/docs/campaigns.jsonl UNBLEND_NO_SKIP=1 UNBLEND_VM=1 UNBLEND_VM_KERNEL=$$k $(2) \
	go test ./tools/internal/vmtest -run '$(1)' -count=1 -v -parallel 1 -timeout 4h || exit 1; done

## crash: power cuts, CUTS=20 more on each real kernel
crash: build
	@$(call CAMPAIGN,^TestPowerCut,UNBLEND_CUTS=$(CUTS))

## kills: kills of the daemon under load, KILLS=30 more on each real kernel
kills: build
	@$(call CAMPAIGN,^TestKill$$,UNBLEND_KILLS=$(KILLS))

## mixed: everything at once on one pool, MINUTES=30 on each real kernel
mixed: build
	@$(call CAMPAIGN,^TestMixed$$,UNBLEND_MINUTES=$(MINUTES))

## campaigns: add up docs/campaigns.jsonl in docs/CRASH.md
campaigns:
	go run ./tools/internal/campaigns -update

# What install puts where, as FILE:TARGET. The settings are the operator's once they are there.
INSTALLED = \
	unblend.service:$(PREFIX)/lib/systemd/system/unblend.service \
	unblend.tmpfiles:$(PREFIX)/lib/tmpfiles.d/unblend.conf \
	55-unblend.rules:$(PREFIX)/lib/udev/rules.d/55-unblend.rules
SETTINGS = $(SYSCONFDIR)/default/unblend
LVMFILTER = $(PREFIX)/lib/unblend/lvm-filter

## install: the program, its service, udev rule and LVM filter; DESTDIR, PREFIX=/usr
install:
	@test -x $(BIN) || { echo "install: no $(BIN): run make first"; exit 1; }
	install -D -m 0755 $(BIN) $(DESTDIR)$(SBINDIR)/unblend
	install -D -m 0755 tools/install/lvm-filter $(DESTDIR)$(LVMFILTER)
	@for f in $(INSTALLED); do \
		to=$(DESTDIR)$${f#*:}; echo "install $$to"; install -d "$${to%/*}" && \
		sed -e 's|@SBINDIR@|$(SBINDIR)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
			"tools/install/$${f%%:*}" >"$$to" && chmod 0644 "$$to" || exit; \
	done
	@test -e $(DESTDIR)$(SETTINGS) || \
		install -D -m 0644 tools/install/unblend.default $(DESTDIR)$(SETTINGS)
ifeq ($(DESTDIR),)
	$(LVMFILTER) add
	@$(RELOAD)
	@echo "set POOL in $(SETTINGS), then: systemctl enable --now unblend"
endif

## uninstall: what install did, except settings that were changed
uninstall:
ifeq ($(DESTDIR),)
	@! systemctl is-active --quiet unblend 2>/dev/null || \
		{ echo "uninstall: unblend is running: systemctl disable --now unblend"; exit 1; }
	test ! -x $(LVMFILTER) || $(LVMFILTER) remove
endif
	rm -f $(DESTDIR)$(SBINDIR)/unblend $(DESTDIR)$(LVMFILTER) \
		$(foreach f,$(INSTALLED),$(DESTDIR)$(lastword $(subst :, ,$(f))))
	@rmdir $(DESTDIR)$(dir $(LVMFILTER)) 2>/dev/null || true
	@if cmp -s tools/install/unblend.default $(DESTDIR)$(SETTINGS); then \
		rm $(DESTDIR)$(SETTINGS); fi
ifeq ($(DESTDIR),)
	@$(RELOAD)
endif

# Tell the running system, where it is one that systemd runs.
RELOAD = if [ -d /run/systemd/system ]; then systemctl daemon-reload; \
	systemd-tmpfiles --create unblend.conf; \
	if command -v udevadm >/dev/null; then udevadm control --reload; fi; fi

## clean: remove what the build made
clean:
	rm -rf bin

## help: this list
help:
	@sed -n 's/^## //p' Makefile | while IFS=: read -r target text; do \
		printf '  make %-12s %s\n' "$$target" "$$text"; done

FORCE:

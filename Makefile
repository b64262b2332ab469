# bootagent: `make demo` shows it, `make test` proves it. Both do all their own
# set-up; what they need besides Go is said in the README.

GO       ?= go
VENV     := .cache/venv
DYNALITE := .cache/dynalite
FETCHED  := .cache/examples
TOOLS    := .cache/tools
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)

# The race detector needs a C compiler; without one the tests run without it, and say so.
CC_FOUND := $(shell command -v $${CC:-cc} 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race,)

.PHONY: build test demo sim e2e lint fmt bench microbench package clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bootagent ./cmd/bootagent

# Python with a pinned moto and AWS CLI, which the contract tests talk to.
# Where they can't be had the tests say what they leave out; with CI=true they fail.
$(VENV)/ready: test/contract/requirements.txt
	@sh test/contract/setup.sh $(VENV)

# A DynamoDB that nobody here wrote, for the same tests.
$(DYNALITE)/ready: $(addprefix test/contract/dynalite/,setup.sh package-lock.json serve.js)
	@sh test/contract/dynalite/setup.sh $(DYNALITE)

# What the examples in Node and Python depend on; their tests stay on loopback.
$(FETCHED)/ready: test/examples/setup.sh examples/node/package-lock.json examples/python/requirements.txt
	@sh test/examples/setup.sh $(FETCHED)

# A program with the race detector lingers for a second when it ends, in case there is more to report. Hundreds end here.
test: export GORACE := atexit_sleep_ms=50
test: build $(VENV)/ready $(DYNALITE)/ready $(FETCHED)/ready $(TOOLS)/nfpm
	@$(if $(CC_FOUND),,echo 'make test: no C compiler found, running without the race detector')
	$(GO) test $(RACE) -timeout 25m ./...
	$(GO) test -timeout 10m ./test/sim
	$(GO) -C examples/hello test ./...
	@# By themselves: builds run at low priority, and would wait for all other tests.
	BOOTAGENT_EXAMPLES=1 $(GO) test -count=1 -timeout 20m ./test/examples

demo: build
	$(GO) run ./test/demo

# Fleets in virtual time, a seed each, and a fifth as many more that Auto Scaling registers: make sim SEEDS=100000. It stops at the
# first that breaks an invariant, and shows it.
SEEDS ?= 2000
sim:
	GOGC=1600 $(GO) test -count=1 -timeout 2h ./test/sim -run Invariants -v -seeds $(SEEDS)

# Real machines, booted from a Debian image that is made once: systemd as PID 1, cloud-init. Linux and root.
e2e: $(TOOLS)/nfpm
	sh test/nspawn/setup.sh
	BOOTAGENT_E2E=1 $(GO) test -count=1 -timeout 30m ./test/nspawn ./packaging ./test/e2e

lint: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

# Each tool by itself: the linter takes minutes to build, and the tests want only the packager.
$(TOOLS)/golangci-lint: tools/go.mod
	GOBIN=$(abspath $(TOOLS)) $(GO) -C tools install github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/nfpm: tools/go.mod
	GOBIN=$(abspath $(TOOLS)) $(GO) -C tools install github.com/goreleaser/nfpm/v2/cmd/nfpm

fmt: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint fmt ./...

# Everything side by side in one run, on tmpfs: checkout, whole boots, an agent at rest. It writes bench/RESULTS.md and takes some
# ten minutes; parts of it: make bench BENCH='-only checkout -turns 1'.
bench: build $(VENV)/ready
	$(GO) run ./bench $(BENCH)

# Go's own benchmarks of single functions, and a thousand simulated instances.
microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Static binaries, .deb and .rpm for amd64 and arm64, and their digests, into dist/.
package: $(TOOLS)/nfpm
	GO='$(GO)' NFPM='$(abspath $(TOOLS))/nfpm' sh packaging/build.sh '$(VERSION)'

clean:
	rm -rf bin dist .cache

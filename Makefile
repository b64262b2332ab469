# bootagent: `make demo` shows it, `make test` proves it. Both do all their own
# set-up; what they need besides Go is said in the README.

GO      ?= go
VENV    := .cache/venv
TOOLS   := .cache/tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# The race detector needs a C compiler; without one the tests run without it, and say so.
CC_FOUND := $(shell command -v $${CC:-cc} 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race,)

.PHONY: build test demo e2e lint fmt bench clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bootagent ./cmd/bootagent

# Python with a pinned moto and AWS CLI, which the contract tests talk to.
# Where they can't be had the tests say what they leave out; with CI=true they fail.
$(VENV)/ready: test/contract/requirements.txt
	@sh test/contract/setup.sh $(VENV)

test: build $(VENV)/ready
	@$(if $(CC_FOUND),,echo 'make test: no C compiler found, running without the race detector')
	$(GO) test $(RACE) -timeout 10m ./...
	$(GO) -C examples/hello test ./...

demo: build
	$(GO) run ./test/demo

# Real machines, booted from a Debian image that is made once: systemd as PID 1, cloud-init. Linux and root.
e2e:
	sh test/nspawn/setup.sh
	BOOTAGENT_E2E=1 $(GO) test -count=1 -timeout 30m ./test/nspawn

lint: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

$(TOOLS)/golangci-lint: tools/go.mod
	GOBIN=$(abspath $(TOOLS)) $(GO) -C tools install tool

fmt: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint fmt ./...

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin .cache

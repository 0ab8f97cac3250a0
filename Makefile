# What can be made here. Everything is built by one pinned Go toolchain:
# tools/with-go.sh finds it, 'make setup' fetches it where there is none.

WITH_GO := tools/with-go.sh
GO := $(WITH_GO) go
export CGO_ENABLED := 0
# Tools of the system that are not in every root's $PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# The charm's version; without git it is unknown.
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
BUILD := build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
CHARMS := github-runner_amd64.charm github-runner_arm64.charm
NATIVE := github-runner_$(if $(filter aarch64,$(shell uname -m)),arm64,amd64).charm
PROGRAMS := bin/github-runner bin/lab bin/packcharm
# A module of its own pins the daemon that is shipped beside our binary.
PEBBLE := build -C tools/pebble -trimpath -buildvcs=false -ldflags '-s -w'

.PHONY: help setup build charm test check simulate openstack openstack-down test-openstack demo bench clean bin/application FORCE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | sed 's/|/                      /; s/^\(.\{22\}\) */\1/'

setup: ## Install what is needed on Debian or Ubuntu, and the pinned Go toolchain
	@tools/setup.sh

build: bin/github-runner bin/lab bin/application ## Build bin/github-runner and bin/lab for this machine

charm: $(CHARMS) ## Pack github-runner_amd64.charm and github-runner_arm64.charm

test: setup check build ## All checks and tests; as root on Debian on real LXD, too
	@tools/test.sh

check: ## gofmt, vet and staticcheck
	@unformatted=$$($(WITH_GO) gofmt -l acceptance charm cmd lab) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	cd tools && ./with-go.sh go build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(WITH_GO) bin/staticcheck ./...

SEEDS ?= 1000
FIRST ?= 1
CLOUD ?= lxd
lives_lxd := TestSeeds
lives_openstack := TestSeedsOnOpenStack
simulate: ## Live through SEEDS=1000 units' lives with faults and kills, from seed FIRST=1, on CLOUD=lxd or openstack
	@for number in '$(SEEDS)' '$(FIRST)'; do case $$number in \
	''|0|*[!0-9]*) echo "error: SEEDS and FIRST must be whole numbers above 0, not '$$number'" >&2; exit 2 ;; esac; done
	@[ -n '$(lives_$(CLOUD))' ] || { echo "error: CLOUD must be lxd or openstack, not '$(CLOUD)'" >&2; exit 2; }
	$(GO) test -c -o bin/simulate ./lab/simulation
	bin/simulate -test.run '^$(lives_$(CLOUD))$$' -test.timeout 0 -seeds $(SEEDS) -first $(FIRST)

demo: setup build $(NATIVE) ## Show the charm's main story, on real LXD where it can run
	@demo/demo.sh

GUESTS ?= fake
openstack: setup build $(NATIVE) ## Start a lab on a real OpenStack (Debian 12; GUESTS=qemu for servers that boot)
	@tools/setup.sh openstack
	bin/lab up --cloud openstack --guests '$(GUESTS)'

openstack-down: ## End that lab, and remove all of it
	bin/lab down

test-openstack: setup check build ## Test a real OpenStack of the lab's own, from up to down (Debian 12)
	@tools/setup.sh openstack
	@tools/test-openstack.sh

bench: setup build ## Measure start-up, reconciliation and update-status
	bin/lab bench

clean: ## Remove what was built ('bin/lab down' removes a lab)
	rm -rf bin .tools $(CHARMS)

# Go knows best what is up to date.
$(PROGRAMS): bin/%: FORCE
	$(GO) $(BUILD) -o $@ ./cmd/$*

# What the lab's GitHub offers for download.
bin/application: bin/lab FORCE
	$(WITH_GO) bin/lab pack-application --output bin

github-runner_%.charm: bin/packcharm FORCE
	GOOS=linux GOARCH=$* $(GO) $(BUILD) -o bin/$*/github-runner ./cmd/github-runner
	GOOS=linux GOARCH=$* $(GO) $(PEBBLE) -o ../../bin/$*/pebble github.com/canonical/pebble/cmd/pebble
	$(WITH_GO) bin/packcharm --binary bin/$*/github-runner --pebble bin/$*/pebble --version $(VERSION)

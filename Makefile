# make help lists the targets. Those that make network namespaces or start a
# cluster need root: netns, cluster, test, demo, soak, bench, cluster-up, cluster-down.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= kube-vrrp-vip:dev
MINUTES ?= 30
CLUSTER  = cd e2e && go run ./cmd/cluster

.DEFAULT_GOAL := help
.PHONY: help deps build image example-image lint fmt test unit sim netns cluster demo soak bench cluster-up cluster-down tidy clean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')" 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

deps: ## install the Debian packages that the other targets need
	@hack/check-go
	@hack/deps

build: bin/kube-vrrp-vip ## build the static binary bin/kube-vrrp-vip

bin/kube-vrrp-vip: FORCE
	@hack/check-go
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/kube-vrrp-vip

image: build ## build the container image (docker, podman or buildah)
	hack/image $(IMAGE)

example-image: ## build the image of manifests/example-app
	@hack/check-go
	cd e2e && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../bin/echo ./cmd/echo
	hack/image kube-vrrp-vip-echo:dev e2e/cmd/echo/Dockerfile

lint: deps ## check formatting, run the linters; the layers are among them
	hack/lint

fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')

test: deps build ## run every test ring
	hack/test lint unit sim netns cluster

unit: deps ## run the tests that need no privilege
	hack/test unit

sim: deps ## run the simulated LANs; SEEDS=100000 runs so many, in about 7 minutes on two processors
	SEEDS=$(SEEDS) hack/test sim

netns: deps build ## run the tests in network namespaces
	hack/test netns

cluster: deps build ## run the tests on a real Kubernetes in network namespaces
	hack/test cluster

demo: deps build ## a VIP on a real Kubernetes, two failovers measured
	@cd e2e && go run ./cmd/demo

soak: deps build ## random faults on a real Kubernetes for MINUTES=30, a client on every VIP; SEED=N repeats them
	@cd e2e && go run ./cmd/soak -minutes $(MINUTES) -seed "$(SEED)"

bench: deps build ## measure beside keepalived and HAProxy (about an hour, on a quiet machine), write docs/benchmarks.md
	@hack/deps bench
	go test -run '^$$' -bench . -benchmem ./pkg/vrrp ./pkg/engine
	cd e2e && go run ./cmd/bench -out ../docs/benchmarks.md $(BENCHFLAGS)
	hack/test failovers

cluster-up: deps build ## start the test cluster to play with
	$(CLUSTER) up

cluster-down: ## stop the test cluster
	$(CLUSTER) down

tidy: ## go mod tidy in every module
	go mod tidy
	cd e2e && go mod tidy

clean: ## remove what was built here; the cache in ~/.cache/kube-vrrp-vip stays
	rm -rf bin

FORCE:

# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false
FORGE := bin/forge
SOURCES := $(shell find cmd internal templates -name '*.go' -o -name '*.json' -o -name '*.zst' | sort) go.mod go.sum

.PHONY: help build generate check test interop demo bench fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(FORGE) ## build bin/forge

$(FORGE): generate $(SOURCES)
	go build -ldflags '-s -w' -o $@ ./cmd/forge

generate: ## build what forge embeds: the layout helper for both architectures
	@go generate ./internal/build/helper

demo: build ## the whole job, live: lock, build, publish, verify, inspect, run, rebuild
	examples/demo/run

test: generate ## every test that needs no foreign tool
	go test ./...

interop: build ## forge's images in other tools' hands: cosign, syft, skopeo, umoci, podman, buildkitd, apt
	.ci/interop

check: generate ## vet, staticcheck, formatting, generated files fresh
	.ci/check

bench: build ## timings beside the peers' in one run
	.ci/bench

fuzz: generate ## every fuzz target for FUZZTIME each (default 20s)
	.ci/fuzz

clean: ## remove what make made
	rm -rf bin out

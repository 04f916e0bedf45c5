# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# `make` alone lists the targets.

SHELL := /bin/bash
BIN   := $(CURDIR)/.cluster/bin
# The repository may be checked out anywhere, also where git does not answer.
export GOFLAGS += -buildvcs=false
RACE  := $(shell command -v gcc >/dev/null && echo -race)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The main job

.PHONY: demo
demo: ## Show the main job on a local cluster, which stays up for you to look around.
	go run ./test/demo

.PHONY: test
test: lint unit verify release-test ## Run every check and test, the end-to-end suite on a local cluster of its own included.
	env -u KUBECONFIG $(MAKE) --no-print-directory e2e

##@ One part of it

.PHONY: lint
lint: $(BIN)/golangci-lint ## go vet and the linters of .golangci.yaml, in the product and the tools.
	go vet -tags=e2e ./...
	$(BIN)/golangci-lint run ./...
	cd test/tools && $(BIN)/golangci-lint run ./...

.PHONY: unit
unit: ## Unit tests, with the race detector where there is a C compiler for it.
	go test $(RACE) ./...

.PHONY: e2e
e2e: ## The end-to-end suite: on a local cluster of its own or, with KUBECONFIG set, on that one.
	go test -tags=e2e -count=1 -timeout=40m ./test/e2e/...

.PHONY: release-test
release-test: ## Build images and manifests with ko, against a registry on loopback.
	go -C test/tools test ./release

.PHONY: fuzz
fuzz: ## Fuzz the pure core, half a minute for each target.
	@for package in annotation merge; do \
	  for target in $$(go test -list '^Fuzz' ./pkg/$$package | grep ^Fuzz); do \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime 30s ./pkg/$$package || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## Measure the figures that the README quotes; BENCH=-quick for a look.
	go run ./test/bench $(BENCH)
	go test -run '^$$' -bench . ./pkg/...

##@ The local cluster

.PHONY: cluster
cluster: ## Start Kubernetes, Knative and the product on this machine, without containers.
	go run ./test/env/cmd/cluster up

.PHONY: cluster-down
cluster-down: ## End the local cluster.
	go run ./test/env/cmd/cluster down

##@ Generated code

.PHONY: codegen
codegen: ## Write everything that is generated: deep copies, client, CRD, checksums.
	hack/update-codegen.sh

.PHONY: verify
verify: ## Fail if anything that is generated is out of date, or go.mod is not tidy.
	hack/verify-codegen.sh
	go mod tidy -diff

# Building the linter takes a minute or two the first time and nothing after it.
.PHONY: $(BIN)/golangci-lint
$(BIN)/golangci-lint:
	@mkdir -p $(BIN)
	go -C test/tools build -o $(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

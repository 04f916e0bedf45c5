# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# `make` alone lists the targets.

SHELL := /bin/bash
BIN   := $(CURDIR)/.cluster/bin
# Everything is compiled as the images are (.ko.yaml), so that nothing is compiled twice,
# and without git, which may not answer where the repository is checked out.
export GOFLAGS += -buildvcs=false -trimpath
export CGO_ENABLED := 0
NODE  := $(CURDIR)/.cluster/node
# The race detector needs a C compiler.
RACE  := $(shell command -v gcc >/dev/null && echo -race)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The main job

.PHONY: demo
demo: ## Show the main job on a local cluster, which stays up for you to look around.
	go run ./test/demo

.PHONY: demo-recording
demo-recording: ## Record a run of the demo: docs/demo.md and docs/images/demo.svg.
	go run ./test/demo -transcript docs/demo.md
	$(MAKE) --no-print-directory docs

.PHONY: test
test: lint unit verify release-test ## Run every check and test, the end-to-end suite on a local cluster of its own included.
	env -u KUBECONFIG $(MAKE) --no-print-directory e2e

##@ One part of it

.PHONY: lint
lint: $(BIN)/golangci-lint ## go vet and the linters of .golangci.yaml, in the product and the tools.
	go vet -tags=e2e ./...
	$(BIN)/golangci-lint run ./...
	cd test/tools && $(BIN)/golangci-lint run ./...
	@# It is not among the tools: its YAML library is another version of theirs.
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -no-color .github/workflows/*.yaml
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run hack/*.sh test/*.sh; \
	  else echo "lint: shellcheck is not installed, so the scripts have not been checked"; fi

.PHONY: unit
unit: ## Unit tests, with the race detector where there is a C compiler for it.
	$(if $(RACE),CGO_ENABLED=1) go test $(RACE) ./...
	go -C test/tools test ./registry ./kind ./recording

.PHONY: e2e
e2e: ## The end-to-end suite: on a local cluster of its own or, with KUBECONFIG set, on that one.
	test/e2e.sh

.PHONY: e2e-node
e2e-node: node ## The end-to-end suite with Pods that really pull images, after "make node"; E2E='-run NAME' for a part.
	go test -tags=e2e -count=1 -timeout=20m -run ^TestNode ./test/env
	KUBECONFIG=$(NODE)/kubeconfig test/e2e.sh $(E2E)

.PHONY: e2e-kind
e2e-kind: ## The end-to-end suite on a kind cluster of its own. Needs docker.
	test/e2e-kind.sh

.PHONY: release-test
release-test: ## Build images and manifests with ko, against a registry on loopback.
	go -C test/tools test ./release

.PHONY: vulnerabilities
vulnerabilities: ## Look for known vulnerabilities in code that the programs call; asks vuln.go.dev.
	go -C test/tools build -o $(BIN)/ golang.org/x/vuln/cmd/govulncheck
	$(BIN)/govulncheck ./cmd/...

.PHONY: fuzz
fuzz: ## Fuzz the pure core, half a minute for each target.
	@for package in annotation dockerconfig merge; do \
	  for target in $$(go test -list '^Fuzz' ./pkg/$$package | grep ^Fuzz); do \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime 30s ./pkg/$$package || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## Measure the figures of docs/performance.md; BENCH=-quick for a look.
	go run ./test/bench $(BENCH)
	set -o pipefail; go test -run '^$$' -bench . ./pkg/... | awk -f test/bench/ratios.awk

# For a failure, the printed command is quicker: KUBECONFIG=.cluster/kubeconfig plays it on "make cluster".
.PHONY: model
model: ## Random histories on a real API server against the model of the contract, for MODEL=2h.
	MODEL=$(or $(MODEL),10m) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestModel$$' ./test/e2e/oracles

.PHONY: pairs
pairs: ## Random Services and edits with and without pull secrets to be added, PAIRS=5000 of them.
	PAIRS=$(or $(PAIRS),2000) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestPairs$$' ./test/e2e/oracles

##@ The local cluster

.PHONY: cluster
cluster: ## Start Kubernetes, Knative and the product on this machine, without containers.
	go run ./test/env/cmd/cluster up

.PHONY: cluster-down
cluster-down: ## End the local cluster.
	go run ./test/env/cmd/cluster down

.PHONY: node
node: ## Start a cluster that runs Pods, the product by "ko apply" among them. Needs root.
	go run ./test/env/cmd/cluster up -node -dir $(NODE)

.PHONY: node-down
node-down: ## End the cluster with the node.
	go run ./test/env/cmd/cluster down -dir $(NODE)

##@ A release

.PHONY: release
release: ## Build images, release.yaml, SBOMs and checksums of VERSION, into KO_DOCKER_REPO and .cluster/release.
	hack/release.sh

##@ Generated code

.PHONY: codegen
codegen: ## Write everything that is generated: deep copies, client, CRD, checksums, documentation.
	hack/update-codegen.sh

.PHONY: docs
docs: ## Write the documentation that is generated: the API reference, the picture of the demo.
	hack/update-docs.sh

.PHONY: verify
verify: ## Fail if anything that is generated is out of date, or go.mod is not tidy.
	hack/verify-codegen.sh
	go mod tidy -diff

# Building the linter takes a minute or two the first time and nothing after it.
.PHONY: $(BIN)/golangci-lint
$(BIN)/golangci-lint:
	@mkdir -p $(BIN)
	go -C test/tools build -o $(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

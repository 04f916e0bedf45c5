# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# `make` alone lists the targets.

SHELL := /bin/bash
BIN   := $(CURDIR)/.cluster/bin
# The same build settings as for images (.ko.yaml), so that nothing is compiled twice, and
# without VCS stamping, which fails where git does.
export GOFLAGS += -buildvcs=false -trimpath
export CGO_ENABLED := 0
NODE  := $(CURDIR)/.cluster/node

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Main targets

.PHONY: demo
demo: ## Show the main use case on a local cluster, which stays up afterwards.
	@echo "compiling the demo, which takes minutes the first time"
	go run ./test/demo

.PHONY: demo-recording
demo-recording: ## Record a run of the demo: docs/demo.md and docs/images/demo.svg.
	go run ./test/demo -transcript docs/demo.md
	$(MAKE) --no-print-directory docs

.PHONY: test
test: ## Run the unit tests, and the end-to-end suite on local clusters.
	@echo "1 of 2: unit tests"
	@$(MAKE) --no-print-directory unit
	@echo "2 of 2: end-to-end tests"
	env -u KUBECONFIG $(MAKE) --no-print-directory e2e

.PHONY: check
check: lint race verify release-test ## Check all that CI does besides "make test": style, data races, generated files, images.

##@ Parts of the tests

.PHONY: lint
lint: $(BIN)/golangci-lint ## go vet and the linters of .golangci.yaml, in the main module and the tools.
	go vet -tags=e2e ./...
	$(BIN)/golangci-lint run ./...
	cd test/tools && $(BIN)/golangci-lint run ./...
	@# Not in test/tools, because it needs another version of the YAML library.
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -no-color .github/workflows/*.yaml
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run hack/*.sh test/*.sh test/kind/*.sh; \
	  else echo "lint: shellcheck is not installed: scripts were not checked"; fi

.PHONY: unit
unit: ## Unit tests.
	go test ./...
	go -C test/tools test ./registry ./kind ./recording

.PHONY: race
race: ## Unit tests of the programs with the race detector. Requires a C compiler.
	@if command -v gcc >/dev/null; then CGO_ENABLED=1 go test -race ./cmd/... ./config/... ./pkg/...; \
	  else echo "race: gcc is not installed: data races were not checked"; fi

.PHONY: e2e
e2e: ## The end-to-end suite, on local clusters or the one of KUBECONFIG; E2E='-run NAME' selects tests.
	test/e2e.sh $(E2E)

.PHONY: e2e-node
e2e-node: node ## The same with Pods that pull images, after "make node".
	go test -tags=e2e -count=1 -timeout=20m -run ^TestNode ./test/env
	KUBECONFIG=$(NODE)/kubeconfig test/e2e.sh $(E2E)

.PHONY: e2e-kind
e2e-kind: ## The end-to-end suite on its own kind cluster; E2E='-run NAME' selects tests, KEEP=1 keeps the cluster.
	test/e2e-kind.sh all $(E2E)

.PHONY: e2e-matrix
e2e-matrix: ## A core of the suite on each pair of versions, for the README's table; MATRIX=1.34.11/1.23.0 selects pairs.
	env -u KUBECONFIG go run ./test/matrix -only '$(MATRIX)'

.PHONY: release-test
release-test: ## Build images and manifests with ko, against a registry on loopback.
	go -C test/tools test ./release

.PHONY: vulnerabilities
vulnerabilities: ## Report known vulnerabilities in code that the programs call; uses vuln.go.dev.
	go -C test/tools build -o $(BIN)/ golang.org/x/vuln/cmd/govulncheck
	$(BIN)/govulncheck ./cmd/...

.PHONY: fuzz
fuzz: ## Fuzz the pure core, 30 s per target.
	@for package in annotation coverage dockerconfig merge; do \
	  for target in $$(go test -list '^Fuzz' ./pkg/$$package | grep ^Fuzz); do \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime 30s ./pkg/$$package || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## Measure the figures of docs/performance.md; BENCH=-quick for a look.
	go run ./test/bench $(BENCH)
	set -o pipefail; go test -run '^$$' -bench . ./pkg/... | awk -f test/bench/ratios.awk

# To reproduce a failure, run the printed command with KUBECONFIG=.cluster/kubeconfig on
# the cluster of "make cluster".
.PHONY: model
model: ## Check random histories against the model of the contract, for MODEL=2h.
	MODEL=$(or $(MODEL),10m) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestModel$$' ./test/e2e/oracles

.PHONY: pairs
pairs: ## Compare random Services and edits with and without declared pull secrets, PAIRS=5000 of them.
	PAIRS=$(or $(PAIRS),2000) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestPairs$$' ./test/e2e/oracles

##@ The local cluster

.PHONY: cluster
cluster: ## Start Kubernetes, Knative and this project here, without containers; KUBERNETES=1.34.11 KNATIVE=1.16.0 for others.
	go run ./test/env/cmd/cluster up

.PHONY: cluster-down
cluster-down: ## Stop the local cluster.
	go run ./test/env/cmd/cluster down

.PHONY: node
node: ## Start a cluster that runs Pods, installed with "ko apply". Requires root.
	go run ./test/env/cmd/cluster up -node -dir $(NODE)

.PHONY: node-down
node-down: ## Stop the cluster with the node.
	go run ./test/env/cmd/cluster down -dir $(NODE)

.PHONY: kind
kind: ## Create a kind cluster with the project, to look around in.
	test/e2e-kind.sh up

.PHONY: kind-down
kind-down: ## Delete the kind cluster.
	test/e2e-kind.sh down

##@ A release

.PHONY: release
release: ## Build images, release.yaml, SBOMs and checksums of VERSION, to KO_DOCKER_REPO and .cluster/release.
	hack/release.sh

##@ Generated code

.PHONY: codegen
codegen: ## Write all generated files: deep copies, client, CRD, checksums, kustomize base, documentation.
	hack/update-codegen.sh

.PHONY: docs
docs: ## Write the documentation that is generated: the API reference, the picture of the demo.
	hack/update-docs.sh

.PHONY: verify
verify: ## Fail if a generated file is out of date or go.mod is not tidy.
	hack/verify-codegen.sh
	go mod tidy -diff

# Building the linter takes a minute or two the first time.
.PHONY: $(BIN)/golangci-lint
$(BIN)/golangci-lint:
	@mkdir -p $(BIN)
	go -C test/tools build -o $(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

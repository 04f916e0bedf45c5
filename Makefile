# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# `make` alone lists the targets.

SHELL := /bin/bash
BIN   := $(CURDIR)/.cluster/bin
# The same build settings as for images (.ko.yaml), so that nothing is compiled twice, and
# without VCS stamping, which fails where git does.
export GOFLAGS += -buildvcs=false -trimpath
export CGO_ENABLED := 0

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
lint: $(BIN)/golangci-lint ## The linters of .golangci.yaml, go vet among them, in the main module and the tools.
	$(BIN)/golangci-lint run ./...
	cd test/tools && $(BIN)/golangci-lint run ./...
	cd test/tools/chart && $(BIN)/golangci-lint run ./...
	@# Not in test/tools, because it needs another version of the YAML library.
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -no-color .github/workflows/*.yaml
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run hack/*.sh test/*.sh test/kind/*.sh prototype/*/*.sh; \
	  else echo "lint: shellcheck is not installed: scripts were not checked"; fi

.PHONY: unit
unit: ## Unit tests.
	@test/prometheus.sh > /dev/null || { echo "NOT RUN: the tests of alerts in test/monitoring, which need promtool"; [[ -z "$${GITHUB_ACTIONS:-}" ]]; }
	go test ./...
	go -C test/tools test ./registry ./kind ./recording
	go -C test/controlplane test ./policy

.PHONY: race
race: ## Unit tests of the programs with the race detector. Requires a C compiler.
	@if command -v gcc >/dev/null; then CGO_ENABLED=1 go test -race -timeout=30m ./cmd/... ./config/... ./pkg/...; \
	  else echo "race: gcc is not installed: data races were not checked"; fi

.PHONY: e2e
e2e: ## The end-to-end suite, on local clusters or the one of KUBECONFIG; E2E='-run NAME' selects tests.
	test/e2e.sh $(E2E)

.PHONY: e2e-kind
e2e-kind: ## The same with nodes that pull images, on its own kind cluster; E2E='-run NAME' selects tests, KEEP=1 keeps the cluster.
	test/e2e-kind.sh all $(E2E)

.PHONY: e2e-matrix
e2e-matrix: ## A core of the suite on each pair of versions, for the README's table; MATRIX=1.34.11/1.23.0 selects pairs.
	env -u KUBECONFIG go run ./test/matrix -only '$(MATRIX)'

.PHONY: release-test
release-test: ## Build images, manifests and the Helm chart, against a registry on loopback.
	go -C test/tools/chart test ./...
	go -C test/tools test -timeout=40m ./release # It compiles the programs twice.

.PHONY: vulnerabilities
vulnerabilities: ## Report known vulnerabilities in code that the programs call, for each of their systems; uses vuln.go.dev, or VULNDB=file:///DIRECTORY.
	go -C test/tools build -o $(BIN)/ golang.org/x/vuln/cmd/govulncheck
	$(BIN)/govulncheck $(if $(VULNDB),-db $(VULNDB)) ./cmd/...
	@# What is compiled depends on the system.
	for os in darwin windows; do GOOS=$$os $(BIN)/govulncheck $(if $(VULNDB),-db $(VULNDB)) ./cmd/kn-pullsecrets || exit; done

.PHONY: vulnerabilities-of-tools
vulnerabilities-of-tools: ## The same for the programs that build and push a release.
	go -C test/tools build -o $(BIN)/ golang.org/x/vuln/cmd/govulncheck
	cd test/tools && $(BIN)/govulncheck $(if $(VULNDB),-db $(VULNDB)) github.com/google/ko github.com/google/go-containerregistry/cmd/crane
	cd test/tools/chart && $(BIN)/govulncheck $(if $(VULNDB),-db $(VULNDB)) . helm.sh/helm/v3/cmd/helm

.PHONY: fuzz
fuzz: ## Run every fuzz test, for FUZZTIME=30s each.
	test/fuzz.sh

.PHONY: bench
bench: ## Measure the figures of docs/performance.md; BENCH=-quick for a look.
	go run ./test/bench $(BENCH)
	set -o pipefail; go test -run '^$$' -bench . ./pkg/... | awk -f test/bench/ratios.awk
	go -C test/controlplane test -run '^$$' -bench . ./policy

# To reproduce a failure, run the printed command with KUBECONFIG=.cluster/kubeconfig on
# the cluster of "make cluster".
.PHONY: model
model: ## Check random histories against the model of the contract, for MODEL=2h.
	MODEL=$(or $(MODEL),10m) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestModel$$' ./test/e2e/oracles

.PHONY: soak
soak: ## The same for SOAK=2h, and fail if memory or goroutines grow. Draws .cluster/soak.svg.
	@test/prometheus.sh > /dev/null
	MODEL=$(or $(SOAK),2h) SOAK=$(CURDIR)/.cluster/soak.svg go test -tags=e2e -count=1 -v -timeout=0 -run 'TestModel$$' ./test/e2e/oracles

.PHONY: pairs
pairs: ## Compare random Services and edits with and without declared pull secrets, PAIRS=5000 of them.
	PAIRS=$(or $(PAIRS),2000) go test -tags=e2e -count=1 -v -timeout=0 -run 'TestPairs$$' ./test/e2e/oracles

.PHONY: alerts
alerts: ## Tests of the alerts and the dashboard: by promtool, and with a real Prometheus on a local cluster.
	@test/prometheus.sh > /dev/null
	go test -count=1 ./test/monitoring
	env -u KUBECONFIG test/e2e.sh -run '^TestAlertsFireAndClear$$'

.PHONY: dashboard-picture
dashboard-picture: ## Draw docs/images/dashboard.svg with the data of such a run.
	env -u KUBECONFIG DASHBOARD=$(CURDIR)/docs/images/dashboard.svg test/e2e.sh -run '^TestAlertsFireAndClear$$'

##@ Clusters

.PHONY: cluster
cluster: ## Start Kubernetes, Knative and this project here, without containers; KUBERNETES=1.34.11 KNATIVE=1.16.0 for others.
	go run ./test/env/cmd/cluster up

.PHONY: cluster-down
cluster-down: ## Stop the local cluster.
	go run ./test/env/cmd/cluster down

.PHONY: kind
kind: ## Create a kind cluster with the project, to look around in.
	test/e2e-kind.sh up

.PHONY: kind-down
kind-down: ## Delete the kind cluster.
	test/e2e-kind.sh down

##@ A release

.PHONY: release
release: ## Build images, release.yaml, the chart, SBOMs and checksums of VERSION, to KO_DOCKER_REPO and .cluster/release.
	hack/release.sh

##@ Generated code

.PHONY: codegen
codegen: ## Write all generated files: deep copies, client, CRD, checksums, kustomize base, Helm chart, documentation.
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

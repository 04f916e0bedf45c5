#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Runs the end-to-end suite on the cluster of KUBECONFIG or on local ones, and lists the
# tests that were not run because the cluster lacks a capability. The list is passed in a
# file, because go test prints no output of a package that passes. Arguments are passed to
# go test.
set -euo pipefail
cd "$(dirname "$0")/.."

not_run="$(mktemp)"
trap 'cat "${not_run}"; rm -f "${not_run}"' EXIT
NOT_RUN="${not_run}" go test -tags=e2e -count=1 -p=1 -timeout=50m ./test/e2e/... "$@"

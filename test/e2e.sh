#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Runs the end-to-end suite on the cluster of KUBECONFIG or on local ones. Arguments are
# those of test/suite.
set -euo pipefail
cd "$(dirname "$0")/.."

go run ./test/suite "$@"

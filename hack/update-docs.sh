#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Writes the documentation that is generated:
#
#   docs/reference.md      from the types of the API
#   docs/images/demo.svg   from the transcript in docs/demo.md
#
# The transcript itself is a real run, by "make demo-recording". It is not generated here:
# it needs a cluster, and its ages differ from run to run.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly bin="${CODEGEN_BIN:-${PWD}/.cluster/bin/codegen}"

mkdir -p "${bin}"
go -C test/tools build -o "${bin}/" github.com/elastic/crd-ref-docs ./recording

"${bin}/crd-ref-docs" --log-level=ERROR --source-path=pkg/apis/pullsecrets --config=hack/reference/config.yaml \
  --templates-dir=hack/reference --renderer=markdown --output-path=docs/reference.md

"${bin}/recording" < docs/demo.md > docs/images/demo.svg

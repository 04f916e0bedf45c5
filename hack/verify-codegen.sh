#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Fails if a generated file differs from the output of hack/update-codegen.sh. It
# generates in a copy and compares, so the tree itself is not changed, whether or not it
# is a git checkout or clean.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly root="${PWD}"

copy="$(mktemp -d)"
trap 'rm -rf "${copy}"' EXIT

# These contain everything that the generators read or write.
readonly parts=(go.mod go.sum hack pkg charts config kustomize docs test/tools)
mkdir -p "${copy}/tree/test"
for part in "${parts[@]}"; do
  cp -R "${part}" "${copy}/tree/${part}"
done

if ! CODEGEN_BIN="${root}/.cluster/bin/codegen" \
  bash "${copy}/tree/hack/update-codegen.sh" > "${copy}/log" 2>&1; then
  cat "${copy}/log" >&2
  echo "verify-codegen: hack/update-codegen.sh failed, see above." >&2
  exit 1
fi

stale=0
for part in "${parts[@]}"; do
  diff -Naur "${part}" "${copy}/tree/${part}" || stale=1
done
if [[ "${stale}" != 0 ]]; then
  echo "verify-codegen: generated files are out of date, see the diff above." >&2
  echo "verify-codegen: run hack/update-codegen.sh and commit the result." >&2
  exit 1
fi
echo "verify-codegen: all generated files are up to date."

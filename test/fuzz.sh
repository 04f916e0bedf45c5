#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Runs every fuzz test of the module for FUZZTIME, one after the other, and fails at the end if
# one of them did. "list" prints them instead, a package and a name in each line. They are
# searched for, so that none is forgotten. Go keeps the inputs that it found interesting in
# "go env GOCACHE", in the folder "fuzz", and a failing one in testdata/fuzz of the package.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# list prints the fuzz tests. To ask the test binaries of all packages, all would have to be
# built, so only those are asked whose files have such a function.
list() {
  local package dir files targets names
  while IFS='|' read -r package dir names; do
    read -r -a files <<< "${names}"
    if [[ "${#files[@]}" == 0 ]] || ! (cd "${dir}" && grep -q '^func Fuzz' "${files[@]}"); then
      continue
    fi
    targets="$(go test -list '^Fuzz' "${package}")"
    grep '^Fuzz' <<< "${targets}" | sed "s|^|${package} |" || true
  done < <(go list -f '{{.ImportPath}}|{{.Dir}}|{{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}' ./...)
}

found="$(list)"
[[ -n "${found}" ]] || { echo "fuzz: found no fuzz test" >&2; exit 1; }
if [[ "${1:-}" == list ]]; then
  echo "${found}"
  exit
fi
failed=()
while read -r package target; do
  go test -run '^$' -fuzz "^${target}\$" -fuzztime "${FUZZTIME:-30s}" "${package}" < /dev/null || failed+=("${package} ${target}")
done <<< "${found}"
if [[ "${#failed[@]}" != 0 ]]; then
  printf 'fuzz: %s failed; its input is in testdata/fuzz there\n' "${failed[@]}" >&2
  exit 1
fi

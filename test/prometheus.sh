#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Prints the directory of prometheus and promtool: that of the machine or, if it has none, of
# Debian's package, which is unpacked below .cluster and not installed.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly unpacked="${PWD}/.cluster/prometheus"

if command -v prometheus > /dev/null && command -v promtool > /dev/null; then
  dirname "$(command -v promtool)"
  exit
fi
if [[ ! -x "${unpacked}/usr/bin/promtool" ]]; then
  if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
    echo "prometheus: install prometheus and promtool: this machine cannot download Debian's package" >&2
    exit 1
  fi
  mkdir -p "${PWD}/.cluster"
  next="$(mktemp -d "${PWD}/.cluster/.prometheus-XXXXXX")"
  trap 'rm -rf "${next}"' EXIT
  # Completely or not at all: others may be doing the same.
  if ! (cd "${next}" && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; }) > "${next}/log" 2>&1; then
    cat "${next}/log" >&2
    echo "prometheus: Debian's package cannot be downloaded: install prometheus and promtool" >&2
    exit 1
  fi
  dpkg-deb --extract "${next}"/prometheus_*.deb "${next}/root"
  mv -T "${next}/root" "${unpacked}" 2> /dev/null || [[ -x "${unpacked}/usr/bin/promtool" ]]
fi
echo "${unpacked}/usr/bin"

#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Builds a release: images for amd64 and arm64 in the registry that KO_DOCKER_REPO
# names, and in the folder OUT the files that are published: one release.yaml that names
# them by digest, the list of them, their SBOMs and checksums of it all. VERSION (v1.2.3) is the tag of the images and the value of
# the label app.kubernetes.io/version. PLATFORMS, for tests, may name fewer.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "release: $1" >&2
  echo "release: VERSION=v1.2.3 KO_DOCKER_REPO=registry.example.com/pullsecrets make release" >&2
  exit 2
}
[[ "${VERSION:-}" =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || usage "VERSION is '${VERSION:-}', and not like v1.2.3"
[[ -n "${KO_DOCKER_REPO:-}" ]] || usage "KO_DOCKER_REPO does not say where the images go"

readonly out="${OUT:-.cluster/release/${VERSION}}"
readonly bin="${PWD}/.cluster/bin"
mkdir -p "${bin}" "${out}"
boms="$(mktemp -d)"
trap 'rm -rf "${boms}"' EXIT
mkdir "${boms}/sbom"
go -C test/tools build -o "${bin}/" github.com/google/ko

# The same source gives the same images: their time is that of the commit.
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct 2>/dev/null || echo 0)"
export SOURCE_DATE_EPOCH KO_DATA_DATE_EPOCH="${SOURCE_DATE_EPOCH}"

"${bin}/ko" resolve --base-import-paths --platform="${PLATFORMS:-linux/amd64,linux/arm64}" --tags="${VERSION}" \
  --sbom=spdx --sbom-dir="${boms}/sbom" --image-refs="${out}/images.txt" -f config/ |
  sed -E "s|^( *app\.kubernetes\.io/version: )devel$|\1${VERSION}|" > "${out}/release.yaml"

# What a release must never have: an import path that ko has not resolved, or an image
# that can become another one.
if grep -nE 'ko://|app\.kubernetes\.io/version: devel' "${out}/release.yaml"; then
  echo "release: these lines of release.yaml should have been replaced" >&2
  exit 1
fi
if grep -nE '^ *image: ' "${out}/release.yaml" | grep -vE '@sha256:[0-9a-f]{64}$'; then
  echo "release: these images are not named by digest" >&2
  exit 1
fi
tar --directory="${boms}" --sort=name --mtime="@${SOURCE_DATE_EPOCH}" --owner=0 --group=0 --numeric-owner \
  --create --file - sbom | gzip --no-name > "${out}/sbom.tar.gz"
(cd "${out}" && sha256sum images.txt release.yaml sbom.tar.gz > sha256sums.txt)
echo "release: ${out}/release.yaml"

#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Builds a release: images for amd64 and arm64 in the registry KO_DOCKER_REPO, and in the
# directory OUT the published files: release.yaml with images by digest, the list of
# images, their SBOMs and checksums. VERSION (v1.2.3) is the tag of the images and the
# value of the label app.kubernetes.io/version. Tests may set PLATFORMS to fewer
# platforms.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "release: $1" >&2
  echo "release: VERSION=v1.2.3 KO_DOCKER_REPO=registry.example.com/pullsecrets make release" >&2
  exit 2
}
[[ "${VERSION:-}" =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || usage "VERSION is '${VERSION:-}', want a version such as v1.2.3"
[[ -n "${KO_DOCKER_REPO:-}" ]] || usage "KO_DOCKER_REPO is not set"

readonly out="${OUT:-.cluster/release/${VERSION}}"
readonly bin="${PWD}/.cluster/bin"
mkdir -p "${bin}" "${out}"
boms="$(mktemp -d)"
trap 'rm -rf "${boms}"' EXIT
mkdir "${boms}/sbom"
go -C test/tools build -o "${bin}/" github.com/google/ko

# Reproducible images: their timestamp is that of the commit.
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct 2>/dev/null || echo 0)"
export SOURCE_DATE_EPOCH KO_DATA_DATE_EPOCH="${SOURCE_DATE_EPOCH}"

"${bin}/ko" resolve --base-import-paths --platform="${PLATFORMS:-linux/amd64,linux/arm64}" --tags="${VERSION}" \
  --sbom=spdx --sbom-dir="${boms}/sbom" --image-refs="${out}/images.txt" -f config/ |
  sed -E "s|^( *app\.kubernetes\.io/version: )devel$|\1${VERSION}|" > "${out}/release.yaml"

# A release must not contain an unresolved import path or an image without a digest.
if grep -nE 'ko://|app\.kubernetes\.io/version: devel' "${out}/release.yaml"; then
  echo "release: these lines of release.yaml were not replaced" >&2
  exit 1
fi
if grep -nE '^ *image: ' "${out}/release.yaml" | grep -vE '@sha256:[0-9a-f]{64}$'; then
  echo "release: these images have no digest" >&2
  exit 1
fi
tar --directory="${boms}" --sort=name --mtime="@${SOURCE_DATE_EPOCH}" --owner=0 --group=0 --numeric-owner \
  --create --file - sbom | gzip --no-name > "${out}/sbom.tar.gz"
(cd "${out}" && sha256sum images.txt release.yaml sbom.tar.gz > sha256sums.txt)
echo "release: ${out}/release.yaml"

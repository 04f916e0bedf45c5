#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Builds a release: images for amd64 and arm64 in the registry KO_DOCKER_REPO, and in the
# directory OUT the published files: release.yaml with images by digest, monitoring.yaml,
# outage.yaml with the policies for Kubernetes 1.36 and later, the Helm chart, the list of images,
# their SBOMs and their base image, the command line for each system, its manifest for krew, and
# checksums. The chart is also pushed to KO_DOCKER_REPO/charts, with the credentials of Docker;
# chart.txt has its digest there.
# VERSION (v1.2.3) is the tag of the images and the value of the label
# app.kubernetes.io/version. RELEASE_URL is where the files will be; the default is the release
# of GITHUB_REPOSITORY. Tests may set PLATFORMS and CLI_PLATFORMS to fewer platforms. The same
# commit gives the same bytes, with the same Go and the same base image.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "release: $1" >&2
  echo "release: VERSION=v1.2.3 KO_DOCKER_REPO=registry.example.com/pullsecrets make release" >&2
  exit 2
}
[[ "${VERSION:-}" =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || usage "VERSION is '${VERSION:-}', want a version such as v1.2.3"
[[ -n "${KO_DOCKER_REPO:-}" ]] || usage "KO_DOCKER_REPO is not set"

readonly url="${RELEASE_URL:-${GITHUB_REPOSITORY:+https://github.com/${GITHUB_REPOSITORY}/releases/download/${VERSION}}}"
[[ "${url}" =~ ^https://[-A-Za-z0-9._/+]+$ ]] || usage "neither RELEASE_URL nor GITHUB_REPOSITORY says where the files of the release will be"

readonly out="${OUT:-.cluster/release/${VERSION}}"
readonly bin="${PWD}/.cluster/bin"
mkdir -p "${bin}" "${out}"
boms="$(mktemp -d)"
trap 'rm -rf "${boms}"' EXIT
mkdir "${boms}/sbom"
go -C test/tools build -o "${bin}/" github.com/google/ko github.com/google/go-containerregistry/cmd/crane

# Reproducible images: their timestamp is that of the commit. Who builds from an archive of the
# source sets it.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
# ko writes times in the local time zone.
export SOURCE_DATE_EPOCH KO_DATA_DATE_EPOCH="${SOURCE_DATE_EPOCH}" TZ=UTC

# The base image by digest, because tags move: it is written into the images.
KO_DEFAULTBASEIMAGE="${KO_DEFAULTBASEIMAGE:-$(sed -n 's/^defaultBaseImage: //p' .ko.yaml)}"
[[ "${KO_DEFAULTBASEIMAGE}" == *@sha256:* ]] || KO_DEFAULTBASEIMAGE="$("${bin}/crane" digest --full-ref "${KO_DEFAULTBASEIMAGE}")"
export KO_DEFAULTBASEIMAGE
echo "${KO_DEFAULTBASEIMAGE}" > "${out}/base-image.txt"

# labelled puts the version into labels.
labelled() { sed -E "s|^( *app\.kubernetes\.io/version: )devel$|\1${VERSION}|"; }

"${bin}/ko" resolve --base-import-paths --platform="${PLATFORMS:-linux/amd64,linux/arm64}" --tags="${VERSION}" \
  --sbom=spdx --sbom-dir="${boms}/sbom" --image-refs="${out}/images.txt" -f config/ |
  labelled > "${out}/release.yaml"
# ko appends them as they are ready.
LC_ALL=C sort -u -o "${out}/images.txt" "${out}/images.txt"

# Apart from release.yaml, because they need kinds of the Prometheus operator and of newer
# Kubernetes.
for part in monitoring outage; do
  for file in config/"${part}"/*.yaml; do
    echo "---"
    cat "${file}"
  done | labelled > "${out}/${part}.yaml"
done

# A release must not contain an unresolved import path or an image without a digest.
if grep -nE 'ko://|app\.kubernetes\.io/version: devel' "${out}/release.yaml" "${out}/monitoring.yaml" "${out}/outage.yaml"; then
  echo "release: these lines were not replaced" >&2
  exit 1
fi
if grep -nE '^ *image: ' "${out}/release.yaml" | grep -vE '@sha256:[0-9a-f]{64}$'; then
  echo "release: these images have no digest" >&2
  exit 1
fi
# The Helm chart, with these images as its defaults. Its version has no "v", as Helm wants it.
sed -n 's/^ *image: //p' "${out}/release.yaml" > "${boms}/images"
chart="pullsecrets-${VERSION#v}.tgz"
go -C test/tools/chart run . -root "${PWD}" -out "${boms}/pullsecrets" -version "${VERSION}" -images "${boms}/images"
tar --directory="${boms}" --sort=name --mtime="@${SOURCE_DATE_EPOCH}" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
  --create --file - pullsecrets | gzip --no-name > "${out}/${chart}"
# Helm pushes the time of the file, too.
touch --date="@${SOURCE_DATE_EPOCH}" "${out}/${chart}"
tar --directory="${boms}" --sort=name --mtime="@${SOURCE_DATE_EPOCH}" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
  --create --file - sbom | gzip --no-name > "${out}/sbom.tar.gz"

# The command line. An archive has the same bytes wherever it is built: no paths, no VCS
# state, and the timestamp of the commit.
archives=()
: > "${boms}/platforms"
for platform in ${CLI_PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}; do
  os="${platform%/*}" arch="${platform#*/}" program=kn-pullsecrets
  [[ "${os}" != windows ]] || program=kn-pullsecrets.exe
  archive="kn-pullsecrets-${os}-${arch}.tar.gz"
  mkdir -p "${boms}/${os}-${arch}"
  CGO_ENABLED=0 GOOS="${os}" GOARCH="${arch}" go build -trimpath -buildvcs=false \
    -ldflags="-s -w -buildid= -X pullsecrets.dev/pkg/cli.Version=${VERSION}" -o "${boms}/${os}-${arch}/${program}" ./cmd/kn-pullsecrets
  cp LICENSE "${boms}/${os}-${arch}/LICENSE"
  tar --directory="${boms}/${os}-${arch}" --sort=name --mtime="@${SOURCE_DATE_EPOCH}" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --create --file - LICENSE "${program}" | gzip --no-name > "${out}/${archive}"
  archives+=("${archive}")
  sum="$(sha256sum "${out}/${archive}")"
  cat >> "${boms}/platforms" <<YAML
    - selector:
        matchLabels:
          os: ${os}
          arch: ${arch}
      uri: ${url}/${archive}
      sha256: ${sum%% *}
      bin: ${program}
YAML
done
sed -e "s|VERSION\$|${VERSION}|; s|PAGE\$|${url/\/download\//\/tag\/}|" -e "/^  PLATFORMS\$/{r ${boms}/platforms" -e 'd}' hack/krew.yaml |
  sed '/^# /d; /^#$/d; 1{/^$/d}' | sed '1{/^$/d}' > "${out}/kubectl-pullsecrets.yaml"

# The chart is pushed last: who asks the registry for the newest one must not get one of a build
# that failed.
# Registries on loopback have no TLS, as ko assumes too.
insecure=()
[[ ! "${KO_DOCKER_REPO}" =~ ^(localhost|127\.0\.0\.1)[:/] ]] || insecure=(--plain-http)
go -C test/tools/chart build -o "${bin}/" helm.sh/helm/v3/cmd/helm
pushed="$("${bin}/helm" push "${insecure[@]}" "${out}/${chart}" "oci://${KO_DOCKER_REPO}/charts" 2>&1)" || { echo "${pushed}" >&2; exit 1; }
digest="$(sed -n 's/^Digest: *//p' <<< "${pushed}")"
if [[ ! "${digest}" =~ ^sha256:[0-9a-f]{64}$ ]]; then
  printf 'release: helm push printed no digest:\n%s\n' "${pushed}" >&2
  exit 1
fi
echo "${KO_DOCKER_REPO}/charts/pullsecrets@${digest}" > "${out}/chart.txt"

(cd "${out}" && sha256sum base-image.txt chart.txt images.txt "${archives[@]}" kubectl-pullsecrets.yaml monitoring.yaml outage.yaml "${chart}" release.yaml sbom.tar.gz > sha256sums.txt)
echo "release: ${out}/release.yaml"

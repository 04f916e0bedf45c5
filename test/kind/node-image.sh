#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Builds the node image of kind from Go modules and Debian packages, where it cannot be
# pulled, and prints its name. Docker is the one of DOCKER_HOST.
#
# kind's own files, such as the entrypoint, come from its module. Two programs are all of
# Kubernetes: .cluster/bin/kubernetes is the control plane and kubectl, .cluster/bin/node is
# what runs on a node and kubeadm. Each acts as the component by whose name it is called.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly here=test/kind
readonly out="${PWD}/.cluster/kind"
readonly bin="${PWD}/.cluster/bin"
readonly suite=bookworm
readonly packages=systemd,systemd-sysv,dbus,conntrack,ipset,iptables,nftables,iproute2,ethtool,mount,kmod,procps,libseccomp2,pigz,ca-certificates,curl,jq,e2fsprogs,util-linux,hostname,socat,runc,containernetworking-plugins

export GOFLAGS="-buildvcs=false -trimpath" GOWORK=off CGO_ENABLED=0

say() { echo "$*" >&2; }

version_in() { awk -v module="$2" '$1 == module {print $2}' "$1"; }
kubernetes="$(version_in test/controlplane/go.mod k8s.io/kubernetes)"
readonly kubernetes

# digest prints a name for the contents of the files.
digest() { cat "$@" | sha256sum | cut -c1-12; }

# debian prints the name of an image with Debian and the packages of a node.
debian() {
  local image root
  image="pullsecrets/debian:$(digest <(echo "${suite}" "${packages}"))"
  if ! docker image inspect "${image}" > /dev/null 2>&1; then
    say "installing Debian for the node image"
    root="$(mktemp -d "${out}/.root-XXXXXX")"
    PATH="${out}/debian/usr/sbin:${PATH}" DEBOOTSTRAP_DIR="${out}/debian/usr/share/debootstrap" \
      debootstrap --variant=minbase --include="${packages}" "${suite}" "${root}" > "${out}/debootstrap.log" 2>&1 ||
      { say "debootstrap failed: see ${out}/debootstrap.log"; return 1; }
    rm -rf "${root}"/var/cache/apt/* "${root}"/var/lib/apt/lists/* "${root}"/usr/share/{doc,man,locale,info}/*
    tar -C "${root}" -c . | docker import - "${image}" > /dev/null
    rm -rf "${root}"
  fi
  echo "${image}"
}

# context fills the directory for docker build.
context() {
  local files="$1/files" kind
  kind="$(go -C test/tools list -m -f '{{.Dir}}' sigs.k8s.io/kind)/images/base/files"
  cp "${here}/Dockerfile" "${bin}/kind-node/netpol" "$1/"
  mkdir -p "${files}/usr/bin" "${files}/usr/local/bin" "${files}/etc/cni/net.d" "${files}/kind/manifests"
  cp -r --no-preserve=mode "${kind}/." "${files}/"
  chmod 755 "${files}"/usr/local/bin/* "${files}"/kind/bin/*
  # A machine that is itself a container may not lower the score.
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "${files}/etc/containerd/config.toml"
  cp "${bin}"/kind-node/{containerd,containerd-shim-runc-v2,ctr} "${files}/usr/local/bin/"
  cp "${bin}/kubernetes" "${files}/usr/bin/kubectl"
  cp "${bin}/node" "${files}/usr/bin/node"
  ln "${files}/usr/bin/node" "${files}/usr/bin/kubelet"
  ln "${files}/usr/bin/node" "${files}/usr/bin/kubeadm"
  install -m 755 "${here}/node/files/crictl" "${files}/usr/local/bin/crictl"
  cp "${here}/node/files/pods.conflist" "${files}/etc/cni/net.d/"
  cp "${here}/node/files/none.yaml" "${files}/kind/manifests/default-cni.yaml"
  cp "${here}/node/files/none.yaml" "${files}/kind/manifests/default-storage.yaml"
  echo "${kubernetes}" > "${files}/kind/version"
}

# static imports an image with programs: its entrypoint, then NAME=FILE.
static() {
  local image="$1" entrypoint="$2" root one
  root="$(mktemp -d "${out}/.image-XXXXXX")"
  shift 2
  mkdir -p "${root}/usr/local/bin"
  for one in "$@"; do
    ln "${one#*=}" "${root}/usr/local/bin/${one%%=*}" 2> /dev/null || cp "${one#*=}" "${root}/usr/local/bin/${one%%=*}"
  done
  tar -C "${root}" -c . | docker import --change "ENTRYPOINT [\"/usr/local/bin/${entrypoint}\"]" - "${image}" > /dev/null
  rm -rf "${root}"
}

# images makes the images that kubeadm expects and prints their names.
images() {
  local one component sandbox
  sandbox="$(awk -F'"' '/sandbox_image/ {print $2}' "$1/files/etc/containerd/config.toml")"
  static pullsecrets/control-plane kubernetes kubernetes="${bin}/kubernetes" kube-apiserver="${bin}/kubernetes" \
    kube-controller-manager="${bin}/kubernetes" etcd="${bin}/kubernetes"
  static pullsecrets/scheduler kube-scheduler kube-scheduler="${bin}/node"
  static pullsecrets/coredns coredns coredns="${bin}/kind-node/coredns"
  static "${sandbox}" app app="${bin}/app"
  echo "${sandbox}"
  # The list ends with its own version of pause.
  for one in $(cp "${bin}/node" "$1/kubeadm" && "$1/kubeadm" config images list --kubernetes-version "${kubernetes}"); do
    component="${one##*/}"
    case "${component%%:*}" in
      kube-apiserver | kube-controller-manager | etcd) docker tag pullsecrets/control-plane "${one}" ;;
      kube-scheduler) docker tag pullsecrets/scheduler "${one}" ;;
      kube-proxy) docker tag pullsecrets/proxy "${one}" ;;
      coredns) docker tag pullsecrets/coredns "${one}" ;;
      pause) docker tag "${sandbox}" "${one}" ;;
      *) say "kubeadm expects ${one}, which is unknown here" && return 1 ;;
    esac
    echo "${one}"
  done | sort -u
}

# preload stores images in a node image, as kind's own build does.
preload() {
  local base="$1" image="$2" container
  shift 2
  container="$(docker run --detach --privileged --entrypoint sleep "${base}" infinity)"
  docker exec --detach "${container}" containerd
  # shellcheck disable=SC2016 # The inner shell expands its argument.
  timeout 60 bash -c 'until docker exec "$0" ctr version > /dev/null 2>&1; do sleep 0.5; done' "${container}"
  docker save "$@" | docker exec --interactive "${container}" ctr --namespace k8s.io images import --no-unpack - > /dev/null
  docker exec "${container}" pkill containerd
  docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "${container}" "${image}" > /dev/null
  docker rm --force --volumes "${container}" > /dev/null
}

main() {
  local image dir base os names
  image="pullsecrets/node:${kubernetes}-$(digest test/controlplane/go.sum test/controlplane/*.go test/controlplane/node/*.go \
    ${here}/node/go.sum ${here}/node/*/*.go ${here}/node/files/* ${here}/Dockerfile ${here}/node-image.sh test/tools/go.mod)"
  if ! docker image inspect "${image}" > /dev/null 2>&1; then
    say "building the node image ${image}"
    go run ./test/env/cmd/cluster build kubernetes node app >&2
    mkdir -p "${bin}/kind-node"
    go -C ${here}/node build -tags=no_btrfs,no_devmapper,no_zfs,osusergo,netgo -ldflags='-s -w' -o "${bin}/kind-node/" \
      github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr} ./coredns ./netpol >&2
    os="$(debian)"
    dir="$(mktemp -d "${out}/.context-XXXXXX")"
    # shellcheck disable=SC2064 # Its name is known now.
    trap "rm -rf '${dir}'" EXIT
    context "${dir}"
    docker build --quiet --build-arg DEBIAN="${os}" --target node --tag pullsecrets/base "${dir}" > /dev/null
    docker build --quiet --build-arg DEBIAN="${os}" --target proxy --tag pullsecrets/proxy "${dir}" > /dev/null
    docker build --quiet --build-arg DEBIAN="${os}" --target netpol --tag pullsecrets/netpol "${dir}" > /dev/null
    mapfile -t names < <(images "${dir}")
    preload pullsecrets/base "${image}" pullsecrets/netpol "${names[@]}"
  fi
  echo "${image}"
}

main

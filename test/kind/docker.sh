#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# A Docker daemon for kind on a machine without one, or with one that cannot pull images.
#
#   test/kind/docker.sh check   report what is missing on this machine
#   test/kind/docker.sh up      start the daemon
#   test/kind/docker.sh down    stop it with all of its containers
#   test/kind/docker.sh pid     print the process whose namespaces it runs in
#
# The daemon comes from Debian's packages, which are unpacked below .cluster/kind and not
# installed. It runs in namespaces of its own for processes, mounts and network, whose
# first process ends everything in them. A Docker daemon of the machine is not touched.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The socket's name must be shorter than 108 bytes.
readonly out="${PWD}/.cluster/kind"
readonly debian="${out}/debian"
readonly dir="${out}/docker"
# Cgroups are the machine's, so the name is unique to the checkout.
cgroup="pullsecrets-kind-$(cksum <<< "${PWD}" | cut -d' ' -f1)"
readonly cgroup

# debootstrap builds the node image. The libraries are those that not every Debian has.
readonly packages=(
  docker.io containerd runc tini iptables nftables iproute2 debootstrap
  libdevmapper1.02.1 libip4tc2 libip6tc2 libxtables12 libmnl0 libnetfilter-conntrack3 libnfnetlink0 libnftnl11
  libnftables1 libjansson4 libgmp10 libedit2 libbsd0 libmd0 libbpf1 libelf1 libcap2 libseccomp2 libselinux1
)

# A kubelet sets these for the whole machine, and its Pods watch many files.
readonly watches=fs/inotify/max_user_instances
readonly tunables=(
  "${watches}"
  vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes
)

fail() {
  echo "docker: $*" >&2
  exit 1
}

check() {
  local missing=()
  [[ "$(uname -s)" == Linux ]] || missing+=("this is $(uname -s): the daemon needs Linux")
  [[ "$(id -u)" == 0 ]] || missing+=("only root can start a Docker daemon: use sudo")
  command -v apt-get > /dev/null || missing+=("apt-get is not there: the daemon and the node image are made of Debian's packages")
  command -v unshare > /dev/null || missing+=("unshare is not installed: it is in the package util-linux")
  command -v wget > /dev/null || missing+=("wget is not installed, and debootstrap needs it")
  if [[ "${#missing[@]}" == 0 ]] && ! unshare --fork --pid --mount --net true 2> /dev/null; then
    missing+=("root cannot create namespaces here: run this where it can, such as on a virtual machine")
  fi
  ((${#dir} < 90)) || missing+=("the path of the checkout is too long for a socket: move it")
  if [[ "${#missing[@]}" != 0 ]]; then
    printf 'docker: %s\n' "${missing[@]}" >&2
    exit 2
  fi
}

# unpack downloads the packages and unpacks them: completely or not at all.
unpack() {
  local next
  [[ -d "${debian}" ]] && return
  echo "downloading Docker from Debian"
  mkdir -p "${out}"
  rm -rf "${out}"/.debian-*
  next="$(mktemp -d "${out}/.debian-XXXXXX")"
  chmod 755 "${next}"
  (cd "${next}" && { apt-get download -q "${packages[@]}" || { apt-get update -q && apt-get download -q "${packages[@]}"; }; }) > "${out}/apt.log" 2>&1 ||
    fail "the packages cannot be downloaded: see ${out}/apt.log"
  local package
  for package in "${next}"/*.deb; do
    dpkg-deb --extract "${package}" "${next}"
    rm "${package}"
  done
  # The installation of the package would create these names.
  local name
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "${next}/usr/sbin/${name}"
  done
  mv "${next}" "${debian}"
}

# environment sets the search paths of the unpacked programs.
environment() {
  local lib
  export PATH="${debian}/usr/sbin:${debian}/usr/bin:${debian}/sbin:${debian}/bin:/usr/sbin:/sbin:${PATH}"
  for lib in "${debian}"/usr/lib/*-linux-gnu* "${debian}"/lib/*-linux-gnu*; do
    LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+${LD_LIBRARY_PATH}:}${lib}"
    if [[ -d "${lib}/xtables" ]]; then
      export XTABLES_LIBDIR="${lib}/xtables"
    fi
  done
  export LD_LIBRARY_PATH
}

up() {
  check
  if running; then
    return
  fi
  down
  unpack
  environment
  mkdir -p "${dir}"
  echo '{}' > "${dir}/daemon.json" # Otherwise it reads the one of the machine.
  save_tunables
  (($(< "/proc/sys/${watches}") >= 512)) || echo 512 > "/proc/sys/${watches}"
  [[ -e /lib/modules ]] || touch "${dir}/made-modules"
  local runtime=()
  # A privileged container gets all capabilities, and a machine that is itself a container
  # may lack one.
  if ! capable 24; then
    CGO_ENABLED=0 GOWORK=off GOFLAGS="-buildvcs=false -trimpath" go build -o .cluster/bin/kind-runtime ./test/kind/runtime
    runtime=(--add-runtime "restricted=${PWD}/.cluster/bin/kind-runtime" --default-runtime restricted)
  fi
  setsid unshare --fork --kill-child --pid --mount-proc --net --mount \
    "${BASH_SOURCE[0]}" inside "${runtime[@]}" > "${dir}/dockerd.log" 2>&1 < /dev/null &
  echo "$! $(started "$!")" > "${dir}/unshare.pid"
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if [[ -S "${dir}/docker.sock" ]] && client version > /dev/null 2>&1; then
      return
    fi
    running || fail "the daemon has stopped: see ${dir}/dockerd.log"
    sleep 0.2
  done
  fail "the daemon does not answer: see ${dir}/dockerd.log"
}

# capable reports whether root has the capability with this number here.
capable() {
  local bits
  bits="$(awk '$1 == "CapBnd:" {print $2}' /proc/self/status)"
  (((16#${bits} >> $1) & 1))
}

client() { docker --host "unix://${dir}/docker.sock" "$@"; }

# inside runs as the first process of the namespaces.
inside() {
  mount -t tmpfs tmpfs /run
  ip link set lo up
  echo 1 > /proc/sys/net/ipv4/ip_forward
  exec dockerd --host "unix://${dir}/docker.sock" --data-root "${dir}/lib" --exec-root /run/docker --pidfile /run/docker.pid \
    --config-file "${dir}/daemon.json" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${cgroup}" \
    --storage-driver overlay2 --oom-score-adjust 0 "$@"
}

# started prints when a process was started, in ticks since boot. Another process with the
# same number has another time.
started() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d' ' -f20; }

running() {
  local pid time
  [[ -r "${dir}/unshare.pid" ]] || return 1
  read -r pid time < "${dir}/unshare.pid"
  [[ -n "${time}" && "$(started "${pid}")" == "${time}" ]]
}

# pid prints the first process inside.
pid() {
  local outer
  running || fail "the daemon does not run"
  read -r outer _ < "${dir}/unshare.pid"
  pgrep --parent "${outer}"
}

save_tunables() {
  local name
  [[ -e "${dir}/tunables" ]] && return
  for name in "${tunables[@]}"; do
    [[ -r "/proc/sys/${name}" ]] && echo "${name} $(< "/proc/sys/${name}")"
  done > "${dir}/tunables"
}

down() {
  local outer name value group
  if running; then
    read -r outer _ < "${dir}/unshare.pid"
    kill -KILL "${outer}"
    while running; do sleep 0.1; done
  fi
  rm -f "${dir}/unshare.pid" "${dir}/docker.sock"
  if [[ -e "${dir}/tunables" ]]; then
    while read -r name value; do
      [[ "$(< "/proc/sys/${name}")" == "${value}" ]] || echo "${value}" > "/proc/sys/${name}"
    done < "${dir}/tunables"
    rm "${dir}/tunables"
  fi
  # Docker creates the directory for a bind mount of kind.
  if [[ -e "${dir}/made-modules" ]]; then
    [[ ! -d /lib/modules ]] || rmdir --ignore-fail-on-non-empty /lib/modules
    rm "${dir}/made-modules"
  fi
  # The kernel may take a moment to notice that a group is empty.
  # shellcheck disable=SC2016 # The inner shell expands its argument.
  for group in /sys/fs/cgroup/"${cgroup}" /sys/fs/cgroup/*/"${cgroup}"; do
    [[ -d "${group}" ]] || continue
    timeout 30 bash -c 'until find "$0" -depth -type d -exec rmdir {} + 2> /dev/null; do [[ -d "$0" ]] || break; sleep 0.1; done' "${group}" ||
      fail "the cgroup ${group} is not empty"
  done
}

case "${1:-}" in
  check | up | down | pid) "$1" ;;
  inside)
    shift
    inside "$@"
    ;;
  *)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac

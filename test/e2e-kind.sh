#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Runs the end-to-end suite on a kind cluster; "test/e2e-kind.sh help" says how.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly nodes=test/kind/nodes.yaml
readonly name=pullsecrets-e2e
readonly bin="${PWD}/.cluster/bin"
readonly out="${PWD}/.cluster/kind"

# The defaults are the versions of local clusters. Knative's module v0.50.1 is release
# 1.23.1: the minor versions differ by 27.
version_in() { awk -v module="$2" '$1 == module {print $2}' "$1"; }
knative_release() {
  local major minor patch
  IFS=. read -r major minor patch <<< "${1#v}"
  echo "$((major + 1)).$((minor - 27)).${patch}"
}
default="$(version_in test/controlplane/go.mod k8s.io/kubernetes)"
default="${default#v}"
readonly kubernetes_version="${KUBERNETES:-${default%.*}}"
readonly knative_version="${KNATIVE:-$(knative_release "$(version_in go.mod knative.dev/serving)")}"
node_image="$(awk -v minor="\"${kubernetes_version}\":" '$1 == minor {print $2}' "${nodes}")"
readonly node_image

# A separate kubeconfig protects the user's clusters. Only with docker does kind create
# a network that the registries can join.
export KUBECONFIG="${out}/kubeconfig"
export KIND_EXPERIMENTAL_PROVIDER=docker
# A workspace or flags of the caller must not change the build.
export GOFLAGS="-buildvcs=false -trimpath" GOWORK=off CGO_ENABLED=0

usage() {
  cat << EOF
test/e2e-kind.sh [all]     run the end-to-end suite on its own kind cluster, which is
                           deleted at the end, even after a failure
test/e2e-kind.sh STEP      run one step, after the steps before it:
    check                  report what is missing on this machine
    cluster                create the cluster
    registry               start two private registries that it pulls from
    knative                install Knative Serving, with Kourier as its ingress
    project                install the project: ko apply -f config/
    test                   run the suite; further arguments are for go test (-run TestPull)
    logs                   save the logs of cluster and registries to .cluster/kind/logs
    down                   delete the cluster and the registries

Environment variables:
    KUBERNETES=${kubernetes_version}        one of ${nodes}
    KNATIVE=${knative_version}         a release of Knative Serving
    KEEP=1                 the cluster stays up at the end, with this kubeconfig:
                           ${KUBECONFIG}
EOF
}

step() { echo "--- $*"; }

fail() {
  echo "e2e-kind: $*" >&2
  exit 1
}

# check reports everything that is missing before anything is built.
check() {
  missing=()
  # On other systems docker runs in a virtual machine, whose network is unreachable.
  [[ "$(uname -s)" == Linux ]] || lacks "this is $(uname -s), where addresses of docker's network cannot be reached: use Linux"
  command -v go > /dev/null || lacks "go is not installed: see https://go.dev/dl"
  command -v kubectl > /dev/null || lacks "kubectl is not installed: see https://kubernetes.io/docs/tasks/tools"
  command -v curl > /dev/null || lacks "curl is not installed: see https://curl.se"
  if command -v docker > /dev/null; then
    check_docker
  else
    lacks "docker is not installed: see https://docs.docker.com/engine/install (kind works with podman too, but not this script)"
  fi
  [[ -n "${node_image}" ]] || lacks "there is no node image for KUBERNETES=${kubernetes_version}: choose one of ${nodes}"
  [[ "${knative_version}" =~ ^1\.[0-9]+\.[0-9]+$ ]] || lacks "KNATIVE=${knative_version} is no release: write it like 1.23.0"
  if [[ "${#missing[@]}" != 0 ]]; then
    printf 'e2e-kind: %s\n' "${missing[@]}" >&2
    exit 2
  fi
}

check_docker() {
  local refusal endpoint cgroups memory rest controller
  if ! refusal="$(docker version 2>&1 > /dev/null)"; then
    lacks "docker's daemon does not answer: start it, or let this user use it (${refusal##*$'\n'})"
    return
  fi
  if ! endpoint="$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2> /dev/null)"; then
    lacks "docker is another program of that name here, perhaps podman: install Docker Engine"
    return
  fi
  [[ "${endpoint}" == unix://* ]] || lacks "docker's daemon is at ${endpoint}, and addresses of its network are not reached from here: use one of this machine"
  read -r cgroups memory rest <<< "$(docker info --format '{{.CgroupVersion}} {{.MemTotal}} {{.OperatingSystem}} {{.SecurityOptions}}')"
  case "${rest}" in
    *"Docker Desktop"*) lacks "Docker Desktop runs in a virtual machine, whose network is not reached from here: use Docker Engine" ;;
    *name=rootless*) lacks "docker's daemon is rootless, and its network is not reached from here: use one that runs as root" ;;
  esac
  ((memory >= 6 * 1024 ** 3)) || lacks "docker has $((memory / 1024 ** 2)) MiB of memory, and the cluster needs 6144: give it more"
  [[ "${cgroups}" == 2 ]] || lacks "docker uses cgroup v${cgroups}, which kubelets refuse: boot with systemd.unified_cgroup_hierarchy=1"
  if [[ -r /sys/fs/cgroup/cgroup.controllers ]]; then
    for controller in cpu cpuset memory pids; do
      grep -qw "${controller}" /sys/fs/cgroup/cgroup.controllers ||
        lacks "the cgroup controller ${controller} is not delegated to this machine, and a kubelet needs it: if this is a container, run it where that is"
    done
  fi
}

lacks() { missing+=("$1"); }

no_cluster() {
  build_kind
  if "${bin}/kind" get clusters 2> /dev/null | grep -x "${name}" > /dev/null; then
    fail "the cluster ${name} already exists: continue with the next step, or delete it with \"test/e2e-kind.sh down\""
  fi
}

cluster() {
  no_cluster
  step "Creating a cluster with Kubernetes ${kubernetes_version}"
  mkdir -p "${out}"
  "${bin}/kind" create cluster --name "${name}" --image "${node_image}" --config test/kind/cluster.yaml --wait 5m \
    --retain # Keep a failed cluster for its logs; "down" deletes it.
}

build_kind() {
  mkdir -p "${bin}"
  go -C test/tools build -o "${bin}/" sigs.k8s.io/kind
}

registry() {
  step "Starting two private registries"
  build_kind
  # The two programs are static, so their image needs no base image.
  mkdir -p "${out}/image"
  go -C test/tools build -o "${out}/image/registry" ./registry
  go build -o "${out}/image/app" ./test/env/images/app
  tar -C "${out}/image" -c registry app |
    docker import --change 'ENTRYPOINT ["/registry"]' - "${name}-registry" > /dev/null

  local main other host node
  REGISTRY_PASSWORD="$(< /proc/sys/kernel/random/uuid)"
  export REGISTRY_PASSWORD
  start_registry main
  start_registry other
  main="$(address_of main)"
  other="$(address_of other)"
  for host in "${main}" "${other}"; do
    curl --noproxy '*' --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused "http://${host}/health"
    # containerd uses plain HTTP only for configured hosts.
    for node in $("${bin}/kind" get nodes --name "${name}"); do
      docker exec --interactive "${node}" sh -c "mkdir -p '/etc/containerd/certs.d/${host}' && cat > '/etc/containerd/certs.d/${host}/hosts.toml'" \
        <<< "server = \"http://${host}\""
    done
  done

  # The suite reads the first file, and ko pushes with the second.
  mkdir -p "${out}/docker"
  touch "${out}/registries.json" "${out}/docker/config.json"
  chmod 600 "${out}/registries.json" "${out}/docker/config.json"
  cat > "${out}/registries.json" << EOF
{
  "main": {"host": "${main}", "url": "http://${main}", "password": "${REGISTRY_PASSWORD}"},
  "other": {"host": "${other}", "url": "http://${other}", "password": "${REGISTRY_PASSWORD}"}
}
EOF
  cat > "${out}/docker/config.json" << EOF
{"auths": {"${main}": {"username": "admin", "password": "${REGISTRY_PASSWORD}"}}}
EOF
}

start_registry() {
  docker rm --force --volumes "${name}-$1" > /dev/null 2>&1 || true # from an earlier run
  docker run --detach --name "${name}-$1" --network kind --env REGISTRY_PASSWORD --tmpfs /blobs \
    "${name}-registry" -listen :5000 -blobs /blobs -image public/app=/app > /dev/null
}

# address_of prints the address of a registry for nodes, Pods and this machine. It is a
# private address, so Knative's controller and ko use plain HTTP.
address_of() {
  local ip
  ip="$(docker inspect --format '{{.NetworkSettings.Networks.kind.IPAddress}}' "${name}-$1")"
  [[ -n "${ip}" ]] || fail "the registry is not running: see \"docker logs ${name}-$1\""
  [[ "${ip}" =~ ^(10|192\.168|172\.(1[6-9]|2[0-9]|3[01]))\. ]] ||
    fail "docker's network kind has the address ${ip}, which is not in RFC 1918: delete that network and configure other default-address-pools in docker"
  echo "${ip}:5000"
}

knative() {
  step "Installing Knative Serving ${knative_version} and Kourier"
  # Kourier has its own patch releases; each minor version has a .0.
  local serving="https://github.com/knative/serving/releases/download/knative-v${knative_version}"
  local kourier="https://github.com/knative-extensions/net-kourier/releases/download/knative-v${knative_version%.*}.0"
  kubectl apply -f "${serving}/serving-crds.yaml"
  kubectl wait crd --all --for=condition=Established --timeout=1m
  kubectl apply -f "${serving}/serving-core.yaml"
  wait_for knative-serving
  kubectl apply -f "${kourier}/kourier.yaml"
  knative_setting config-network ingress-class kourier.ingress.networking.knative.dev
  knative_setting config-domain example.com ""
  knative_setting config-deployment registries-skipping-tag-resolving "$(paste -sd, test/env/unreachable-registries)"
  # Tests wait for Revisions to scale to zero.
  knative_setting config-autoscaler scale-to-zero-grace-period 6s
  wait_for knative-serving
  wait_for kourier-system
}

knative_setting() {
  kubectl -n knative-serving patch configmap "$1" --type=merge --patch "{\"data\": {\"$2\": \"$3\"}}"
}

# wait_for waits for the rollout of the Deployments of a namespace, and until all webhooks
# have a CA bundle, which their own programs write.
wait_for() {
  local deployment
  for deployment in $(kubectl -n "$1" get deployments --output=name); do
    kubectl -n "$1" rollout status "${deployment}" --timeout=5m
  done
  kubectl wait mutatingwebhookconfigurations,validatingwebhookconfigurations --all \
    --for=jsonpath='{.webhooks[0].clientConfig.caBundle}' --timeout=2m
}

project() {
  step "Installing the project"
  go -C test/tools build -o "${bin}/" github.com/google/ko
  local repository
  repository="$(address_of main)/public"
  DOCKER_CONFIG="${out}/docker" KO_DOCKER_REPO="${repository}" \
    "${bin}/ko" apply --platform="linux/$(go env GOARCH)" -f config/
  wait_for pullsecrets-system
  # Pods become ready before kube-proxy has programmed their addresses.
  timeout 60 bash -c 'until kubectl apply --dry-run=server -f config/400-config-pullsecrets.yaml; do sleep 1; done'
}

suite() {
  step "Running the suite"
  test/e2e.sh "$@"
}

logs() {
  step "Saving the logs to ${out}/logs"
  build_kind
  mkdir -p "${out}/logs"
  "${bin}/kind" export logs --name "${name}" "${out}/logs"
  local one
  for one in main other; do
    docker logs "${name}-${one}" > "${out}/logs/registry-${one}.log" 2>&1
  done
}

down() {
  step "Deleting the cluster and the registries"
  docker rm --force --volumes "${name}-main" "${name}-other" > /dev/null 2>&1 || true
  docker image rm "${name}-registry" > /dev/null 2>&1 || true
  build_kind
  "${bin}/kind" delete cluster --name "${name}"
  rm -rf "${out}/image" "${out}/docker" "${out}/registries.json" "${KUBECONFIG}"
}

all() {
  # Never delete a cluster that already exists.
  no_cluster
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  cluster
  registry
  knative
  project
  suite
}

# finish runs when "all" ends for any reason, and keeps its exit status.
finish() {
  local status=$?
  trap - EXIT
  [[ "${status}" == 0 ]] || logs || true
  if [[ -n "${KEEP:-}" ]]; then
    echo "e2e-kind: the cluster stays up: export KUBECONFIG=${KUBECONFIG}"
  else
    down
  fi
  exit "${status}"
}

command="${1:-all}"
[[ $# == 0 ]] || shift
case "${command}" in
  help | -h | --help) usage ;;
  check) check ;;
  # These must work even if something is missing now.
  logs | down) "${command}" ;;
  all | cluster | registry | knative | project)
    check
    "${command}"
    ;;
  test)
    check
    suite "$@"
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Runs the end-to-end suite on a kind cluster; "test/e2e-kind.sh help" says how.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root="${PWD}"
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
knative_default="$(knative_release "$(version_in go.mod knative.dev/serving)")"
readonly knative_version="${KNATIVE:-${knative_default}}"
node_image="$(awk -v minor="\"${kubernetes_version}\":" '$1 == minor {print $2}' "${nodes}")"

# Whether Docker is the one of test/kind/docker.sh is decided once per cluster.
own() { [[ -e "${out}/own" ]]; }

# A separate kubeconfig protects the user's clusters. Only with docker does kind create
# a network that the registries can join.
export KUBECONFIG="${out}/kubeconfig"
export KIND_EXPERIMENTAL_PROVIDER=docker
use_docker() {
  if own; then
    export DOCKER_HOST="unix://${out}/docker/docker.sock"
  fi
}
use_docker
# kubectl is built with the version of local clusters.
export PATH="${bin}:${PATH}"
# A workspace or flags of the caller must not change the build.
export GOFLAGS="-buildvcs=false -trimpath" GOWORK=off CGO_ENABLED=0

usage() {
  cat << EOF
test/e2e-kind.sh [all]     run the end-to-end suite on its own kind cluster, which is
                           deleted at the end, even after a failure
test/e2e-kind.sh up        only create the cluster with everything installed, and keep it
test/e2e-kind.sh STEP      run one step, after the steps before it:
    check                  report what is missing on this machine, and which Docker is used
    build                  build everything that needs the internet later
    cluster                create the cluster
    registry               start the private registries that it pulls from
    knative                install Knative Serving and an ingress
    project                install the project: ko apply -f config/
    test                   run the suite; further arguments are for it (-run TestPull)
    exec COMMAND           run a command, such as kubectl, where the cluster is reached
    logs                   save the logs of cluster and registries to .cluster/kind/logs
    down                   delete the cluster and the registries

Where the machine's Docker can pull the node image, the cluster runs there, with releases of
Knative and Kourier. Otherwise, as root on Debian, everything is built from Go modules and
Debian packages, and Docker runs in namespaces of its own (test/kind/docker.sh). Then the
ingress is a stand-in, and the cluster has the versions of local clusters.

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

# check reports everything that is missing before anything is built, and which Docker is
# used.
check() {
  missing=()
  command -v go > /dev/null || lacks "go is not installed: see https://go.dev/dl"
  command -v curl > /dev/null || lacks "curl is not installed: see https://curl.se"
  [[ "${knative_version}" =~ ^1\.[0-9]+\.[0-9]+$ ]] || lacks "KNATIVE=${knative_version} is no release: write it like 1.23.0"
  choose_docker
  if [[ "${#missing[@]}" != 0 ]]; then
    printf 'e2e-kind: %s\n' "${missing[@]}" >&2
    exit 2
  fi
}

# choose_docker decides which Docker is used, unless a cluster exists. An own daemon is
# the second choice.
choose_docker() {
  local others=("${missing[@]}") reasons refusal line
  [[ ! -e "${KUBECONFIG}" ]] || return 0
  if own; then
    rm "${out}/own"
    unset DOCKER_HOST
  fi
  missing=()
  check_docker
  if [[ "${#missing[@]}" == 0 ]]; then
    echo "Docker is the machine's"
    missing=("${others[@]}")
    return
  fi
  reasons=("${missing[@]}")
  if refusal="$(test/kind/docker.sh check 2>&1)"; then
    [[ "${kubernetes_version}" == "${default%.*}" && "${knative_version}" == "${knative_default}" ]] ||
      others+=("an own Docker runs only the versions of local clusters, Kubernetes ${default%.*} and Knative ${knative_default}")
    printf 'The machine cannot be used: %s\n' "${reasons[@]}"
    echo "Docker is an own one, in namespaces of its own, and everything is built from source"
    mkdir -p "${out}"
    touch "${out}/own"
    missing=("${others[@]}")
  else
    missing=("${others[@]}" "${reasons[@]}")
    while read -r line; do lacks "without the machine's Docker: ${line#docker: }"; done <<< "${refusal}"
  fi
}

# check_docker reports why the machine's Docker cannot be used.
check_docker() {
  local refusal endpoint cgroups memory cpus rest controller instances
  # On other systems docker runs in a virtual machine, whose network is unreachable.
  [[ "$(uname -s)" == Linux ]] || lacks "this is $(uname -s), where addresses of docker's network cannot be reached: use Linux"
  [[ -n "${node_image}" ]] || lacks "there is no node image for KUBERNETES=${kubernetes_version}: choose one of ${nodes}"
  if ! command -v docker > /dev/null; then
    lacks "docker is not installed: see https://docs.docker.com/engine/install (kind works with podman too, but not this script)"
    return
  fi
  if ! refusal="$(docker version 2>&1 > /dev/null)"; then
    lacks "docker's daemon does not answer: start it, or let this user use it (${refusal##*$'\n'})"
    return
  fi
  if ! endpoint="$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2> /dev/null)"; then
    lacks "docker is another program of that name here, perhaps podman: install Docker Engine"
    return
  fi
  [[ "${endpoint}" == unix://* ]] || lacks "docker's daemon is at ${endpoint}, and addresses of its network are not reached from here: use one of this machine"
  read -r cgroups memory cpus rest <<< "$(docker info --format '{{.CgroupVersion}} {{.MemTotal}} {{.NCPU}} {{.OperatingSystem}} {{.SecurityOptions}}')"
  case "${rest}" in
    *"Docker Desktop"*) lacks "Docker Desktop runs in a virtual machine, whose network is not reached from here: use Docker Engine" ;;
    *name=rootless*) lacks "docker's daemon is rootless, and its network is not reached from here: use one that runs as root" ;;
  esac
  ((memory >= 6 * 1024 ** 3)) || lacks "docker has $((memory / 1024 ** 2)) MiB of memory, and the cluster needs 6144: give it more"
  # Requests of the control plane, Knative, Kourier and the tests add up to more than three.
  ((cpus >= 4)) || lacks "docker has ${cpus} CPUs, and Pods of the cluster request 4: give it more"
  instances="$(sysctl -n fs.inotify.max_user_instances 2> /dev/null || echo 512)"
  ((instances >= 256)) || lacks "fs.inotify.max_user_instances is ${instances}, which the Pods use up: set it to 512 with sysctl"
  [[ "${cgroups}" == 2 ]] || lacks "docker uses cgroup v${cgroups}, which node images no longer support: boot with systemd.unified_cgroup_hierarchy=1"
  if [[ -r /sys/fs/cgroup/cgroup.controllers ]]; then
    for controller in cpu cpuset memory pids; do
      grep -qw "${controller}" /sys/fs/cgroup/cgroup.controllers ||
        lacks "the cgroup controller ${controller} is not delegated to this machine, and a kubelet needs it: if this is a container, run it where that is"
    done
  fi
  if [[ "${#missing[@]}" == 0 ]] && ! docker image inspect "${node_image}" > /dev/null 2>&1; then
    refusal="$(docker pull --quiet "${node_image}" 2>&1)" || lacks "docker cannot pull ${node_image} (${refusal##*$'\n'})"
  fi
}

lacks() { missing+=("$1"); }

no_cluster() {
  build_kind
  if "${bin}/kind" get clusters 2> /dev/null | grep -x "${name}" > /dev/null; then
    fail "the cluster ${name} already exists: continue with the next step, or delete it with \"test/e2e-kind.sh down\""
  fi
}

# build builds and downloads everything: an own Docker has no access to the internet.
build() {
  build_kind
  step "Building the programs"
  go run ./test/env/cmd/cluster build kubernetes registry app ko
  if own; then
    test/kind/docker.sh up
    use_docker
    test/kind/node-image.sh > "${out}/node-image"
    go -C test/knative list -deps tool > /dev/null # Downloads the modules; ko compiles them.
  fi
  go run ./test/suite -build
}

cluster() {
  no_cluster
  build
  if own; then
    node_image="$(< "${out}/node-image")"
  fi
  step "Creating a cluster with Kubernetes ${kubernetes_version}"
  # The API server appends to this file. Otherwise only root could read it.
  mkdir -p "${out}/audit"
  install -m 666 /dev/null "${out}/audit/audit.log"
  "${bin}/kind" create cluster --name "${name}" --image "${node_image}" --config test/kind/cluster.yaml --wait 5m \
    --retain # Keep a failed cluster for its logs; "down" deletes it.
  # kind only warns if the node does not become Ready.
  reach kubectl wait nodes --all --for=condition=Ready --timeout=30s
}

# reach runs a command where addresses of Docker's network are reached.
reach() {
  if own; then
    nsenter --target "$("${root}/test/kind/docker.sh" pid)" --net -- "$@"
  else
    "$@"
  fi
}

build_kind() {
  mkdir -p "${bin}" "${out}"
  go -C test/tools build -o "${bin}/" sigs.k8s.io/kind
}

registry() {
  local one host node main other hub
  step "Starting the private registries"
  # The two programs are static, so their image needs no base image.
  tar -C "${bin}" -c registry app |
    docker import --change 'ENTRYPOINT ["/registry"]' - "${name}-registry" > /dev/null
  # Go's own program issues a certificate for Docker Hub's names: the first is the one of
  # tag resolution in Knative's controller, the second of pulls by container runtimes.
  mkdir -p "${out}/hub" "${out}/docker"
  (cd "${out}/hub" && go run "$(go env GOROOT)/src/crypto/tls/generate_cert.go" --ca --ecdsa-curve P256 --host index.docker.io,registry-1.docker.io 2> /dev/null)

  REGISTRY_PASSWORD="$(< /proc/sys/kernel/random/uuid)"
  export REGISTRY_PASSWORD
  start_registry main
  start_registry other
  start_registry hub -listen-tls :443 -tls-cert /hub/cert.pem -tls-key /hub/key.pem
  main="$(address_of main)" other="$(address_of other)" hub="$(address_of hub)"
  for host in "${main}" "${other}" "${hub}"; do
    reach curl --noproxy '*' --silent --show-error --fail --retry 30 --retry-delay 1 --retry-connrefused "http://${host}/health"
  done
  for node in $("${bin}/kind" get nodes --name "${name}"); do
    # containerd uses plain HTTP only for configured hosts.
    for host in "${main}" "${other}" "${hub}"; do
      on_node "${node}" "${host}/hosts.toml" <<< "server = \"http://${host}\""
    done
    on_node "${node}" docker.io/ca.pem < "${out}/hub/cert.pem"
    on_node "${node}" docker.io/hosts.toml << EOF
server = "https://registry-1.docker.io"
ca = "/etc/containerd/certs.d/docker.io/ca.pem"
EOF
    docker exec "${node}" sh -c "echo '${hub%:*} registry-1.docker.io index.docker.io' >> /etc/hosts"
  done

  # The suite reads the first file, and ko pushes with the second.
  touch "${out}/registries.json" "${out}/docker/config.json"
  chmod 600 "${out}/registries.json" "${out}/docker/config.json"
  cat > "${out}/registries.json" << EOF
{
  "main": {"host": "${main}", "url": "http://${main}", "password": "${REGISTRY_PASSWORD}"},
  "other": {"host": "${other}", "url": "http://${other}", "password": "${REGISTRY_PASSWORD}"},
  "hub": {"host": "docker.io", "url": "http://${hub}", "password": "${REGISTRY_PASSWORD}"}
}
EOF
  cat > "${out}/docker/config.json" << EOF
{"auths": {"${hub}": {"username": "admin", "password": "${REGISTRY_PASSWORD}"}}}
EOF
}

# on_node writes a file below containerd's configuration of registries.
on_node() {
  docker exec --interactive "$1" sh -c "mkdir -p \"\$(dirname '/etc/containerd/certs.d/$2')\" && cat > '/etc/containerd/certs.d/$2'"
}

start_registry() {
  docker rm --force --volumes "${name}-$1" > /dev/null 2>&1 || true # from an earlier run
  docker run --detach --name "${name}-$1" --network kind --env REGISTRY_PASSWORD --tmpfs /blobs --volume "${out}/hub:/hub:ro" \
    "${name}-registry" -listen :5000 -blobs /blobs -image public/base -image public/app=/app "${@:2}" > /dev/null
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
  step "Installing Knative Serving ${knative_version}"
  if own; then
    knative_from_source
  else
    knative_from_releases
  fi
  trust_hub
  knative_setting config-domain example.com ""
  knative_setting config-deployment registries-skipping-tag-resolving "$(grep -v docker.io test/env/unreachable-registries | paste -sd,)"
  # Tests wait for Revisions to scale to zero.
  knative_setting config-autoscaler scale-to-zero-grace-period 6s
  # A probe may take a second, which is little while hundreds of Pods start on two CPUs. A
  # webhook that is not ready for that reason would reject everything.
  local program
  for program in webhook controller autoscaler activator; do
    reach kubectl -n knative-serving patch deployment "${program}" --patch "
spec:
  template:
    spec:
      containers:
        - name: ${program}
          readinessProbe: {timeoutSeconds: 10}
          livenessProbe: {timeoutSeconds: 10}"
  done
  wait_for knative-serving
}

knative_from_releases() {
  # Kourier has its own patch releases; each minor version has a .0.
  local serving="https://github.com/knative/serving/releases/download/knative-v${knative_version}"
  local kourier="https://github.com/knative-extensions/net-kourier/releases/download/knative-v${knative_version%.*}.0"
  kubectl apply -f "${serving}/serving-crds.yaml"
  kubectl wait crd --all --for=condition=Established --timeout=1m
  kubectl apply -f "${serving}/serving-core.yaml"
  wait_for knative-serving
  kubectl apply -f "${kourier}/kourier.yaml"
  knative_setting config-network ingress-class kourier.ingress.networking.knative.dev
  wait_for kourier-system
}

# knative_from_source builds Knative, and a stand-in for an ingress. Its manifests are
# those of local clusters, see knativeManifests in test/env.
knative_from_source() {
  local core networking caching
  core="$(go -C test/knative list -m -f '{{.Dir}}' knative.dev/serving)/config/core"
  networking="$(go -C test/knative list -m -f '{{.Dir}}' knative.dev/networking)/config"
  caching="$(go -C test/knative list -m -f '{{.Dir}}' knative.dev/caching)/config/image.yaml"
  reach kubectl apply -f "${core}/100-namespace.yaml" -f "${core}/300-resources" -f "${networking}" -f "${caching}"
  reach kubectl wait crd --all --for=condition=Established --timeout=1m
  (cd test/knative && ko resolve -f "${core}" -f "${core}/200-roles" -f "${core}/configmaps" -f "${core}/deployments" -f "${core}/webhooks") |
    modest > "${out}/knative.yaml"
  reach kubectl apply -f "${out}/knative.yaml"
  wait_for knative-serving
  ko apply -f test/kind/ingress.yaml
  knative_setting config-network ingress-class stand-in.ingress.networking.knative.dev
}

# trust_hub makes the registry hub Docker Hub for tag resolution too.
trust_hub() {
  reach kubectl -n knative-serving create configmap hub --from-file="${out}/hub/cert.pem" --dry-run=client --output=yaml | reach kubectl apply -f -
  reach kubectl -n knative-serving patch deployment controller --patch "
spec:
  template:
    spec:
      hostAliases: [{ip: $(address_of hub | cut -d: -f1), hostnames: [index.docker.io]}]
      volumes: [{name: hub, configMap: {name: hub}}]
      containers:
        - name: controller
          env: [{name: SSL_CERT_DIR, value: '/etc/ssl/certs:/hub'}]
          volumeMounts: [{name: hub, mountPath: /hub}]"
}

# modest lowers the CPUs that Pods request: two have to do.
modest() { awk '/^ *(requests|limits):/ {requests = /requests/} requests && /^ *cpu:/ {sub(/cpu:.*/, "cpu: 10m")} {print}'; }

# ko runs ko with a registry of the cluster, under an address for which tests have no
# credentials. An own Docker has no other base images.
ko() {
  local base=() repository
  repository="$(address_of hub)/public"
  ! own || base=(KO_DEFAULTBASEIMAGE="${repository}/base:1")
  reach env DOCKER_CONFIG="${out}/docker" KO_DOCKER_REPO="${repository}" GOFLAGS=-buildvcs=false "${base[@]}" \
    "${bin}/ko" "$1" --platform="linux/$(go env GOARCH)" "${@:2}"
}

# knative_setting changes a ConfigMap. Right after its rollout the webhook is not always
# reached.
knative_setting() {
  local patch="{\"data\": {\"$2\": \"$3\"}}" tries
  for ((tries = 0; tries < 60; tries++)); do
    if reach kubectl -n knative-serving patch configmap "$1" --type=merge --patch "${patch}"; then
      return
    fi
    sleep 1
  done
  fail "Knative's webhook does not accept the setting $2"
}

# wait_for waits for the rollout of the Deployments of a namespace, and until all webhooks
# have a CA bundle, which their own programs write.
wait_for() {
  local deployment
  for deployment in $(reach kubectl -n "$1" get deployments --output=name); do
    reach kubectl -n "$1" rollout status "${deployment}" --timeout=5m
  done
  reach kubectl wait mutatingwebhookconfigurations,validatingwebhookconfigurations --all \
    --for=jsonpath='{.webhooks[0].clientConfig.caBundle}' --timeout=2m
}

project() {
  local tries
  step "Installing the project"
  # The suite installs it again.
  ko resolve -f config/ > "${out}/project.yaml"
  # Kubernetes has the kind of these policies since 1.36.
  ! reach kubectl get --raw /apis/admissionregistration.k8s.io/v1 | grep '"mutatingadmissionpolicies"' > /dev/null || sed -s '1i---' config/outage/*.yaml >> "${out}/project.yaml"
  reach kubectl apply -f "${out}/project.yaml"
  wait_for pullsecrets-system
  # Pods become ready before kube-proxy has programmed their addresses.
  for ((tries = 0; tries < 60; tries++)); do
    if reach kubectl apply --dry-run=server -f config/400-config-pullsecrets.yaml; then
      return
    fi
    sleep 1
  done
  fail "the webhook is not reached"
}

suite() {
  step "Running the suite"
  go run ./test/suite -enter "$(if own; then test/kind/docker.sh pid; fi)" "$@"
}

logs() {
  step "Saving the logs to ${out}/logs"
  build_kind
  rm -rf "${out}/logs"
  mkdir -p "${out}/logs"
  "${bin}/kind" export logs --name "${name}" "${out}/logs"
  local one
  for one in main other hub; do
    docker logs "${name}-${one}" > "${out}/logs/registry-${one}.log" 2>&1
  done
}

down() {
  step "Deleting the cluster and the registries"
  build_kind
  if ! own || test/kind/docker.sh pid > /dev/null 2>&1; then
    docker rm --force --volumes "${name}-main" "${name}-other" "${name}-hub" > /dev/null 2>&1 || true
    docker image rm "${name}-registry" > /dev/null 2>&1 || true
    "${bin}/kind" delete cluster --name "${name}"
  fi
  ! own || test/kind/docker.sh down
  rm -rf "${out}/docker/config.json" "${out}/registries.json" "${out}/project.yaml" "${KUBECONFIG}" "${out}/audit" "${out}/hub" "${out}/own"
}

# up is all without the suite. What it has created stays, also after a failure.
up() {
  cluster
  registry
  knative
  project
  echo "The cluster is up: \"test/e2e-kind.sh exec kubectl get pods -A\" reaches it, and \"test/e2e-kind.sh down\" deletes it"
}

all() {
  # Never delete a cluster that already exists.
  if ! own || test/kind/docker.sh pid > /dev/null 2>&1; then
    no_cluster
  fi
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  up
  suite "$@"
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
  exec) reach "$@" ;;
  up | build | cluster | registry | knative | project)
    check
    "${command}"
    ;;
  all)
    check
    all "$@"
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

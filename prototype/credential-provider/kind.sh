#!/usr/bin/env bash
# Copyright The Pull Secrets for Knative Authors
# SPDX-License-Identifier: Apache-2.0

# Shows the prototype on the kind cluster of "make kind", with real pulls. It fails if one of the
# results differs from what the README says. It changes the cluster and undoes nothing.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly here=prototype/credential-provider
readonly out="${PWD}/.cluster/kind"
readonly bin="${PWD}/.cluster/bin"
readonly robot=robot             # the user of the registry
readonly granted=provider-team   # a namespace that is granted the credential, and asks for it
readonly stranger=provider-other # one that asks for it, and is granted nothing
readonly work="${out}/credential-provider"

export GOFLAGS="-buildvcs=false -trimpath" GOWORK=off CGO_ENABLED=0

step() { printf '\n--- %s\n' "$*"; }
shown() { echo "SHOWN: $*"; }

fail() {
  echo "credential-provider: $*" >&2
  echo "The server's log:" >&2
  kubectl -n pullsecrets-system logs deployment/credential-provider --tail=20 >&2 || true
  exit 1
}

# in_cluster runs a command where the cluster is reached, with the cluster's kubectl and docker.
in_cluster() { test/e2e-kind.sh exec "$@"; }
kubectl() { in_cluster kubectl "$@"; }
# on_node runs a command on a node, which is a container.
on_node() { in_cluster docker exec --interactive "$@"; }
# images makes private images and users, see images/main.go.
images() { in_cluster "${bin}/credential-provider-images" "$@"; }

# eventually repeats a command until it succeeds, for three minutes.
eventually() {
  local tries
  for ((tries = 0; tries < 90; tries++)); do
    if "$@" > /dev/null 2>&1; then
      return
    fi
    sleep 2
  done
  fail "timeout: $*"
}

# registry_of prints the address of a registry, from the file that test/e2e-kind.sh writes.
registry_of() { sed -n "s|.*\"$1\": {.*\"url\": \"http://\([^\"]*\)\".*|\1|p" "${out}/registries.json"; }

# docker_config prints a docker config with a password of the robot.
docker_config() { printf '{"auths": {"%s": {"username": "%s", "password": "%s"}}}' "${main}" "${robot}" "$1"; }

# keep writes a Secret with a docker config.
keep() { # NAMESPACE NAME KEY TYPE PASSWORD
  docker_config "$5" > "${work}/config.json"
  kubectl -n "$1" create secret generic "$2" --type="$4" --from-file="$3=${work}/config.json" --dry-run=client --output=yaml |
    kubectl apply -f -
  rm "${work}/config.json"
}

# pod creates a Pod that pulls an image, even if it is on the node.
pod() { # NAMESPACE NAME IMAGE
  kubectl -n "$1" delete pod "$2" --ignore-not-found --wait
  kubectl -n "$1" apply -f - << EOF
apiVersion: v1
kind: Pod
metadata:
  name: $2
spec:
  containers:
    - name: app
      image: $3
      imagePullPolicy: Always
      env: [{name: PORT, value: "8080"}]
EOF
}

pulled() { # NAMESPACE POD
  [[ -n "$(kubectl -n "$1" get pod "$2" --output=jsonpath='{.status.containerStatuses[0].imageID}')" ]]
}

rejected() { # NAMESPACE POD
  kubectl -n "$1" get pod "$2" --output=jsonpath='{.status.containerStatuses[0].state.waiting.message}' | grep -E '401|nauthorized|authorization failed'
}

no_secrets() { # NAMESPACE
  local found
  found="$(kubectl -n "$1" get secrets --output=name)"
  [[ -z "${found}" ]] || fail "namespace $1 has ${found}"
  found="$(kubectl -n "$1" get serviceaccount default --output=jsonpath='{.imagePullSecrets}')"
  [[ -z "${found}" ]] || fail "ServiceAccount default of namespace $1 lists ${found}"
}

# read_by_robot fails unless the registry let the robot, and nobody else, read a repository.
read_by_robot() { # REPOSITORY
  images reads "$1" | sed 's/^/    /'
  images reads "$1" | grep "user=\"${robot}\" status=200" > /dev/null || fail "the registry did not let ${robot} read $1"
  ! images reads "$1" | grep "status=200" | grep -v "user=\"${robot}\"" || fail "the registry let somebody else read $1"
}

stopped() { # COMPONENT
  [[ -z "$(kubectl -n pullsecrets-system get pods --selector="app.kubernetes.io/component=$1" --output=name)" ]]
}

build() {
  step "Building the plugin and a tool for images"
  go build -o "${bin}/pullsecrets-credential-provider" "./${here}/plugin"
  go build -o "${bin}/credential-provider-images" "./${here}/images"
}

grant() {
  step "Granting a private image to the namespace ${granted}, with the installed project"
  images user "${robot}" first "${robot}/"
  keep pullsecrets-sources "${robot}" .dockerconfigjson kubernetes.io/dockerconfigjson first
  kubectl -n pullsecrets-system scale deployment controller webhook --replicas=1
  kubectl -n pullsecrets-system rollout status deployment controller --timeout=3m
  kubectl -n pullsecrets-system rollout status deployment webhook --timeout=3m
  cat > "${work}/clusterpullsecret.yaml" << EOF
apiVersion: pullsecrets.dev/v1alpha1
kind: ClusterPullSecret
metadata:
  name: ${robot}
spec:
  secretRef: {namespace: pullsecrets-sources, name: ${robot}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ${granted}}}
EOF
  # Right after its rollout the webhook is not always reached.
  eventually kubectl apply -f "${work}/clusterpullsecret.yaml"
  kubectl wait clusterpullsecrets.pullsecrets.dev "${robot}" --for=condition=Ready --timeout=2m
}

stop_project() {
  step "Stopping controller and webhook, which would copy the credential"
  kubectl -n pullsecrets-system scale deployment controller webhook --replicas=0
  eventually stopped controller
  eventually stopped webhook
  local namespace
  for namespace in "${granted}" "${stranger}"; do
    kubectl delete namespace "${namespace}" --ignore-not-found --wait
    kubectl apply -f - << EOF
apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  annotations: {pullsecrets.dev/secrets: ${robot}}
EOF
    eventually kubectl -n "${namespace}" get serviceaccount default
  done
}

install_server() {
  local hub base=()
  step "Installing the server"
  hub="$(registry_of hub)"
  ! [[ -e "${out}/own" ]] || base=(KO_DEFAULTBASEIMAGE="${hub}/public/base:1")
  in_cluster env DOCKER_CONFIG="${out}/docker" KO_DOCKER_REPO="${hub}/public" "${base[@]}" \
    "${bin}/ko" apply --platform="linux/$(go env GOARCH)" -f "${here}/manifests"
  kubectl -n pullsecrets-system rollout status deployment credential-provider --timeout=3m
  eventually kubectl -n pullsecrets-system get configmap credential-provider-ca
}

install_plugin() {
  local node address
  address="$(kubectl -n pullsecrets-system get service credential-provider --output=jsonpath='{.spec.clusterIP}')"
  for node in $(kubectl get nodes --output=jsonpath='{.items[*].metadata.name}'); do
    step "Installing the plugin on node ${node}, and restarting its kubelet"
    on_node "${node}" mkdir -p /etc/pullsecrets/bin
    # A running program cannot be overwritten, but replaced.
    on_node "${node}" sh -c 'cat > /etc/pullsecrets/bin/.next && chmod 755 /etc/pullsecrets/bin/.next && mv /etc/pullsecrets/bin/.next /etc/pullsecrets/bin/pullsecrets-credential-provider' < "${bin}/pullsecrets-credential-provider"
    kubectl -n pullsecrets-system get configmap credential-provider-ca --output=jsonpath='{.data.ca\.pem}' |
      on_node "${node}" sh -c 'cat > /etc/pullsecrets/ca.pem'
    sed -e "s|REGISTRY|${main}|" -e "s|SERVER|${address}|" "${here}/node/credential-provider-config.yaml" |
      on_node "${node}" sh -c 'cat > /etc/pullsecrets/credential-provider-config.yaml'
    on_node "${node}" sh -c 'cat /etc/pullsecrets/credential-provider-config.yaml'
    on_node "${node}" sh -c 'grep -q image-credential-provider /var/lib/kubelet/kubeadm-flags.env ||
      sed -i "s|^KUBELET_KUBEADM_ARGS=\"|&--image-credential-provider-config=/etc/pullsecrets/credential-provider-config.yaml --image-credential-provider-bin-dir=/etc/pullsecrets/bin |" /var/lib/kubelet/kubeadm-flags.env'
    on_node "${node}" cat /var/lib/kubelet/kubeadm-flags.env
    on_node "${node}" grep -q image-credential-provider-config /var/lib/kubelet/kubeadm-flags.env || fail "the kubelet's flags were not changed"
    on_node "${node}" systemctl restart kubelet
    # Before its next heartbeat the node still counts as Ready.
    eventually on_node "${node}" systemctl is-active kubelet
    sleep 15
    on_node "${node}" systemctl is-active kubelet || fail "the kubelet stopped: see journalctl -u kubelet on the node"
    kubectl wait node "${node}" --for=condition=Ready --timeout=2m
  done
}

show_pull() {
  local digest
  step "1. A Pod in a granted namespace pulls a private image by digest, without a pull Secret"
  digest="$(images push "${robot}/first")"
  pod "${granted}" first "${main}/${robot}/first@${digest}"
  eventually pulled "${granted}" first
  no_secrets "${granted}"
  read_by_robot "${robot}/first"
  shown "the node pulled ${robot}/first as ${robot}, and namespace ${granted} has no Secret"

  step "2. A Pod in a namespace that is not granted the credential cannot pull the same image"
  pod "${stranger}" first "${main}/${robot}/first@${digest}"
  eventually rejected "${stranger}" first
  ! pulled "${stranger}" first || fail "the Pod has an image"
  kubectl -n "${stranger}" get pod first --output=jsonpath='{.status.containerStatuses[0].state.waiting.message}{"\n"}'
  kubectl -n pullsecrets-system logs deployment/credential-provider | grep "ServiceAccount ${stranger}/default" | tail -1 |
    grep "nothing is granted to the namespace" || fail "the server has not decided this"
  shown "the registry rejected the node, because the server gave it no credential"
}

show_token_alone() {
  local response
  step "2b. A tenant's token without the certificate of a node is rejected"
  # Any Pod of the namespace can have such a token mounted.
  kubectl -n "${granted}" create token default --audience=credential-provider.pullsecrets.dev > "${work}/token"
  response="$(printf '{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"%s/%s/first","serviceAccountToken":"%s"}' "${main}" "${robot}" "$(cat "${work}/token")" |
    on_node "$(kubectl get nodes --output=jsonpath='{.items[0].metadata.name}')" curl --silent --noproxy '*' --cacert /etc/pullsecrets/ca.pem \
      --connect-to "credential-provider.pullsecrets-system.svc:443:$(kubectl -n pullsecrets-system get service credential-provider --output=jsonpath='{.spec.clusterIP}'):443" \
      --data-binary @- https://credential-provider.pullsecrets-system.svc/)"
  rm "${work}/token"
  [[ "${response}" == *"no certificate of a node"* ]] || fail "the server answered something else"
  echo "    ${response}"
  shown "the server gave nothing for a token alone"
}

show_rotation() {
  local digest
  step "3. After a rotation at the source, a new pull uses the new password"
  images user "${robot}" second "${robot}/"
  keep pullsecrets-sources "${robot}" .dockerconfigjson kubernetes.io/dockerconfigjson second
  digest="$(images push "${robot}/second")"
  pod "${granted}" second "${main}/${robot}/second@${digest}"
  eventually pulled "${granted}" second
  no_secrets "${granted}"
  read_by_robot "${robot}/second"
  shown "the node pulled ${robot}/second with the password that the source has now"
}

show_resolution() {
  local digest resolved
  step "4. Knative resolves a tag with a docker config in its controller, and the node pulls with the plugin"
  keep knative-serving resolver-credentials config.json Opaque second
  kubectl -n knative-serving patch deployment controller --patch "
spec:
  template:
    spec:
      volumes: [{name: resolver-credentials, secret: {secretName: resolver-credentials}}]
      containers:
        - name: controller
          env: [{name: DOCKER_CONFIG, value: /resolver-credentials}]
          volumeMounts: [{name: resolver-credentials, mountPath: /resolver-credentials, readOnly: true}]"
  kubectl -n knative-serving rollout status deployment controller --timeout=3m
  digest="$(images push "${robot}/third")"
  kubectl -n "${granted}" apply -f - << EOF
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: third
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/min-scale: "1"}
    spec:
      containers: [{image: "${main}/${robot}/third:v1"}]
EOF
  eventually kubectl -n "${granted}" get configurations.serving.knative.dev third
  kubectl -n "${granted}" wait configurations.serving.knative.dev third --for=condition=Ready --timeout=5m || {
    kubectl -n "${granted}" get configurations.serving.knative.dev,revisions.serving.knative.dev,pods --output=wide
    fail "the Revision is not Ready"
  }
  resolved="$(kubectl -n "${granted}" get revisions.serving.knative.dev third-00001 --output=jsonpath='{.status.containerStatuses[0].imageDigest}')"
  [[ "${resolved}" == "${main}/${robot}/third@${digest}" ]] || fail "the tag was resolved to ${resolved:-nothing}"
  no_secrets "${granted}"
  read_by_robot "${robot}/third"
  shown "the Revision is Ready with ${resolved}, and namespace ${granted} has no Secret"
}

resolved_to() { # DIGEST
  [[ "$(kubectl -n "${stranger}" get revisions.serving.knative.dev fourth-00001 --output=jsonpath='{.status.containerStatuses[0].imageDigest}')" == *"$1" ]]
}

show_boundary() {
  local digest resolved
  step "5. The limit of that: a namespace that is granted nothing resolves the same tag"
  digest="$(images push "${robot}/fourth")"
  kubectl -n "${stranger}" apply -f - << EOF
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: fourth
spec:
  template:
    spec:
      containers: [{image: "${main}/${robot}/fourth:v1"}]
EOF
  eventually resolved_to "${digest}"
  resolved="$(kubectl -n "${stranger}" get revisions.serving.knative.dev fourth-00001 --output=jsonpath='{.status.containerStatuses[0].imageDigest}')"
  shown "namespace ${stranger} learned the digest ${resolved}, though its Pods cannot pull it"
}

[[ -e "${out}/registries.json" && -e "${out}/kubeconfig" ]] || {
  echo "credential-provider: there is no kind cluster: create it with \"make kind\"" >&2
  exit 1
}
export KUBECONFIG="${out}/kubeconfig"
main="$(registry_of main)"
[[ -n "${main}" ]] || fail "${out}/registries.json has no registry main"
mkdir -p "${work}"
chmod 700 "${work}"

build
grant
stop_project
install_server
install_plugin
show_pull
show_token_alone
show_rotation
show_resolution
show_boundary

step "Done. Nothing was undone"
cat << EOF
Controller and webhook of the project are stopped: start them with
    test/e2e-kind.sh exec kubectl -n pullsecrets-system scale deployment controller webhook --replicas=2
The server, the plugin on the nodes with the kubelet's flags, DOCKER_CONFIG in Knative's controller,
the ClusterPullSecret ${robot} and the namespaces ${granted} and ${stranger} are left. The suite
does not expect them: delete the cluster with "make kind-down".
EOF

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package env gives tests and demos a cluster with the product on it: one that
KUBECONFIG names, or a local one that it makes itself.

# What a local cluster is

Processes of one machine, on loopback, without containers, images or root: a
real etcd, API server and controller manager, Knative Serving's real webhook
and controller, and the product's programs. Nothing of admission or
authorization is switched off, and Knative's programs and ours run with tokens
of the ServiceAccounts that their manifests name, so the real rights are in
force. What is missing is everything below: nodes, Knative's autoscaler and an
ingress. A small data plane stands in for these and writes what they would
write, so that Revisions, Routes and Services become Ready, or fail where a
namespace asks for that, see [RevisionsLabel].

Manifests come from where they are published: Knative's out of the Go module
cache, ours from config/. A Deployment is not applied, since its Pods could
never run. It is checked by the API server in a dry run, and a process stands
in for it with the environment, arguments, ServiceAccount and readiness probe
that it says. So a new program of the product needs a Deployment in config/ and
nothing here. Three things are set differently than shipped: ports and
addresses; the leases of leader election, which are short (six seconds), so
that a program that was killed and started again leads again soon; and, for
Knative alone, the limits of its clients and the registries in
[UnreachableRegistries], whose tags it does not resolve.

# What a node adds

A cluster can be started with a node (as root, on Linux), and then Pods run: a
scheduler, a kubelet, containerd and kube-proxy, private registries, Knative's
autoscaler and queue-proxy. The product is installed there as its users do it, by
"ko apply -f config/", and its programs are Pods, reached through ClusterIPs.
Still missing are DNS, an ingress and Knative's activator, so no request makes a
Revision start from zero. Nothing of the outside can be reached; Docker Hub is a
registry of the cluster that answers under its names.

All processes of such a cluster live in an [enclave]: namespaces of their own
for network, mounts and processes. They end with their first process, and the
kernel takes everything with them, containers, mounts and firewall rules, also after
a crash. Servers inside are reached from the machine on loopback, by the same
port as inside. A kubelet sets tunables of the kernel for the whole machine; this
one finds them set in files that only it sees. Cgroups cannot be enclosed: Pods
have one group below the machine's own mounts, named after the cluster's directory
and removed with it, by the next command at the latest.

# Using it in tests

A suite has

	func TestMain(m *testing.M) { env.Main(m) }

and each test takes the cluster from [Get] and a namespace of its own from
[Env.Namespace]. A test that stops processes, counts requests or lets Revisions
fail says so with [Env.Need]; on a cluster that cannot do that it is not run,
and [Main] says so at the end. [Env.Processes] stops, kills and starts the
cluster's processes, also with other variables in their environment or more than
one in place of a Deployment, and [Env.Audit] tells what the API server was
asked.

Of a cluster that KUBECONFIG names nothing is known but what lies beside that file:
registries.json tells of private registries from which its nodes pull, see
[Registries]. test/e2e-kind.sh makes such a cluster.

# Using it by hand

The command in cmd/cluster starts a cluster that stays until it is ended:

	go run ./test/env/cmd/cluster up
	export KUBECONFIG=.cluster/kubeconfig
	go run ./test/env/cmd/cluster down

With -node it has one; the two belong in different directories.

A second "up" brings the product up to date with the working tree and leaves
the rest as it is. The files of a cluster lie in its directory, which is
.cluster unless told otherwise: kubeconfig, logs/ (the API server's audit.log
among them) and what only the processes need. Programs are built into
.cluster/bin, which all clusters of a checkout share; any number of clusters
can run side by side, each with a directory and ports of its own.

# How it holds together

A supervisor process owns all other processes of its cluster. It starts again
what ends by itself, like a kubelet, and ends when it is told to, when its
lifetime has passed or, for a test's cluster, when the test program is gone,
however that ended. Its children die with it. It records who they are, and
whatever a crash leaves is ended by the next command, which never touches a
process that is not exactly the recorded one.

	build.go, loopback.go     from source to programs
	kubernetes.go, pki.go     the control plane
	knative.go, product.go    what is installed on it
	deployment.go             processes in place of Deployments
	dataplane.go              what nodes, autoscaler and ingress would do
	supervisor.go, child.go   who runs what
	node.go, machine.go       what runs Pods, and what it needs of the machine
	enclave*.go, cgroups.go   where that lives
	forward.go                how it is reached from the machine
	registry.go, ko.go        where images come from, and how the product gets there
	control.go                the supervisor's clients
	cluster.go                up and down, seen from outside
	setup.go, testing.go      what tests see
*/
package env

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package env provides a cluster with the project installed for tests and demos:
the cluster of KUBECONFIG, or a local one that it starts itself.

# Local clusters

A local cluster consists of processes on loopback, without containers, images
or root: a real etcd, API server and controller manager, Knative Serving's real
webhook and controller, and the project's own programs. Admission and
authorization are fully enabled, and the programs of Knative and of the project
use tokens of the ServiceAccounts in their manifests, so their real rights
apply. Two private registries answer Knative's tag resolution. Nodes, Knative's
autoscaler and an ingress are missing. A small simulated data plane writes the
status that these would write, so that Revisions, Routes and Services become
Ready, or fail if a namespace asks for it, see [RevisionsLabel].

Manifests come from their original places: Knative's from the Go module cache,
the project's from config/, and from config/outage if the API server has the kinds in it.
Deployments are only applied in a dry run, because
their Pods could not run. A process replaces each Deployment, with its
environment, arguments, ServiceAccount and readiness probe. So a new program
needs a Deployment in config/ and nothing here. Three things differ from a
release: ports and addresses; leases of leader election, which are short (six
seconds) so that a restarted program soon leads again; and, for Knative only,
the limits of its clients and the registries in [UnreachableRegistries], for
which it skips tag resolution.

The variables KUBERNETES and KNATIVE select other releases than those that
test/controlplane and test/knative pin: any whose Go modules can be downloaded.

# Use in tests

A suite has

	func TestMain(m *testing.M) { env.Main(m) }

and each test gets the cluster from [Get] and its own namespace from
[Env.Namespace]. A test that stops processes, counts requests or makes Revisions
fail declares this with [Env.Need]; on a cluster without the capability it is
skipped, and [Main] reports it at the end. [Env.Processes] stops, kills and
starts the cluster's processes, also with other environment variables or several
replicas, and [Env.Audit] returns the requests to the API server.

A cluster with nodes, on which Pods run and pull images, is one of kind, see
test/e2e-kind.sh. The package knows of it, as of any cluster of KUBECONFIG, by the files
beside the kubeconfig that the script writes: registries.json lists private registries
from which its nodes pull, see [Registries]; project.yaml is what was installed, and allows
control over the Deployments in it; audit/audit.log is the API server's audit log.

# Use by hand

The command in cmd/cluster starts a cluster that runs until it is stopped:

	go run ./test/env/cmd/cluster up
	export KUBECONFIG=.cluster/kubeconfig
	go run ./test/env/cmd/cluster down

A second "up" updates the project's programs to the working tree and leaves the
rest as it is. The files of a cluster are in its directory, by default .cluster:
kubeconfig, logs/ (including the API server's audit.log) and internal files of
the processes. Programs are built into .cluster/bin, which all clusters of a
checkout share. Any number of clusters can run side by side, each with its own
directory and ports.

# Design

A supervisor process owns all other processes of its cluster. Like a kubelet, it
restarts processes that crash. It stops when it is told to, when its lifetime has
passed, or, for a test's cluster, when the test program exits for any reason. Its
children die with it. It records their identities, and the next command ends
whatever a crash left, but only processes that match a recorded identity exactly.

	build.go, loopback.go     builds of programs from source
	releases.go               builds of other versions of Kubernetes and Knative
	kubernetes.go, pki.go     the control plane
	knative.go, project.go    the installations
	deployment.go             processes instead of Deployments
	dataplane.go              simulation of nodes, autoscaler and ingress
	supervisor.go, child.go   process supervision
	registry.go               private registries
	control.go                the supervisor's API
	deployments.go            the same for programs in Pods
	cluster.go                up and down, from outside the supervisor
	setup.go, testing.go      the API for tests
*/
package env

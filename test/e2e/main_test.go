// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e tests what the documentation promises, one file per promise, on a real API
// server with a real Knative Serving. The tests are black box: they write what users
// write and check what users see.
//
// The suite runs against the cluster of KUBECONFIG or, if that is not set, against a
// local cluster that it starts and stops. Tests request features that only some clusters
// offer with Need, and a summary at the end lists tests that were not run. Tests whose
// names begin with TestPull need nodes that pull images: "make e2e-kind".
//
// # How a test is written
//
// Each test has its own namespace, a [tenant], and is parallel, unless it changes global
// state: the settings of the installation or Knative itself. Manifests are in testdata
// and applied as by "kubectl apply -n NAMESPACE --server-side".
//
// A test waits for conditions and never sleeps. To show that something does not happen,
// it waits for a later event that it would have preceded, usually with [tenant.settle].
package e2e

import (
	"testing"

	"pullsecrets.dev/test/env"
)

func TestMain(m *testing.M) { env.Main(m) }

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e holds the promises of the product, one file each, shown on a real
// API server with a real Knative Serving. It looks at the product from outside:
// it writes what users write, and judges by what users see.
//
// The suite runs against the cluster of KUBECONFIG or, where that is not set,
// against a local one that it starts and ends itself. What only the local one
// offers is asked for by Need, and told at the end where it was missing. Tests
// whose names begin with TestPull need a node that pulls images, "make e2e-node" or
// "make e2e-kind".
//
// # How a test is written
//
// Each test has a namespace of its own, a [tenant], and is parallel, except
// where it changes what is common to all: the settings of the product, or
// Knative's installation. Manifests are in testdata, applied as by
// "kubectl apply -n NAMESPACE --server-side".
//
// A test never sleeps in the hope that something has happened by then: it waits
// for it. To show that something does not happen, it waits for a later fact
// that it would have come before, most often by [tenant.settle].
package e2e

import (
	"testing"

	"pullsecrets.dev/test/env"
)

func TestMain(m *testing.M) { env.Main(m) }

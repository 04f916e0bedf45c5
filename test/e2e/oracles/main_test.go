// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package oracles runs random histories on a real API server with a real Knative Serving
// and checks the results: TestModel against the model of the contract, TestPairs against
// what Knative alone does with the same requests.
//
// Each failure is shrunk and printed as a command that reproduces it. "make model" and
// "make pairs" run for longer.
package oracles

import (
	"testing"

	"pullsecrets.dev/test/env"
)

func TestMain(m *testing.M) { env.Main(m) }

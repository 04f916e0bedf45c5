// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package kn pins the kn that the end-to-end tests write Services with: v0.42.0,
// the last one that is a Go module by itself. Later ones take half of their
// packages from a folder beside them, which no module proxy serves.
package kn

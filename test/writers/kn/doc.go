// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package kn pins the kn with which the end-to-end tests write Services: v0.42.0, the
// last one that is a complete Go module. Later ones import half of their packages from a
// neighbouring directory, which no module proxy serves.
package kn

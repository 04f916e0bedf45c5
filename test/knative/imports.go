// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package knative pins the Knative Serving that local clusters run. Its go.mod lists
// Knative's programs as tools; the manifests come from the same modules in the module
// cache, so they match the programs.
//
// The imports keep two directories of YAML in the module cache: Serving's own config has
// symbolic links to them, which module archives do not contain.
package knative

import (
	_ "knative.dev/caching/config"
	_ "knative.dev/networking/config"
)

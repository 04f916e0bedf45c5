// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package knative pins the Knative Serving that local clusters run. Its
// go.mod names Knative's own programs as tools; the manifests come out of the
// same modules in the module cache, so programs and manifests always fit.
//
// The imports keep two folders of YAML within reach: Serving's own config
// points to them by symbolic links, which module archives do not hold.
package knative

import (
	_ "knative.dev/caching/config"
	_ "knative.dev/networking/config"
)

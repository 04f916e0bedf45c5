// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package hack keeps the code generators in go.mod and go.sum, so that
// hack/update-codegen.sh builds exactly these versions of them. They belong to
// this module because what they generate must fit the libraries that it uses.
package hack

import (
	_ "k8s.io/code-generator/cmd/client-gen"
	_ "k8s.io/code-generator/cmd/deepcopy-gen"
	_ "k8s.io/code-generator/cmd/informer-gen"
	_ "k8s.io/code-generator/cmd/lister-gen"
	_ "knative.dev/pkg/codegen/cmd/injection-gen"
	_ "knative.dev/pkg/configmap/hash-gen"
)

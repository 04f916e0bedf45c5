// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package grant decides which credentials a Namespace may have and which of them
// it asks for. Both are needed for a copy: the ClusterPullSecret's selector is the
// authorization, which platform teams write, and annotations, which tenants write,
// only ask for what is granted.
//
// Like all of the core it is pure: the same ClusterPullSecrets and the same
// Namespace give the same answer in every program.
package grant

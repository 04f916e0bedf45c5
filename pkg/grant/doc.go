// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package grant decides which credentials a Namespace is granted and which of them it
// requests. A copy needs both: the ClusterPullSecret's selector is the authorization by the
// platform team, and annotations of tenants only select from what is granted.
//
// The package is pure: the same ClusterPullSecrets and the same Namespace give the same
// result in every program.
package grant

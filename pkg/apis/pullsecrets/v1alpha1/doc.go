// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the first version of the API group pullsecrets.dev. Its kind
// ClusterPullSecret keeps a registry credential in one place and grants it to namespaces.
//
// The doc comments of the types are printed by "kubectl explain", so they are written for
// users. The schema in config/300-clusterpullsecret.yaml is generated from them and from the
// markers.
//
// +k8s:deepcopy-gen=package
// +groupName=pullsecrets.dev
package v1alpha1

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the first version of the API group pullsecrets.dev. Its
// one kind, ClusterPullSecret, is how a platform team keeps a registry
// credential in one place and says which namespaces may have it.
//
// The doc comments of the types are what "kubectl explain cps" prints: they
// are written for the people who write the YAML. The schema in
// config/300-clusterpullsecret.yaml is generated from them and from the markers
// beside them.
//
// +k8s:deepcopy-gen=package
// +groupName=pullsecrets.dev
package v1alpha1

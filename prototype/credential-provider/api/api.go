// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package api has what the kubelet and a credential provider plugin exchange, which is also
// what the plugin and the server exchange.
//
// The types are those of k8s.io/kubelet v0.36.3, pkg/apis/credentialprovider/v1/types.go,
// written again so that the module needs no further dependency.
package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Version is the apiVersion of both kinds, the only one with tokens of ServiceAccounts
// (pkg/credentialprovider/plugin/config.go:213 of k8s.io/kubernetes v1.36.3).
const Version = "credentialprovider.kubelet.k8s.io/v1"

// The kinds.
const (
	RequestKind  = "CredentialProviderRequest"
	ResponseKind = "CredentialProviderResponse"
)

// Request is what the kubelet writes to the plugin's standard input.
type Request struct {
	metav1.TypeMeta `json:",inline"`
	// Image has a host and a path, and neither tag nor digest
	// (pkg/kubelet/images/image_manager.go:286,312).
	Image string `json:"image"`
	// ServiceAccountToken is bound to the Pod whose image is pulled.
	ServiceAccountToken string `json:"serviceAccountToken,omitempty"`
	// ServiceAccountAnnotations are those that the kubelet's configuration names.
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
}

// Response is what the kubelet reads from the plugin's standard output.
type Response struct {
	metav1.TypeMeta `json:",inline"`
	CacheKeyType    string `json:"cacheKeyType"`
	// CacheDuration is 0 if the kubelet must not cache the response.
	CacheDuration *metav1.Duration `json:"cacheDuration,omitempty"`
	// Auth has a credential by the prefix of the images that it is for.
	Auth map[string]Auth `json:"auth,omitempty"`
}

// CacheByImage is the CacheKeyType of responses that depend on the image. The kubelet adds the
// ServiceAccount to the key (plugin.go:582).
const CacheByImage = "Image"

// Auth is a credential.
type Auth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/prototype/credential-provider/api"
)

// caller is who asks: a node for a Pod of a ServiceAccount. The node is empty if the token is not
// bound to a Pod.
type caller struct{ namespace, account, node string }

// callerOf returns the caller of a reviewed token, or why there is none.
func callerOf(user string, extra map[string][]string) (caller, string) {
	parts := strings.Split(user, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" || parts[2] == "" || parts[3] == "" {
		return caller{}, "the token is not one of a ServiceAccount"
	}
	c := caller{namespace: parts[2], account: parts[3]}
	// Kubernetes adds it to tokens that are bound to a Pod (k8s.io/apiserver v0.36.3,
	// pkg/authentication/serviceaccount/util.go:47).
	if nodes := extra["authentication.kubernetes.io/node-name"]; len(nodes) == 1 {
		c.node = nodes[0]
	}
	return c, ""
}

// nodeOf returns the node of a client certificate, or an empty string. The names are those of
// the node authorizer (k8s.io/kubernetes v1.36.3, pkg/auth/nodeidentifier/default.go).
func nodeOf(commonName string, organizations []string) string {
	node, found := strings.CutPrefix(commonName, "system:node:")
	for _, organization := range organizations {
		if found && organization == "system:nodes" {
			return node
		}
	}
	return ""
}

// notOn returns why a node may not ask for the caller, or an empty string. Every Pod can have
// a token for any audience mounted. So the token alone would let tenants read credentials.
func (c caller) notOn(node string) string {
	switch {
	case node == "":
		return "there is no certificate of a node: set -client-cert for the plugin"
	case c.node == "":
		return "the token is not bound to a Pod on a node"
	case c.node != node:
		return fmt.Sprintf("the token is of a Pod on node %s, and the certificate of node %s", c.node, node)
	}
	return ""
}

// state is what a decision depends on.
type state struct {
	settings  *config.Config
	namespace *corev1.Namespace
	services  []*servingv1.Service
	all       []*v1alpha1.ClusterPullSecret
}

// due returns the ClusterPullSecrets that the Namespace is granted and asks for, which are
// those that it would have copies of. If there is none, the reason says why.
func due(s state) (wanted []*v1alpha1.ClusterPullSecret, reason string) {
	if s.settings.Excludes(s.namespace.Name, s.namespace.Labels) {
		return nil, "the namespace is excluded"
	}
	granted := grant.NewCatalog(s.all).For(s.namespace.Labels)
	if len(granted.Serving) == 0 {
		return nil, "nothing is granted to the namespace"
	}
	asks := grant.NewAsks(annotation.ForNamespace(s.namespace.Annotations))
	for _, service := range s.services {
		asks.AddService(annotation.ForService(service.Annotations), catalog.Images(service))
	}
	for _, cps := range granted.Wanted(asks, grant.ImageSettings{}.Covers) {
		if s.settings.AllowsSource(cps.Spec.SecretRef.Namespace) {
			wanted = append(wanted, cps)
		}
	}
	if len(wanted) == 0 {
		return nil, "the namespace asks for nothing that is granted"
	}
	return wanted, ""
}

// respond returns the response with what the kubelet would try for the image if the Pod listed
// copies of these configs, and nothing else. A response without a credential is not cached, so
// that a grant has effect at the next attempt.
func respond(image string, cache time.Duration, configs ...dockerconfig.Config) api.Response {
	response := api.Response{
		TypeMeta:      metav1.TypeMeta{APIVersion: api.Version, Kind: api.ResponseKind},
		CacheKeyType:  api.CacheByImage,
		CacheDuration: &metav1.Duration{},
	}
	logins := dockerconfig.KubeletLogins(image, configs...)
	keys := keysFor(image, len(logins))
	for i, key := range keys {
		if response.Auth == nil {
			response.Auth, response.CacheDuration.Duration = map[string]api.Auth{}, cache
		}
		response.Auth[key] = api.Auth{Username: logins[i].Username, Password: logins[i].Password}
	}
	return response
}

// keysFor returns at most n keys that match the image, in the order in which the kubelet tries
// them. A response has one credential for each key, and the kubelet tries all keys that are a
// prefix of the image, the longest first (keyring.go:168-182,295-308 of k8s.io/kubernetes
// v1.36.3). So several credentials for one host have keys of different lengths.
func keysFor(image string, n int) []string {
	host, path, found := strings.Cut(image, "/")
	if !found {
		return nil
	}
	path = "/" + path
	var keys []string
	// A path of one slash is read as none.
	for length := len(path); len(keys) < n && length > 1; length-- {
		keys = append(keys, keyOf(host, path[:length]))
	}
	if len(keys) < n {
		keys = append(keys, host)
	}
	return keys
}

// keyOf returns a key that the kubelet reads as this host and path: it removes one version
// (keyring.go:158-161).
func keyOf(host, path string) string {
	if strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v2/") {
		return host + "/v1" + path
	}
	return host + path
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/prototype/credential-provider/api"
)

func TestCallerOf(t *testing.T) {
	const nodeName = "authentication.kubernetes.io/node-name"
	for _, test := range []struct {
		reason, user string
		extra        map[string][]string
		want         caller
		rejected     bool
	}{
		{reason: "a Pod's token", user: "system:serviceaccount:team-a:default", extra: map[string][]string{nodeName: {"node-1"}}, want: caller{"team-a", "default", "node-1"}},
		{reason: "a token that is bound to no Pod", user: "system:serviceaccount:team-a:default", want: caller{"team-a", "default", ""}},
		{reason: "a person", user: "jane", rejected: true},
		{reason: "a node", user: "system:node:node-1", rejected: true},
		{reason: "a name with further parts", user: "system:serviceaccount:team-a:default:more", rejected: true},
		{reason: "no namespace", user: "system:serviceaccount::default", rejected: true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got, reason := callerOf(test.user, test.extra)
			if got != test.want || (reason != "") != test.rejected {
				t.Errorf("got %+v, %q, want %+v, rejected: %t", got, reason, test.want, test.rejected)
			}
		})
	}
}

// A tenant can have a token for the audience, and neither the certificate of a node nor the
// certificate of the node on which its Pod runs.
func TestOnlyTheNodeOfThePodMayAsk(t *testing.T) {
	for _, test := range []struct {
		reason       string
		name         string
		organization string
		boundTo      string
		may          bool
	}{
		{"the Pod's node", "system:node:node-1", "system:nodes", "node-1", true},
		{"another node", "system:node:node-2", "system:nodes", "node-1", false},
		{"no certificate", "", "", "node-1", false},
		{"a client that is called like a node", "system:node:node-1", "team-a", "node-1", false},
		{"another client of the group", "jane", "system:nodes", "node-1", false},
		{"a token that is bound to no Pod", "system:node:node-1", "system:nodes", "", false},
		{"an empty name", "system:node:", "system:nodes", "", false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			reason := caller{node: test.boundTo}.notOn(nodeOf(test.name, []string{test.organization}))
			if (reason == "") != test.may {
				t.Errorf("got %q, want that it may ask: %t", reason, test.may)
			}
		})
	}
}

func TestDue(t *testing.T) {
	type m = map[string]string
	ghcr := clusterPullSecret("ghcr", m{"team": "a"}, "ghcr.io")
	always := clusterPullSecret("always", m{"team": "a"}, "quay.io")
	always.Spec.Always = &v1alpha1.Always{}
	elsewhere := clusterPullSecret("elsewhere", m{"team": "a"}, "ghcr.io")
	elsewhere.Spec.SecretRef.Namespace = "team-b"
	deleted := clusterPullSecret("ghcr", m{"team": "a"}, "ghcr.io")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}

	for _, test := range []struct {
		reason      string
		name        string
		labels      m
		annotations m
		service     m
		all         []*v1alpha1.ClusterPullSecret
		want        []string
		why         string
	}{
		{reason: "granted and asked for by the Namespace", labels: m{"team": "a"}, annotations: m{pullsecrets.SecretsAnnotation: "ghcr"}, all: []*v1alpha1.ClusterPullSecret{ghcr, always}, want: []string{"always", "ghcr"}},
		{reason: "asked for by a Service", labels: m{"team": "a"}, service: m{pullsecrets.SecretsAnnotation: "ghcr"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, want: []string{"ghcr"}},
		{reason: "asked for by the image of a Service", labels: m{"team": "a"}, service: m{pullsecrets.InjectAnnotation: "auto"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, want: []string{"ghcr"}},
		{reason: "everything that is granted", labels: m{"team": "a"}, annotations: m{pullsecrets.InjectAnnotation: "auto"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, want: []string{"ghcr"}},
		{reason: "granted and not asked for", labels: m{"team": "a"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, why: "the namespace asks for nothing that is granted"},
		{reason: "asked for and not granted", labels: m{"team": "b"}, annotations: m{pullsecrets.SecretsAnnotation: "ghcr"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, why: "nothing is granted to the namespace"},
		{reason: "an excluded namespace", name: "kube-public", labels: m{"team": "a"}, annotations: m{pullsecrets.SecretsAnnotation: "ghcr"}, all: []*v1alpha1.ClusterPullSecret{ghcr}, why: "the namespace is excluded"},
		{reason: "a namespace that excludes itself", labels: m{"team": "a", pullsecrets.ExcludeLabel: "true"}, all: []*v1alpha1.ClusterPullSecret{always}, why: "the namespace is excluded"},
		{reason: "a source in a namespace that must have none", labels: m{"team": "a"}, annotations: m{pullsecrets.SecretsAnnotation: "elsewhere"}, all: []*v1alpha1.ClusterPullSecret{elsewhere}, why: "the namespace asks for nothing that is granted"},
		{reason: "a ClusterPullSecret that is being deleted", labels: m{"team": "a"}, annotations: m{pullsecrets.SecretsAnnotation: "ghcr"}, all: []*v1alpha1.ClusterPullSecret{deleted}, why: "nothing is granted to the namespace"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.name == "" {
				test.name = "team-a"
			}
			service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: test.service}}
			service.Spec.Template.Spec.Containers = []corev1.Container{{Image: "ghcr.io/acme/app:v1"}}
			wanted, why := due(state{
				settings:  config.Default(),
				namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: test.name, Labels: test.labels, Annotations: test.annotations}},
				services:  []*servingv1.Service{service},
				all:       test.all,
			})
			var got []string
			for _, cps := range wanted {
				got = append(got, cps.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || why != test.why {
				t.Errorf("%q, want %q; (-want, +got):\n%s", why, test.why, diff)
			}
		})
	}
}

func clusterPullSecret(name string, selected map[string]string, registries ...string) *v1alpha1.ClusterPullSecret {
	cps := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	cps.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
	cps.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: selected}
	cps.Status.Registries = registries
	return cps
}

// parse returns a config with a credential for each registry, whose username is given.
func parse(t *testing.T, usernames map[string]string) dockerconfig.Config {
	t.Helper()
	auths := map[string]any{}
	for registry, username := range usernames {
		auths[registry] = map[string]string{"username": username, "password": "p"}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text})
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestRespond(t *testing.T) {
	type m = map[string]string
	for _, test := range []struct {
		reason, image string
		configs       []m
		want          m
	}{
		{"nothing matches", "ghcr.io/acme/app", []m{{"quay.io": "a"}}, m{}},
		{"only what matches", "ghcr.io/acme/app", []m{{"quay.io": "a", "ghcr.io": "b", "ghcr.io/other": "c"}}, m{"ghcr.io/acme/app": "b"}},
		{"two credentials of one host", "ghcr.io/acme/app", []m{{"ghcr.io": "a"}, {"ghcr.io": "b"}}, m{"ghcr.io/acme/app": "a", "ghcr.io/acme/ap": "b"}},
		{"the longer path first", "ghcr.io/acme/app", []m{{"ghcr.io": "a"}, {"ghcr.io/acme": "b"}}, m{"ghcr.io/acme/app": "b", "ghcr.io/acme/ap": "a"}},
		{"Docker Hub", "docker.io/library/app", []m{{"https://index.docker.io/v1/": "a"}}, m{"docker.io/library/app": "a"}},
		{"a path like a version", "reg.example.com/v1/app", []m{{"reg.example.com": "a"}}, m{"reg.example.com/v1/v1/app": "a"}},
		{"more credentials than prefixes", "ghcr.io/a", []m{{"ghcr.io": "a"}, {"ghcr.io": "b"}, {"ghcr.io": "c"}}, m{"ghcr.io/a": "a", "ghcr.io": "b"}},
		{"no image", "app", []m{{"https://index.docker.io/v1/": "a"}}, m{}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var configs []dockerconfig.Config
			for _, usernames := range test.configs {
				configs = append(configs, parse(t, usernames))
			}
			response := respond(test.image, time.Minute, configs...)
			got := m{}
			for key, auth := range response.Auth {
				got[key] = auth.Username
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			cached := time.Minute
			if len(test.want) == 0 {
				cached = 0
			}
			if response.CacheDuration == nil || response.CacheDuration.Duration != cached || response.CacheKeyType != api.CacheByImage {
				t.Errorf("cached for %v by %s, want for %v by image", response.CacheDuration, response.CacheKeyType, cached)
			}
		})
	}
}

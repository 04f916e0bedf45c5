// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/revision/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

const queueProxy = "gcr.io/knative-releases/queue"

// found returns the findings of a Revision with these Secrets, as texts.
func found(revision Revision, secrets map[string]coverage.Secret, newest string, complete bool) []string {
	results := coverage.Of(revision.Template, secrets, grant.ImageSettings{QueueProxy: queueProxy}, metav1.NewTime(created))
	var texts []string
	for _, f := range revision.Findings(results, newest, complete) {
		texts = append(texts, fmt.Sprintf("%s %d: %s %s; %s", f.Reason, len(f.References), f.Image, f.Cause, f.Remedy))
	}
	return texts
}

func holding(registries ...string) coverage.Secret {
	return coverage.Secret{State: coverage.Known, Facts: dockerconfig.FactsOf(registries)}
}

func TestFindings(t *testing.T) {
	rejected := WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ContainerMissing", unauthorized)
	unpulled := func(message string) []RevisionOption {
		return []RevisionOption{WithDigests(1), WithCondition(servingv1.RevisionConditionResourcesAvailable, corev1.ConditionFalse, "ImagePullBackOff", message)}
	}
	for _, test := range []struct {
		reason     string
		options    []RevisionOption
		secrets    map[string]coverage.Secret
		newest     string
		incomplete bool
		want       []string
	}{
		{reason: "covered", options: []RevisionOption{WithRevisionPullSecrets("ghcr")}, secrets: map[string]coverage.Secret{"ghcr": holding("ghcr.io")}},
		{reason: "perhaps public, without pull secrets"},
		{reason: "perhaps public, with those for others", options: []RevisionOption{WithRevisionPullSecrets("quay")}, secrets: map[string]coverage.Secret{"quay": holding("quay.io")}},
		{reason: "not known", options: []RevisionOption{WithRevisionPullSecrets("ghcr"), rejected}},
		{
			reason: "a registry rejected it", options: []RevisionOption{rejected},
			want: []string{`NoPullSecrets 1: container "user-container": image "ghcr.io/acme/app:v1" is not covered for tag resolution: no pull secret is listed; add a pull secret for "ghcr.io/acme/app"`},
		},
		{reason: "a registry rejected it, and a change is due", options: []RevisionOption{rejected}, incomplete: true},
		{
			reason: "a node could not pull it", options: unpulled(`Back-off pulling image "ghcr.io/acme/app@sha256:1234"`),
			want: []string{`NoPullSecrets 1: container "user-container": image "ghcr.io/acme/app:v1" is not covered for the kubelet: no pull secret is listed; add a pull secret for "ghcr.io/acme/app"`},
		},
		{reason: "a node could not pull another one", options: unpulled(`Back-off pulling image "ghcr.io/acme/other"`)},
		{
			reason: "a named Secret is missing, of two images and the queue-proxy", newest: "app-00002",
			options: []RevisionOption{WithRevisionPullSecrets("ghcr"), WithSidecar("sidecar", "ghcr.io/acme/sidecar")},
			secrets: map[string]coverage.Secret{"ghcr": {State: coverage.Absent}},
			want:    []string{`Missing 2: Revision app-00001: container "user-container": image "ghcr.io/acme/app:v1" is not covered for tag resolution: Secret ghcr does not exist; create it, or remove it from the list`},
		},
		{
			reason: "a copy that is still to be created", options: []RevisionOption{WithRevisionPullSecrets("ghcr")},
			secrets: map[string]coverage.Secret{"ghcr": {State: coverage.Absent, CopyOf: "hub"}},
			want: []string{`Missing 1: container "user-container": image "ghcr.io/acme/app:v1" is not covered for tag resolution: Secret ghcr does not exist; ` +
				`do not create it: the copy is created when the source of ClusterPullSecret hub is ready`},
		},
		{
			reason: "a Secret that no reader can use, for the queue-proxy too", options: []RevisionOption{WithRevisionPullSecrets("ghcr"), WithDigests(1)},
			secrets: map[string]coverage.Secret{"ghcr": {State: coverage.Known, Facts: dockerconfig.Inspect(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(`[]`)})}},
			want:    []string{`Malformed 2: container "user-container": image "ghcr.io/acme/app:v1" is not covered for the kubelet: Secret ghcr is invalid`},
		},
	} {
		revision := RevisionOf(NewRevision("ns", "app-00001", test.options...))
		if test.newest == "" {
			test.newest = "app-00001"
		}
		got := found(revision, test.secrets, test.newest, !test.incomplete)
		for i := range got {
			if i < len(test.want) && strings.HasPrefix(got[i], test.want[i]) {
				got[i] = test.want[i]
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: findings (-want, +got): %s", test.reason, diff)
		}
	}
}

// What a tenant writes takes a limited amount of memory.
func TestRevisionOf(t *testing.T) {
	whole := NewRevision("ns", "app-00001", WithRevisionPullSecrets("ghcr", strings.Repeat("x", 9999)), WithDigests(1), func(r *servingv1.Revision) {
		r.Labels["serving.knative.dev/routingState"] = "active"
		r.Spec.ServiceAccountName = "builder"
		r.Spec.InitContainers = []corev1.Container{{Name: "init", Image: strings.Repeat("y", 9999)}}
		r.Spec.Volumes = []corev1.Volume{{Name: "empty"}, {Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "ghcr.io/acme/model"}}}}
		for range 200 {
			r.Spec.Containers = append(r.Spec.Containers, corev1.Container{Image: "ghcr.io/acme/sidecar", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}})
		}
	})
	got := RevisionOf(whole)
	if !got.Routed || got.ServiceAccount != "builder" || got.Template.Resolved || len(got.Template.Images) != grant.MaxImages {
		t.Errorf("RevisionOf() = %+v", got)
	}
	if n := len(got.Template.PullSecrets[1]); n > 260 {
		t.Errorf("a name of %d bytes is kept", n)
	}
	if names := Names(got.Template); !cmp.Equal(names, []string{"ghcr"}) {
		t.Errorf("Names() = %q, want the valid ones", names)
	}
}

func TestCandidate(t *testing.T) {
	rejected := WithCondition(servingv1.RevisionConditionContainerHealthy, corev1.ConditionFalse, "ContainerMissing", unauthorized)
	for _, test := range []struct {
		reason  string
		options []RevisionOption
		secret  coverage.Secret
		want    string
	}{
		{"it covers the image", []RevisionOption{rejected}, holding("ghcr.io"), "ghcr"},
		{"it covers another one", []RevisionOption{rejected}, holding("quay.io"), ""},
		{"it does not exist", []RevisionOption{rejected}, coverage.Secret{State: coverage.Absent}, ""},
		{"nothing was rejected", nil, holding("ghcr.io"), ""},
	} {
		revision := RevisionOf(NewRevision("ns", "app-00001", append(test.options, WithRevisionPullSecrets("ghcr"))...))
		results := coverage.Of(revision.Template, map[string]coverage.Secret{"ghcr": test.secret}, grant.ImageSettings{}, metav1.NewTime(created))
		if got := revision.Candidate(results); got != test.want {
			t.Errorf("%s: Candidate() = %q, want %q", test.reason, got, test.want)
		}
	}
}

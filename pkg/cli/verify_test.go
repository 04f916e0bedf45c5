// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/explain"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// Of a ClusterPullSecret, verify asks with what its copies hold, for images of the namespaces that
// it selects.
func TestVerifyClusterPullSecret(t *testing.T) {
	w := newWorld()
	cps := w.ours[0].(*v1alpha1.ClusterPullSecret)
	cps.Spec.Registries = []string{"ghcr.io/acme"}
	cps.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "shop"}}
	source := pullSecret(cps.Spec.SecretRef.Namespace, cps.Spec.SecretRef.Name, "ghcr.io", "quay.io")
	w.kube = append(w.kube, source,
		fixture.Namespace("selected", fixture.WithNamespaceLabel("tier", "shop")), fixture.Namespace("other"),
		fixture.Namespace("excluded", fixture.WithNamespaceLabel("tier", "shop"), fixture.WithNamespaceLabel(pullsecrets.ExcludeLabel, "")),
	)
	for service, image := range map[string]string{
		"selected/a": "ghcr.io/acme/selected:v1", "selected/b": "ghcr.io/rival/app:v1", "selected/c": "quay.io/acme/app:v1",
		"other/d": "ghcr.io/acme/other:v1", "excluded/e": "ghcr.io/acme/excluded:v1",
	} {
		namespace, name, _ := strings.Cut(service, "/")
		w.serving = append(w.serving, fixture.Service(namespace, name, fixture.WithImage(image)))
	}
	w.accepted = append(w.accepted, "ghcr.io/acme/selected:v1")
	r := w.run(t, "", "verify", "clusterpullsecret/ghcr")
	golden(t, "verify-clusterpullsecret", r.out)
	if r.code != 0 || strings.Contains(r.out, "rival") || strings.Contains(r.out, "quay.io") || strings.Contains(r.out, "other") || strings.Contains(r.out, "excluded") {
		t.Errorf("exit code %d: %s\n%s", r.code, r.err, r.out)
	}
	if r := w.run(t, "", "verify", "clusterpullsecret/ghcr", "--image", "quay.io/acme/app:v1"); r.code != exitFindings || !strings.Contains(r.out, "no key") {
		t.Errorf("an image beyond spec.registries: exit code %d: %s\n%s", r.code, r.err, r.out)
	}
	cps.Spec.Registries = []string{"registry.example.com"}
	if r := w.run(t, "", "verify", "clusterpullsecret/ghcr"); r.code != exitFindings || !strings.Contains(r.out, "registry.example.com") {
		t.Errorf("a registry without a credential: exit code %d: %s\n%s", r.code, r.err, r.out)
	}
	w.forbid("namespaces")
	cps.Spec.Registries = nil
	if r := w.run(t, "", "verify", "clusterpullsecret/ghcr"); r.code != exitError || !strings.Contains(r.err, "--image") {
		t.Errorf("without namespaces: exit code %d: %s\n%s", r.code, r.err, r.out)
	}
}

// Each reader's row is what that reader makes of the keys: tag resolution uses the first match, and the
// kubelet tries all.
func TestVerifyAsEachReader(t *testing.T) {
	type row struct{ Reader, Key, Result, Why string }
	const app = "ghcr.io/acme/app:v1"
	const resolution, kubelet = "tag resolution", "the kubelet"
	for _, test := range []struct {
		reason  string
		subject string
		image   string
		keys    []string
		// rejected are the keys whose credential the registry rejects.
		rejected []string
		want     []row
	}{
		{"a source with the key docker.io", "clusterpullsecret/ghcr", "acme/app:v1", []string{"docker.io"}, nil,
			[]row{{resolution, "index.docker.io", "accepted", ""}, {kubelet, "docker.io", "accepted", ""}}},
		{"a source with the key docker.io and a path", "clusterpullsecret/ghcr", "acme/app:v1", []string{"docker.io/acme"}, nil,
			[]row{{resolution, "index.docker.io/acme", "accepted", ""}, {kubelet, "docker.io/acme", "accepted", ""}}},
		{"a Secret with the key docker.io", "secret/ghcr", "acme/app:v1", []string{"docker.io"}, nil,
			[]row{{resolution, "", explain.NoKey, "no key with the host of the image matches"}, {kubelet, "docker.io", "accepted", ""}}},
		{"the key of Docker Hub", "secret/ghcr", "acme/app:v1", []string{"https://index.docker.io/v1/"}, nil,
			[]row{{resolution, "index.docker.io", "accepted", ""}, {kubelet, "index.docker.io", "accepted", ""}}},
		{"the first of two matches is rejected", "secret/ghcr", app, []string{"ghcr.io", "ghcr.io/acme"}, []string{"ghcr.io/acme"},
			[]row{{resolution, "ghcr.io/acme", "rejected", "401 Unauthorized"}, {kubelet, "ghcr.io", "accepted", ""}}},
		{"both matches are rejected", "secret/ghcr", app, []string{"ghcr.io", "ghcr.io/acme"}, []string{"ghcr.io", "ghcr.io/acme"},
			[]row{{resolution, "ghcr.io/acme", "rejected", "401 Unauthorized"}, {kubelet, "ghcr.io/acme", "rejected", "401 Unauthorized"}}},
		{"a match with a wildcard, which is never asked about", "secret/ghcr", app, []string{"*.io", "ghcr.io"}, []string{"ghcr.io"},
			[]row{{resolution, "ghcr.io", "rejected", "401 Unauthorized"}, {kubelet, "ghcr.io", "unknown", "401 Unauthorized; another key that matches is not asked about, because its host is not written out"}}},
	} {
		w := newWorld()
		secret := pullSecret("team-a", "ghcr", test.keys...)
		w.kube = slices.DeleteFunc(w.kube, func(o runtime.Object) bool { _, is := o.(*corev1.Secret); return is })
		if strings.HasPrefix(test.subject, "cluster") {
			ref := w.ours[0].(*v1alpha1.ClusterPullSecret).Spec.SecretRef
			secret.Namespace, secret.Name = ref.Namespace, ref.Name
		}
		w.kube, w.accepted, w.rejected = append(w.kube, secret), []string{test.image}, test.rejected
		r := w.run(t, "", "verify", test.subject, "-n", "team-a", "--image", test.image, "-o", "json")
		var got struct{ Result []row }
		if err := json.Unmarshal([]byte(r.out), &got); err != nil {
			t.Fatalf("%s: %v: %s%s", test.reason, err, r.out, r.err)
		}
		if diff := cmp.Diff(test.want, got.Result); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", test.reason, diff)
		}
	}
}

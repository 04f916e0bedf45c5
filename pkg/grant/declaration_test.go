// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/merge"
)

// Where ClusterPullSecrets cannot be read, what was added for one is declared still, unless the
// policy excludes all of them.
func TestDeclareUnknown(t *testing.T) {
	stored := func() merge.Current {
		return merge.Current{
			List:   []string{"own", "ghcr", "gone", "ours"},
			Ledger: merge.Ledger{"ghcr": "clusterpullsecret/a", "gone": "namespace", "ours": "clusterpullsecret/b", "dropped": "clusterpullsecret/c"},
		}
	}
	kept := []merge.Grant{{ClusterPullSecret: "a", Secret: "ghcr"}, {ClusterPullSecret: "b", Secret: "ours"}}
	for inject, want := range map[string]struct {
		always       []merge.Grant
		needsAccount bool
	}{"": {kept, true}, "auto": {kept, true}, "declared": {}, "disabled": {}, "often": {}} {
		service := Service{Stored: stored}
		if inject != "" {
			service.Annotations = map[string]string{pullsecrets.InjectAnnotation: inject}
		}
		d := Unknown().Declare(&corev1.Namespace{}, service, nil)
		if diff := cmp.Diff(want.always, d.Always); diff != "" || len(d.Auto) > 0 || d.NeedsAccount() != want.needsAccount {
			t.Errorf("inject %q: auto %v, needs the account %t; always (-want, +got):\n%s", inject, d.Auto, d.NeedsAccount(), diff)
		}
	}
	if got := Unknown().Declare(&corev1.Namespace{}, Service{}, nil); len(got.Always) > 0 {
		t.Errorf("without a list, %v are declared", got.Always)
	}
	if diff := cmp.Diff(kept, Unknown().For(nil).Bound("default", stored())); diff != "" {
		t.Errorf("bound (-want, +got):\n%s", diff)
	}
}

func TestDeclare(t *testing.T) {
	toServices := func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{Services: true} }
	c := NewCatalog([]*v1alpha1.ClusterPullSecret{offered("ghcr", "", "", 1, toServices), offered("quay", "", "", 1)})
	everything := func(*v1alpha1.ClusterPullSecret, Image) bool { return true }
	ghcr, quay := merge.Grant{ClusterPullSecret: "ghcr", Secret: "ghcr"}, merge.Grant{ClusterPullSecret: "quay", Secret: "quay"}
	for _, test := range []struct {
		reason             string
		namespace, service map[string]string
		want               merge.Declared
		needsAccount       bool
		readsImages        bool
	}{
		{
			reason:       "without annotations, what is granted always",
			want:         merge.Declared{Always: []merge.Grant{ghcr}},
			needsAccount: true,
		},
		{
			reason:       "the Service's and the Namespace's names are layers of their own",
			namespace:    map[string]string{pullsecrets.SecretsAnnotation: "a"},
			service:      map[string]string{pullsecrets.SecretsAnnotation: "b", pullsecrets.InjectAnnotation: "declared"},
			want:         merge.Declared{Namespace: []string{"a"}, Service: []string{"b"}},
			needsAccount: true,
		},
		{
			reason:       "auto adds what covers an image",
			namespace:    map[string]string{pullsecrets.InjectAnnotation: "auto"},
			want:         merge.Declared{Always: []merge.Grant{ghcr}, Auto: []merge.Grant{ghcr, quay}},
			needsAccount: true,
			readsImages:  true,
		},
		{
			reason:    "disabled is as if nothing were declared",
			namespace: map[string]string{pullsecrets.SecretsAnnotation: "a"},
			service:   map[string]string{pullsecrets.SecretsAnnotation: "b", pullsecrets.InjectAnnotation: "disabled"},
		},
		{
			reason:    "an invalid value holds what is there",
			namespace: map[string]string{pullsecrets.SecretsAnnotation: "a", pullsecrets.InjectAnnotation: "often"},
			want:      merge.Declared{Hold: true, Namespace: []string{"a"}},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Annotations: test.namespace}}
			read := false
			images := func() []Image { read = true; return []Image{{Reference: "ghcr.io/a/b"}} }
			d := c.Declare(namespace, Service{Annotations: test.service, Images: images}, everything)
			if diff := cmp.Diff(test.want, d.Declared); diff != "" {
				t.Errorf("declared (-want, +got):\n%s", diff)
			}
			if d.NeedsAccount() != test.needsAccount || read != test.readsImages {
				t.Errorf("needs the account %t, want %t; has read the images %t, want %t", d.NeedsAccount(), test.needsAccount, read, test.readsImages)
			}
		})
	}
}

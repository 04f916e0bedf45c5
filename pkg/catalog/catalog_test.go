// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/pkg/client/clientset/versioned/fake"
	"pullsecrets.dev/pkg/client/informers/externalversions"
	informers "pullsecrets.dev/pkg/client/informers/externalversions/pullsecrets/v1alpha1"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func namesOf(all []*v1alpha1.ClusterPullSecret) []string {
	var names []string
	for _, cps := range all {
		names = append(names, cps.Name)
	}
	return names
}

// TestGet follows the ClusterPullSecrets of an informer.
func TestGet(t *testing.T) { synctest.Test(t, testGet) }

func testGet(t *testing.T) {
	client := fake.NewSimpleClientset(ClusterPullSecret("first"))
	informer := informerOf(t, client)
	c, err := catalog.Of(informer.Informer(), informer.Lister())
	if err != nil {
		t.Fatal(err)
	}
	go informer.Informer().RunWithContext(t.Context())
	synctest.Wait()
	all := client.PullsecretsV1alpha1().ClusterPullSecrets()
	elsewhere := ClusterPullSecret("first", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
	})
	for _, step := range []struct {
		reason string
		do     func() error
		want   []string
	}{
		{"the first list", func() error { return nil }, []string{"first"}},
		{"an addition", func() error {
			_, err := all.Create(t.Context(), ClusterPullSecret("second"), metav1.CreateOptions{})
			return err
		}, []string{"first", "second"}},
		{"an update", func() error {
			_, err := all.Update(t.Context(), elsewhere, metav1.UpdateOptions{})
			return err
		}, []string{"second"}},
		{"a deletion", func() error { return all.Delete(t.Context(), "second", metav1.DeleteOptions{}) }, nil},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		current, err := c.Get()
		if got := namesOf(current.For(nil).Serving); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("after %s, %v are granted, want %v: %v", step.reason, got, step.want, err)
		}
	}
}

// failing is a lister that fails.
type failing struct {
	listers.ClusterPullSecretLister
	err error
}

func (f *failing) List(labels.Selector) ([]*v1alpha1.ClusterPullSecret, error) { return nil, f.err }

// An error is returned to the caller and not cached.
func TestGetFails(t *testing.T) {
	informer := informerOf(t, fake.NewSimpleClientset(), ClusterPullSecret("ghcr"))
	f := &failing{informer.Lister(), errors.New("away")}
	c := catalog.New(f)
	if _, err := c.Get(); !errors.Is(err, f.err) {
		t.Errorf("Get says %v, want the failure", err)
	}
	if _, _, err := c.Due(Namespace("team"), nil, false); !errors.Is(err, f.err) {
		t.Errorf("Due says %v, want the failure", err)
	}
	if _, _, err := c.Due(Namespace("team"), nil, true); err != nil {
		t.Errorf("Due of an excluded Namespace says %v, want nothing", err)
	}
}

// informerOf returns an informer that is not started, with these ClusterPullSecrets in its
// cache.
func informerOf(t testing.TB, client versioned.Interface, all ...*v1alpha1.ClusterPullSecret) informers.ClusterPullSecretInformer {
	t.Helper()
	informer := externalversions.NewSharedInformerFactory(client, 0).Pullsecrets().V1alpha1().ClusterPullSecrets()
	for _, cps := range all {
		if err := informer.Informer().GetIndexer().Add(cps); err != nil {
			t.Fatal(err)
		}
	}
	return informer
}

func catalogOf(t *testing.T, all ...*v1alpha1.ClusterPullSecret) *catalog.Catalog {
	t.Helper()
	informer := informerOf(t, fake.NewSimpleClientset(), all...)
	return catalog.New(informer.Lister())
}

// TestDue checks what a Namespace is granted and which copies it needs.
func TestDue(t *testing.T) {
	c := catalogOf(
		t,
		ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = []string{"ghcr.io"} }),
		ClusterPullSecret("quay", func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "blue"}
			cps.Status.Registries = []string{"quay.io"}
		}),
		ClusterPullSecret("usurper", func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.SecretName, cps.CreationTimestamp = "ghcr", metav1.NewTime(time.Unix(1e9, 0))
		}),
	)
	blue := WithNamespaceLabel("team", "blue")
	auto := WithAnnotation(pullsecrets.InjectAnnotation, "auto")
	onlyInit := func(svc *servingv1.Service) {
		svc.Spec.Template.Spec.InitContainers, svc.Spec.Template.Spec.Containers = svc.Spec.Template.Spec.Containers, nil
	}
	for _, test := range []struct {
		reason    string
		namespace *corev1.Namespace
		services  []*servingv1.Service
		excluded  bool
		granted   []string
		wanted    []string
	}{
		{"granted and not asked for", Namespace("team"), nil, false, []string{"ghcr"}, nil},
		{"granted and asked for", Namespace("team", asks("ghcr")), nil, false, []string{"ghcr"}, []string{"ghcr"}},
		{"excluded", Namespace("team", asks("ghcr")), []*servingv1.Service{Service("team", "app", auto)}, true, nil, nil},
		{"asked for and not granted", Namespace("team", asks("quay")), nil, false, []string{"ghcr"}, nil},
		{"granted by a label", Namespace("team", asks("quay"), blue), nil, false, []string{"ghcr", "quay"}, []string{"quay"}},
		{
			"asked for by a Service", Namespace("team", blue),
			[]*servingv1.Service{Service("team", "app"), Service("team", "other", WithAnnotation(pullsecrets.SecretsAnnotation, "quay"))},
			false,
			[]string{"ghcr", "quay"},
			[]string{"quay"},
		},
		{
			"a Service asks for what covers its images", Namespace("team", blue),
			[]*servingv1.Service{Service("team", "app", auto, WithImage("quay.io/acme/app"))},
			false,
			[]string{"ghcr", "quay"},
			[]string{"quay"},
		},
		{
			"and those of its init containers", Namespace("team", blue),
			[]*servingv1.Service{Service("team", "app", auto, WithImage("quay.io/acme/app"), onlyInit)},
			false,
			[]string{"ghcr", "quay"},
			[]string{"quay"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			granted, wanted, err := c.Due(test.namespace, test.services, test.excluded)
			if err != nil {
				t.Fatal(err)
			}
			if got := namesOf(granted.Serving); !slices.Equal(got, test.granted) {
				t.Errorf("granted are %v, want %v", got, test.granted)
			}
			if got := namesOf(wanted); !slices.Equal(got, test.wanted) {
				t.Errorf("wanted are %v, want %v", got, test.wanted)
			}
			if beaten := granted.Beaten["usurper"]; !test.excluded && beaten != "ghcr" {
				t.Errorf("usurper is beaten by %q, want ghcr", beaten)
			}
		})
	}
}

func asks(name string) NamespaceOption {
	return WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, name)
}

// Without ClusterPullSecrets, nothing is granted.
func TestDueOfNothing(t *testing.T) {
	empty := catalogOf(t)
	if granted, wanted, err := empty.Due(Namespace("team", asks("ghcr")), nil, false); err != nil || len(granted.Serving)+len(wanted) > 0 {
		t.Errorf("where nothing is granted, Due = %v, %v, %v", granted, wanted, err)
	}
}

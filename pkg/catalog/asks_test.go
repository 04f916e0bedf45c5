// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package catalog_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/client/clientset/versioned/fake"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// An object is parsed once, when it is new. Changes of an object in a cache, which never
// happen otherwise, are not seen.
func TestObjectsAreParsedOnce(t *testing.T) {
	cps := ClusterPullSecret("ghcr")
	c := catalogOf(t, cps, ClusterPullSecret("quay"))
	wants := func(namespace *corev1.Namespace, services ...*servingv1.Service) bool {
		t.Helper()
		_, serves, wanted, err := c.DueOf(cps, namespace, services, false)
		if err != nil || !serves {
			t.Fatalf("serves = %t, %v", serves, err)
		}
		_, all, err := c.Due(namespace, services, false)
		if err != nil || len(all) > 0 != wanted {
			t.Fatalf("Due says %v, %v, and DueOf %t", namesOf(all), err, wanted)
		}
		return wanted
	}
	namespace, other := Namespace("team"), Service("team", "other")
	asking := Service("team", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))
	if wants(namespace) || !wants(namespace, other, asking) {
		t.Error("a Service that asks makes the difference")
	}
	asking.Annotations[pullsecrets.SecretsAnnotation] = "nothing"
	if !wants(namespace, asking, other) {
		t.Error("a Service is read again")
	}
	if !wants(Namespace("team"), asking, other) {
		t.Error("a Service is read again because its Namespace has changed")
	}
	if wants(namespace, asking.DeepCopy(), other) {
		t.Error("a changed Service is not read")
	}
	if wants(namespace, other) {
		t.Error("a Service that is gone asks")
	}
	if older, serves, wanted, err := c.DueOf(cps, Namespace("team", asks("ghcr")), nil, true); older != "" || serves || wanted || err != nil {
		t.Errorf("of an excluded Namespace, DueOf = %q, %t, %t, %v", older, serves, wanted, err)
	}
}

// Knative's settings are evaluated in each call, although objects are parsed once.
func TestSettingsOfImages(t *testing.T) {
	cps := ClusterPullSecret("quay", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = []string{"quay.io"} })
	c := catalogOf(t, cps)
	var settings grant.ImageSettings
	c.Covers = func(cps *v1alpha1.ClusterPullSecret, image grant.Image) bool { return settings.Covers(cps, image) }
	namespace, services := Namespace("team"), []*servingv1.Service{Service("team", "app", WithAnnotation(pullsecrets.InjectAnnotation, "auto"))}
	for _, step := range []struct {
		queueProxy string
		want       bool
	}{{"", false}, {"quay.io/mirror/queue", true}, {"ghcr.io/mirror/queue", false}} {
		settings.QueueProxy = step.queueProxy
		_, _, wanted, err := c.DueOf(cps, namespace, services, false)
		if err != nil || wanted != step.want {
			t.Errorf("with the queue-proxy %q, a copy is wanted: %t, %v, want %t", step.queueProxy, wanted, err, step.want)
		}
		if _, all, err := c.Due(namespace, services, false); err != nil || (len(all) > 0) != step.want {
			t.Errorf("with the queue-proxy %q, Due says %v, %v", step.queueProxy, namesOf(all), err)
		}
	}
}

// counting counts the calls of a lister.
type counting struct {
	listers.ClusterPullSecretLister
	lists int
}

func (c *counting) List(s labels.Selector) ([]*v1alpha1.ClusterPullSecret, error) {
	c.lists++
	return c.ClusterPullSecretLister.List(s)
}

// The lister is called only after a change, and a change is visible at once, before any
// event.
func TestListsOnlyAfterChanges(t *testing.T) {
	informer := informerOf(t, fake.NewSimpleClientset(), ClusterPullSecret("first"))
	store, counted := informer.Informer().GetIndexer(), &counting{ClusterPullSecretLister: informer.Lister()}
	c, err := catalog.Of(informer.Informer(), counted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Of(informer.Informer(), informer.Lister()); err != nil {
		t.Errorf("a second catalog: %v", err)
	}
	changed := ClusterPullSecret("second")
	changed.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "blue"}
	for i, step := range []struct {
		reason string
		do     func() error
		want   string
	}{
		{"the start", func() error { return nil }, "[first]"},
		{"an addition", func() error { return store.Add(ClusterPullSecret("second")) }, "[first second]"},
		{"an update", func() error { return store.Update(changed) }, "[first]"},
		{"a deletion", func() error { return store.Delete(ClusterPullSecret("first")) }, "[]"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			all, err := c.Get()
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(namesOf(all.For(nil).Serving)); got != step.want {
				t.Errorf("after %s, %s are granted, want %s", step.reason, got, step.want)
			}
		}
		if counted.lists != i+1 {
			t.Errorf("after %s, the cache was listed %d times", step.reason, counted.lists)
		}
	}
}

// BenchmarkDue evaluates Namespaces while nothing changes.
func BenchmarkDue(b *testing.B) {
	for _, size := range []struct{ clusterPullSecrets, namespaces int }{{50, 100}, {500, 100}, {500, 1000}} {
		b.Run(fmt.Sprintf("%d ClusterPullSecrets, %d Namespaces", size.clusterPullSecrets, size.namespaces), func(b *testing.B) {
			informer := informerOf(b, fake.NewSimpleClientset())
			for i := range size.clusterPullSecrets {
				cps := ClusterPullSecret(fmt.Sprintf("ghcr-%03d", i))
				cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": fmt.Sprint(i)}
				if err := informer.Informer().GetIndexer().Add(cps); err != nil {
					b.Fatal(err)
				}
			}
			c, err := catalog.Of(informer.Informer(), informer.Lister())
			if err != nil {
				b.Fatal(err)
			}
			var namespaces []*corev1.Namespace
			var services [][]*servingv1.Service
			for i := range size.namespaces {
				name := fmt.Sprint("ns-", i)
				namespaces = append(namespaces, Namespace(name, WithNamespaceLabel("team", fmt.Sprint(i%50))))
				services = append(services, []*servingv1.Service{
					Service(name, "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr-001")), Service(name, "other"),
				})
			}
			look := func(i int) {
				if _, _, err := c.Due(namespaces[i], services[i], false); err != nil {
					b.Fatal(err)
				}
			}
			for i := range namespaces {
				look(i)
			}
			for i := 0; b.Loop(); i++ {
				look(i % size.namespaces)
			}
		})
	}
}

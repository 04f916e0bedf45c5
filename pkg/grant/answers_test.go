// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

type counting struct {
	labels.Selector
	asked *int
}

func (c counting) Matches(l labels.Labels) bool {
	*c.asked++
	return c.Selector.Matches(l)
}

// Selectors are evaluated once for each combination of labels, until one of them changes.
func TestSelectorsAreAskedOnce(t *testing.T) {
	var all []*v1alpha1.ClusterPullSecret
	for i := range 50 {
		cps := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%02d", i)}}
		cps.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint(i)}}
		all = append(all, cps)
	}
	remember := func() Memory {
		kept := map[string]Answer{}
		return func(key string, judge func() Answer) Answer {
			if _, ok := kept[key]; !ok {
				kept[key] = judge()
			}
			return kept[key]
		}
	}
	c, asked := Catalog{}.Renewed(all, remember), 0
	count := func() {
		for i := range c.offers {
			c.offers[i].selector = counting{c.offers[i].selector, &asked}
		}
	}
	look := func(step string, want int) {
		t.Helper()
		count()
		asked = 0
		for i := range 100 {
			granted := c.For(map[string]string{"kubernetes.io/metadata.name": fmt.Sprint("ns-", i), "team": fmt.Sprint(i % 10)})
			if names := namesOf(granted.Serving); !slices.Equal(names, []string{fmt.Sprintf("team-%02d", i%10)}) {
				t.Errorf("%s: %v serve", step, names)
			}
		}
		if asked != want {
			t.Errorf("%s: selectors are asked %d times, want %d", step, asked, want)
		}
	}
	look("ten kinds of Namespaces", 10*50)
	look("again", 0)

	all = slices.Clone(all)
	all[3] = all[3].DeepCopy()
	all[3].Status.Registries = []string{"ghcr.io"}
	c = c.Renewed(all, remember)
	look("another status", 0)
	if serving := c.For(map[string]string{"team": "3"}).Serving; !slices.Contains(serving, all[3]) {
		t.Error("an old ClusterPullSecret serves")
	}

	all[49] = all[49].DeepCopy()
	all[49].Spec.NamespaceSelector.MatchLabels["team"] = "other"
	c = c.Renewed(all, remember)
	look("another selector", 10*50)
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/merge"
)

// offered makes a ClusterPullSecret of an age in seconds for namespaces of a team.
func offered(name, secret, team string, age int, edits ...func(*v1alpha1.ClusterPullSecret)) *v1alpha1.ClusterPullSecret {
	cps := &v1alpha1.ClusterPullSecret{}
	cps.Name = name
	cps.CreationTimestamp = metav1.NewTime(time.Unix(1e9-int64(age), 0))
	cps.Spec.SecretName = secret
	cps.Spec.SecretRef = v1alpha1.SecretReference{Namespace: "sources", Name: name}
	cps.Spec.NamespaceSelector = &metav1.LabelSelector{}
	if team != "" {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": team}
	}
	for _, edit := range edits {
		edit(cps)
	}
	return cps
}

func always(cps *v1alpha1.ClusterPullSecret)   { cps.Spec.Always = &v1alpha1.Always{} }
func deleting(cps *v1alpha1.ClusterPullSecret) { cps.DeletionTimestamp = new(metav1.Now()) }

func namesOf(all []*v1alpha1.ClusterPullSecret) []string {
	var names []string
	for _, cps := range all {
		names = append(names, cps.Name)
	}
	return names
}

func TestFor(t *testing.T) {
	for _, test := range []struct {
		reason string
		all    []*v1alpha1.ClusterPullSecret
		labels map[string]string
		want   []string
		beaten map[string]string
	}{
		{"an empty selector selects every namespace", []*v1alpha1.ClusterPullSecret{offered("ghcr", "", "", 1)}, nil, []string{"ghcr"}, nil},
		{
			"others are not granted",
			[]*v1alpha1.ClusterPullSecret{offered("ghcr", "", "red", 1), offered("quay", "", "blue", 1)},
			map[string]string{"team": "blue"},
			[]string{"quay"}, nil,
		},
		{
			"no selector grants nothing, whatever validation has let pass",
			[]*v1alpha1.ClusterPullSecret{offered("ghcr", "", "", 1, func(c *v1alpha1.ClusterPullSecret) { c.Spec.NamespaceSelector = nil })},
			nil, nil, nil,
		},
		{
			"neither does one that does not parse",
			[]*v1alpha1.ClusterPullSecret{offered("ghcr", "", "", 1, func(c *v1alpha1.ClusterPullSecret) {
				c.Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}
			})},
			nil, nil, nil,
		},
		{"nor one that is being deleted", []*v1alpha1.ClusterPullSecret{offered("ghcr", "", "", 1, deleting)}, nil, nil, nil},
		{
			"the older serves under a name that two have",
			[]*v1alpha1.ClusterPullSecret{offered("a", "pull", "", 1), offered("b", "pull", "", 2)},
			nil,
			[]string{"b"}, map[string]string{"a": "b"},
		},
		{
			"of the same age, the first by name",
			[]*v1alpha1.ClusterPullSecret{offered("b", "pull", "", 1), offered("a", "pull", "", 1)},
			nil,
			[]string{"a"}, map[string]string{"b": "a"},
		},
		{
			"but only where both select",
			[]*v1alpha1.ClusterPullSecret{offered("a", "pull", "red", 2), offered("b", "pull", "blue", 1)},
			map[string]string{"team": "blue"},
			[]string{"b"}, nil,
		},
		{
			"one that is being deleted makes room",
			[]*v1alpha1.ClusterPullSecret{offered("a", "pull", "", 2, deleting), offered("b", "pull", "", 1)},
			nil,
			[]string{"b"}, nil,
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got := NewCatalog(test.all).For(test.labels)
			if diff := cmp.Diff(test.want, namesOf(got.Serving)); diff != "" {
				t.Errorf("serving (-want, +got):\n%s", diff)
			}
			if !maps.Equal(got.Beaten, test.beaten) {
				t.Errorf("beaten = %v, want %v", got.Beaten, test.beaten)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	all := []*v1alpha1.ClusterPullSecret{
		offered("ghcr", "", "", 1), offered("platform", "", "", 1, always), offered("quay", "quay-robot", "", 1),
	}
	covers := func(cps *v1alpha1.ClusterPullSecret, image Image) bool {
		return strings.HasPrefix(image.Reference, cps.Name)
	}
	for _, test := range []struct {
		reason    string
		namespace annotation.Namespace
		services  []annotation.Service
		images    []string
		want      []string
	}{
		{"nobody asks", annotation.Namespace{}, nil, nil, []string{"platform"}},
		{"the Namespace asks by the copy's name", annotation.Namespace{Secrets: []string{"quay-robot"}}, nil, nil, []string{"platform", "quay"}},
		{"the ClusterPullSecret's own name is none", annotation.Namespace{Secrets: []string{"quay"}}, nil, nil, []string{"platform"}},
		{"a Service asks", annotation.Namespace{}, []annotation.Service{{Secrets: []string{"ghcr"}}}, nil, []string{"ghcr", "platform"}},
		{"auto on the Namespace asks for all", annotation.Namespace{Inject: annotation.Auto}, nil, nil, []string{"ghcr", "platform", "quay"}},
		{
			"auto on a Service asks for what covers its images",
			annotation.Namespace{},
			[]annotation.Service{{Inject: annotation.Auto}},
			[]string{"quay.io/app"},
			[]string{"platform", "quay"},
		},
		{
			"images of others do not count",
			annotation.Namespace{},
			[]annotation.Service{{Inject: annotation.Declared}},
			[]string{"quay.io/app"},
			[]string{"platform"},
		},
		{
			"disabled is about Services and not about copies",
			annotation.Namespace{Secrets: []string{"ghcr"}, Inject: annotation.Disabled},
			nil, nil,
			[]string{"ghcr", "platform"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			asks := NewAsks(test.namespace)
			for _, service := range test.services {
				asks.AddService(service, imagesOf(test.images))
			}
			got := NewCatalog(all).For(nil).Wanted(asks, covers)
			if diff := cmp.Diff(test.want, namesOf(got)); diff != "" {
				t.Errorf("wanted (-want, +got):\n%s", diff)
			}
		})
	}
}

// What a Namespace may have does not depend on the order in which
// ClusterPullSecrets are listed, each name of a copy is served once, and whoever
// selects the Namespace either serves or is beaten by one that does.
func TestLawsOfGrants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	teams, secrets := []string{"", "red", "blue"}, []string{"", "pull", "other"}
	for range 2000 {
		var all []*v1alpha1.ClusterPullSecret
		for _, name := range []string{"a", "b", "c", "d", "e"}[:random.IntN(6)] {
			cps := offered(name, secrets[random.IntN(3)], teams[random.IntN(3)], random.IntN(3))
			if random.IntN(5) == 0 {
				deleting(cps)
			}
			all = append(all, cps)
		}
		labels := map[string]string{"team": teams[random.IntN(3)]}
		g := NewCatalog(all).For(labels)
		shuffled := slices.Clone(all)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := NewCatalog(shuffled).For(labels); !slices.Equal(namesOf(g.Serving), namesOf(again.Serving)) || !maps.Equal(g.Beaten, again.Beaten) {
			t.Fatalf("%v and %v for %v in two orders: %v", namesOf(g.Serving), namesOf(again.Serving), labels, namesOf(all))
		}
		for _, cps := range g.Serving {
			if g.Named(SecretName(cps)) != cps {
				t.Fatalf("%s serves under a name that another one serves too", cps.Name)
			}
		}
		for beaten, by := range g.Beaten {
			if !slices.Contains(namesOf(g.Serving), by) || slices.Contains(namesOf(g.Serving), beaten) {
				t.Fatalf("%s is beaten by %s; serving are %v", beaten, by, namesOf(g.Serving))
			}
		}
	}
}

func TestWithheld(t *testing.T) {
	red := map[string]string{"team": "red"}
	for _, test := range []struct {
		reason string
		all    []*v1alpha1.ClusterPullSecret
		want   string
	}{
		{"nobody has the name", []*v1alpha1.ClusterPullSecret{offered("pull", "other", "blue", 1)}, ""},
		{"it serves", []*v1alpha1.ClusterPullSecret{offered("ghcr", "pull", "red", 1)}, ""},
		{"it serves others", []*v1alpha1.ClusterPullSecret{offered("ghcr", "pull", "blue", 1)}, "ghcr"},
		{"of several, the oldest", []*v1alpha1.ClusterPullSecret{offered("new", "pull", "blue", 1), offered("old", "pull", "green", 2)}, "old"},
		{"another one serves under the name", []*v1alpha1.ClusterPullSecret{offered("old", "pull", "blue", 2), offered("new", "pull", "red", 1)}, ""},
		{"one that is being deleted withholds nothing", []*v1alpha1.ClusterPullSecret{offered("ghcr", "pull", "blue", 1, deleting)}, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got := ""
			if cps := NewCatalog(test.all).Withheld("pull", red); cps != nil {
				got = cps.Name
			}
			if got != test.want {
				t.Errorf("Withheld() = %q, want %q", got, test.want)
			}
		})
	}
}

func imagesOf(references []string) []Image {
	var images []Image
	for _, reference := range references {
		images = append(images, Image{Reference: reference})
	}
	return images
}

func TestIsSource(t *testing.T) {
	cps := offered("ghcr", "", "", 1)
	if !IsSource(cps, "sources", "ghcr") || IsSource(cps, "team", "ghcr") || IsSource(cps, "sources", "other") {
		t.Error("IsSource does not tell the source from other Secrets")
	}
}

func TestLayers(t *testing.T) {
	services := func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{Services: true} }
	g := NewCatalog([]*v1alpha1.ClusterPullSecret{
		offered("ghcr", "ghcr-robot", "", 1, services), offered("quay", "", "", 1), offered("docker", "", "", 1, always),
	}).For(nil)
	covers := func(cps *v1alpha1.ClusterPullSecret, image Image) bool {
		return strings.HasPrefix(image.Reference, cps.Name)
	}
	images := imagesOf([]string{"docker.io/sidecar", "quay.io/app", "quay.io/other"})
	ghcr := merge.Grant{ClusterPullSecret: "ghcr", Secret: "ghcr-robot"}
	for _, test := range []struct {
		reason       string
		policy       annotation.Policy
		always, auto []merge.Grant
	}{
		{"declared on the Service: neither", annotation.Policy{}, nil, nil},
		{"always", annotation.Policy{Always: true}, []merge.Grant{ghcr}, nil},
		{
			"auto, each once, by name",
			annotation.Policy{Always: true, Auto: true},
			[]merge.Grant{ghcr},
			[]merge.Grant{{ClusterPullSecret: "docker", Secret: "docker"}, {ClusterPullSecret: "quay", Secret: "quay"}},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			always, auto := g.layers(test.policy, Service{Images: func() []Image { return images }}, covers)
			if diff := cmp.Diff(test.always, always); diff != "" {
				t.Errorf("always (-want, +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.auto, auto); diff != "" {
				t.Errorf("auto (-want, +got):\n%s", diff)
			}
		})
	}
}

func TestBound(t *testing.T) {
	to := func(names ...string) func(*v1alpha1.ClusterPullSecret) {
		return func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Always = &v1alpha1.Always{ServiceAccounts: names} }
	}
	g := NewCatalog([]*v1alpha1.ClusterPullSecret{
		offered("all", "", "", 1, to("*")), offered("some", "", "", 1, to("builder", "default")), offered("none", "", "", 1, always), offered("asked", "", "", 1),
	}).For(nil)
	for account, want := range map[string][]merge.Grant{
		"default": {{ClusterPullSecret: "all", Secret: "all"}, {ClusterPullSecret: "some", Secret: "some"}},
		"other":   {{ClusterPullSecret: "all", Secret: "all"}},
	} {
		if diff := cmp.Diff(want, g.Bound(account, merge.Current{})); diff != "" {
			t.Errorf("ServiceAccount %s (-want, +got):\n%s", account, diff)
		}
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kauth "github.com/google/go-containerregistry/pkg/authn/kubernetes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

const resolution, kubelet = dockerconfig.TagResolution, dockerconfig.Kubelet

var someSettings = grant.ImageSettings{QueueProxy: "ghcr.io/acme/queue", Unresolved: sets.New("reg.example.com")}

func (w *world) results() []Result { return Of(w.template, w.known, someSettings, now) }

// changed returns a copy of the world with a change.
func (w *world) changed(change func(*world)) *world {
	copied := *w
	copied.known = maps.Clone(w.known)
	copied.template.PullSecrets, copied.template.ServiceAccount = slices.Clone(w.template.PullSecrets), slices.Clone(w.template.ServiceAccount)
	change(&copied)
	return &copied
}

// laws checks properties of every result. It returns the reasons of tag resolution.
func laws(t *testing.T, w *world, r *rand.Rand) (reasons []Reason) {
	t.Helper()
	before, results := fmt.Sprintf("%+v", w.template), w.results()
	if fmt.Sprintf("%+v", results) != fmt.Sprintf("%+v", w.results()) {
		t.Errorf("the second result is another: %+v", results)
	}
	if after := fmt.Sprintf("%+v", w.template); before != after {
		t.Errorf("the template was changed:\n%s\n%s", before, after)
	}
	var got []Image
	for _, result := range results {
		got = append(got, result.Image)
		reasons = append(reasons, result.Verdicts[resolution].Reason)
		for _, v := range result.Verdicts {
			lawsOfForm(t, v)
		}
	}
	if diff := cmp.Diff(append(slices.Clone(w.template.Images), Image{QueueProxy, "queue-proxy", "ghcr.io/acme/queue"}), got); diff != "" {
		t.Errorf("other images, or in another order (-want, +got):\n%s", diff)
	}
	lawOfAppending(t, w, results, r)
	lawOfUnknown(t, w, results)
	shuffled := w.changed(func(w *world) {
		for _, list := range [][]string{w.template.PullSecrets, w.template.ServiceAccount} {
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
	})
	for i, result := range shuffled.results() {
		if was, is := results[i].Verdicts[kubelet].Reason, result.Verdicts[kubelet].Reason; was != is {
			t.Errorf("the order of the list makes %s of %s for the kubelet: %+v", is, was, w.template)
		}
	}
	return reasons
}

// lawsOfForm checks the form of a verdict.
func lawsOfForm(t *testing.T, v Verdict) {
	t.Helper()
	e, found := v.Decisive()
	if found && e.Reason != v.Reason || !found && slices.Contains(ranked, v.Reason) && v.Reason != NotChecked {
		t.Errorf("the verdict is %s by an entry that is %s (%t)", v.Reason, e.Reason, found)
	}
	unread, turns := false, sets.New[int]()
	for _, entry := range v.Entries {
		if unread && !entry.Unread {
			t.Errorf("an entry that is read after one that is not: %+v", v.Entries)
		}
		unread = entry.Unread
		if entry.Turn > 0 && (turns.Has(entry.Turn) || entry.Unread) || entry.Reason == "" {
			t.Errorf("%+v in %+v", entry, v.Entries)
		}
		turns.Insert(entry.Turn)
	}
	lawsOfText(t, v)
}

// lawsOfText checks that a verdict has a text, without a credential.
func lawsOfText(t *testing.T, v Verdict) {
	t.Helper()
	for _, text := range []string{v.Message(), v.Remedy()} {
		if strings.Contains(strings.ToLower(fmt.Sprintf("%s %+v", text, v)), "hunter2") || strings.Contains(text, "\n") {
			t.Errorf("%s: %q", v.Reason, text)
		}
	}
	if _, ok := texts[v.Reason]; !ok || v.Message() == "" {
		t.Errorf("%s has the message %q", v.Reason, v.Message())
	}
}

// lawOfAppending checks a further Secret at the end. Tag resolution uses the same entry as
// before, unless the Secret has a key that precedes its key. For the kubelet, everything stays
// covered, unless the Secret hides the key of Docker Hub.
func lawOfAppending(t *testing.T, w *world, results []Result, r *rand.Rand) {
	t.Helper()
	further := w.changed(func(w *world) {
		w.objects, w.ids = map[string]*corev1.Secret{}, map[string]string{}
		w.add("further", w.someSecret(r, "further"))
		if w.template.ServiceAccount = append(w.template.ServiceAccount, "further"); len(w.template.PullSecrets) > 0 {
			w.template.PullSecrets = append(w.template.PullSecrets, "further")
		}
	})
	added := further.known["further"].Facts
	for i, result := range further.results() {
		was, is := results[i].Verdicts, result.Verdicts
		used, _ := was[kubelet].Decisive()
		hidden := used.Key == "index.docker.io" && is[kubelet].Reason == Shadowed
		if was[kubelet].Reason == Covered && is[kubelet].Reason != Covered && added.Rejected[kubelet] == nil && !hidden {
			t.Errorf("%s was covered for the kubelet, and is %s with a further Secret", result.Reference, is[kubelet].Reason)
		}
		if was[resolution].Reason != Covered || added.Rejected[resolution] != nil || decided(was[resolution]) == decided(is[resolution]) {
			continue
		}
		used, _ = was[resolution].Decisive()
		first := is[resolution].Entries[slices.IndexFunc(is[resolution].Entries, func(e Entry) bool { return e.Turn == 1 })]
		// In the template's list it also precedes the same key in the ServiceAccount's.
		if first.Secret != "further" || first.Key < used.Key || first.Key == used.Key && !used.ServiceAccount {
			t.Errorf("%s was %s, and is %s with a further Secret", result.Reference, decided(was[resolution]), decided(is[resolution]))
		}
	}
}

// lawOfUnknown checks that nothing is guessed: where a Secret that the reader reads is not known,
// an image is either covered by another one or not checked, unless nothing can help.
func lawOfUnknown(t *testing.T, w *world, results []Result) {
	t.Helper()
	for name := range w.known {
		less := w.changed(func(w *world) { delete(w.known, name) })
		for i, result := range less.results() {
			for reader, v := range result.Verdicts {
				if len(v.Entries) == 0 {
					continue // The reader reads nothing.
				}
				at := slices.IndexFunc(v.Entries, func(e Entry) bool { return e.Secret == name && !e.Unread && e.Reason != InvalidName })
				certain := []Reason{Covered, NotResolved, InvalidImage, InvalidName, Malformed, NotChecked}
				if at >= 0 && !slices.Contains(certain, v.Reason) {
					t.Errorf("%s is %s, although Secret %s is not known", result.Reference, v.Reason, name)
				}
				was := results[i].Verdicts[reader].Reason
				if at < 0 && was != v.Reason && was != NotListed {
					t.Errorf("%s is %s, and was %s, although Secret %s is not read", result.Reference, v.Reason, was, name)
				}
			}
		}
	}
}

func TestLaws(t *testing.T) {
	r, counts := rand.New(rand.NewPCG(3, 4)), map[Reason]int{}
	for range 500 {
		for _, reason := range laws(t, someWorld(r), r) {
			counts[reason]++
		}
	}
	if counts[Covered] < 100 || counts[Shadowed] == 0 || counts[NoMatch] < 50 || counts[NotResolved] < 100 {
		t.Errorf("%v is too little to say anything", counts)
	}
}

// What is said to be covered when injection is decided is covered here.
func TestAgreesWithGrants(t *testing.T) {
	r, covered := rand.New(rand.NewPCG(5, 6)), 0
	for range 1000 {
		w := someWorld(r)
		for _, secret := range w.known {
			var cps v1alpha1.ClusterPullSecret
			for _, e := range secret.Facts.Entries {
				cps.Status.Registries = append(cps.Status.Registries, e.Key)
			}
			w.template.PullSecrets = []string{"copy"}
			w.template.ServiceAccount = nil
			known := secrets{"copy": {State: Known, Facts: dockerconfig.FactsOf(cps.Status.Registries)}}
			for i, result := range Of(w.template, known, someSettings, now) {
				image := grant.Image{Reference: result.Reference, QueueProxy: result.Kind == QueueProxy, KubeletAlone: result.Kind == ImageVolume}
				if !someSettings.Covers(&cps, image) {
					continue
				}
				if covered++; !result.Covered() {
					t.Errorf("%d: %s is covered by %v, and here: %s", i, result.Reference, cps.Status.Registries, decided(result.Verdicts[0]))
				}
			}
		}
	}
	if covered < 500 {
		t.Errorf("%d covered images are too few to say anything", covered)
	}
}

// FuzzOf checks the laws, with a Secret of any text and any image, and that the verdicts of tag
// resolution are those of the keychain itself.
func FuzzOf(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, []byte(config("ghcr.io", good, "docker.io", `{"identitytoken":"x"}`)), "ghcr.io/acme/app", "a")
	}
	f.Add(uint64(1), []byte(`{"auths":{"ghcr.io:x":{}}}`), "localhost/app", "")
	f.Add(uint64(2), []byte(`[]`), "ghcr.io/acme/app"+digest, "x/y")
	f.Fuzz(func(t *testing.T, seed uint64, text []byte, image, name string) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := someWorld(r)
		fuzzed := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: text}}
		w.add(name, fuzzed)
		w.template.PullSecrets = append(w.template.PullSecrets, name)
		w.template.Images = append(w.template.Images, Image{Container, name, image})
		laws(t, w, r)

		one := &world{template: Template{Images: w.template.Images, PullSecrets: []string{"fuzzed"}}, objects: map[string]*corev1.Secret{}, known: secrets{}}
		one.add("fuzzed", fuzzed)
		keychain, err := kauth.NewFromPullSecrets(t.Context(), []corev1.Secret{*fuzzed})
		for _, result := range Of(one.template, one.known, grant.ImageSettings{}, now) {
			v := result.Verdicts[resolution]
			if v.Reason == NotResolved || v.Reason == NotChecked || v.Reason == Covered && len(result.Reference) > 0 {
				continue // It is not asked, or dockerconfig.FuzzInspect compares the entry.
			}
			if problem := disagreement(t, keychain, err, one, result.Reference, v); problem != "" {
				t.Errorf("%q: %s, and here: %s", result.Reference, problem, decided(v))
			}
		}
	})
}

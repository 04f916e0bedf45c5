// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

func serving() *v1alpha1.ClusterPullSecret {
	cps := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "ghcr"}}
	cps.Status.Source = &v1alpha1.SourceStatus{ResourceVersion: "7"}
	return cps
}

// cachedCopy returns a copy as it is cached, with a digest for data.
func cachedCopy(edits ...func(*corev1.Secret)) *corev1.Secret {
	copied := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ghcr", UID: "uid", ResourceVersion: "21"},
		Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("one")},
	}
	grant.SetCopyMetadata(&copied.ObjectMeta, serving(), "7")
	for _, edit := range edits {
		edit(copied)
	}
	return copied
}

func kept(s *corev1.Secret)         { s.ManagedFields = grant.Keeper("argocd") }
func neverACopy(s *corev1.Secret)   { s.Annotations = nil }
func otherData(s *corev1.Secret)    { s.Data[corev1.DockerConfigJsonKey] = []byte("two") }
func immutable(s *corev1.Secret)    { s.Immutable = new(true) }
func ofAnother(s *corev1.Secret)    { s.Labels[pullsecrets.ClusterPullSecretLabel] = "older" }
func beingDeleted(s *corev1.Secret) { s.DeletionTimestamp = new(metav1.NewTime(time.Unix(1e9, 0))) }

// TestDecide lists every decision with its inputs.
func TestDecide(t *testing.T) {
	source := &Source{Digest: "one"}
	with := func(edits ...func(*Situation)) Situation {
		s := Situation{Serving: serving(), Wanted: true, SourceReady: true, Source: source}
		for _, edit := range edits {
			edit(&s)
		}
		return s
	}
	have := func(edits ...func(*corev1.Secret)) func(*Situation) {
		return func(s *Situation) { s.Have = cachedCopy(edits...) }
	}
	unwanted := func(r Reference) func(*Situation) {
		return func(s *Situation) { s.Wanted, s.Reference = false, r }
	}
	notGranted := func(g Grant) func(*Situation) {
		return func(s *Situation) { s.Serving, s.Source, s.Wanted, s.SourceReady, s.Grant = nil, nil, false, false, g }
	}
	notReady := func(s *Situation) { s.SourceReady, s.Source = false, nil }
	backoff := func(s *Situation) { s.Backoff = time.Minute }
	for _, test := range []struct {
		reason string
		s      Situation
		want   Action
	}{
		{"wanted, and missing", with(), Action{Verb: Create}},
		{"the source is not known yet", with(func(s *Situation) { s.Source = nil }), Action{Verb: Ask, Fact: FactSource}},
		{"the source has changed since the status was written", with(func(s *Situation) { s.Source = &Source{StatusStale: true} }), Action{After: RecheckSource}},
		{"the source is not ready", with(notReady), Action{}},
		{"up to date", with(have()), Action{}},
		{"tampered with", with(have(otherData)), Action{Verb: Update}},
		{"tampered with, again and again", with(have(otherData), backoff), Action{After: time.Minute}},
		{"another key", with(have(func(s *corev1.Secret) { s.Data["x"] = nil })), Action{Verb: Update}},
		{"an owner", with(have(func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{{}} })), Action{Verb: Update}},
		{"immutable", with(have(immutable)), Action{Verb: Replace}},
		{"of another type", with(have(func(s *corev1.Secret) { s.Type = "Opaque" })), Action{Verb: Replace}},
		{"immutable, again and again", with(have(immutable), backoff), Action{After: time.Minute}},
		{"the source itself", with(have(otherData), func(s *Situation) { s.IsSource = true }), Action{}},
		{"the cache does not show the last write", with(func(s *Situation) { s.Unseen = time.Second }), Action{After: time.Second}},
		{"being deleted", with(have(beingDeleted)), Action{Verb: Release}},

		{"taken over", with(have(kept, otherData)), Action{Verb: Disown}},
		{"taken over with the same data", with(have(kept)), Action{Verb: Disown}},
		{"taken over, and being deleted", with(have(kept, beingDeleted)), Action{Verb: Disown}},
		{"taken over, and not asked for", with(have(kept), unwanted("")), Action{Verb: Disown}},
		{"taken over, and the source is not ready", with(have(kept), notReady), Action{Verb: Disown}},
		{"taken over, and not granted", with(have(kept), notGranted("")), Action{Verb: Disown}},
		{"taken over, and backing off", with(have(kept, otherData), backoff), Action{Verb: Disown}},
		{"adopted by its labels", with(have(kept, neverACopy, otherData)), Action{Verb: Update}},
		{"adopted by its labels, of another type", with(have(kept, neverACopy, immutable)), Action{Verb: Disown}},
		{"labelled by its owner, and nothing grants it", with(have(kept, neverACopy), notGranted(Ended)), Action{Verb: Disown}},
		{"labelled by its owner, and not asked for", with(have(kept, neverACopy), unwanted(Unreferenced)), Action{Verb: Disown}},

		{"not asked for, and missing", with(unwanted("")), Action{}},
		{"not asked for", with(have(), unwanted("")), Action{Verb: Ask, Fact: FactReference}},
		{"not asked for, unreferenced", with(have(), unwanted(Unreferenced)), Action{Verb: Remove}},
		{"not asked for, referenced by a Service", with(have(), unwanted(ReferencedByCached)), Action{}},
		{"not asked for, referenced by a Revision", with(have(), unwanted(ReferencedByRevision)), Action{After: recheckReference}},
		{"not asked for, referenced by a Revision, rotated", with(have(otherData), unwanted(ReferencedByRevision)), Action{Verb: Update, After: recheckReference}},
		{"not asked for, referenced by a Revision, backing off", with(have(otherData), unwanted(ReferencedByRevision), backoff), Action{After: recheckReference}},
		{"not asked for, of a ClusterPullSecret that is being deleted", with(have(ofAnother), unwanted(""), func(s *Situation) { s.Abandoned = true }), Action{Verb: Ask, Fact: FactGrant}},
		{"of a previous ClusterPullSecret, and the source is not ready", with(have(ofAnother), notReady), Action{Verb: Ask, Fact: FactGrant}},
		{"of a previous ClusterPullSecret", with(have(ofAnother)), Action{Verb: Update}},

		{"not granted, and missing", with(notGranted("")), Action{}},
		{"not granted according to the cache", with(have(), notGranted("")), Action{Verb: Ask, Fact: FactGrant}},
		{"granted according to the API server", with(have(), notGranted(Granted)), Action{}},
		{"not granted", with(have(), notGranted(Ended)), Action{Verb: Revoke}},
		{"not granted, Retain", with(have(), notGranted(EndedRetain)), Action{Verb: Retain}},
		{"not granted, being deleted", with(have(beingDeleted), notGranted(EndedRetain)), Action{Verb: Release}},
	} {
		got := Decide(test.s)
		if got.Reason == "" && got.Verb != Ask && test.s.Have != nil {
			t.Errorf("%s: %v has no reason", test.reason, got)
		}
		if got.Reason = ""; got != test.want {
			t.Errorf("%s: %v, want %v", test.reason, got, test.want)
		}
	}
}

// stored returns what the API server stores for an update, as it is cached. A field
// manager that applied data keeps its ownership if the update writes the same data and
// does not reset the managed fields.
func stored(before, update *corev1.Secret) *corev1.Secret {
	after := update.DeepCopy()
	switch reset := []metav1.ManagedFieldsEntry{{}}; {
	case cmp.Equal(after.ManagedFields, reset), !cmp.Equal(before.Data, after.Data):
		after.ManagedFields = nil
	default:
		after.ManagedFields = before.ManagedFields
	}
	return after
}

// After Decide adopts or updates a Secret, it decides on Nothing, whichever manifest
// contained the Secret before.
func TestDecideIsStableAfterUpdate(t *testing.T) {
	const text = `{"auths":{"ghcr.io":{"auth":"dXNlcjpwYXNz"}}}`
	config, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	source := string(config.Copy())
	helm := func(s *corev1.Secret) {
		s.Annotations = map[string]string{"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "team"}
	}
	lastApplied := func(s *corev1.Secret) {
		s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"data":{".dockerconfigjson":"e30="}}`}
	}
	as := func(data string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[corev1.DockerConfigJsonKey] = []byte(data) }
	}
	type edits = []func(*corev1.Secret)
	for keeper, edits := range map[string]edits{
		"none": {neverACopy}, "server-side apply": {neverACopy, kept}, "Helm": {helm, kept}, "client-side apply": {lastApplied, kept},
		"a copy": {}, "a copy of another ClusterPullSecret": {ofAnother},
	} {
		for _, data := range []string{source, "another"} {
			s := Situation{Serving: serving(), Wanted: true, SourceReady: true, Source: &Source{Digest: source}, Have: cachedCopy(append(edits, as(data))...)}
			if verb := Decide(s).Verb; verb != Update && (verb != Nothing || keeper != "a copy") {
				t.Errorf("manifest %s: %s", keeper, verb)
			}
			s.Have = stored(s.Have, MakeUpdate(s.Have, s.WantedCopy(), config))
			if again := Decide(s); again.Verb != Nothing {
				t.Errorf("manifest %s, same data %t: after the update, Decide() = %v", keeper, data == source, again)
			}
		}
	}
}

// world is one Secret name on an API server.
type world struct {
	secret *corev1.Secret
	source string
}

// step is an event in a world.
type step struct {
	name string
	do   func(*world)
}

// reconcile applies decisions until nothing is left to do.
func (w *world) reconcile() {
	for {
		s := Situation{Serving: serving(), Wanted: true, SourceReady: true, Source: &Source{Digest: w.source}}
		if w.secret != nil && grant.Owner(w.secret) != "" {
			s.Have = w.secret
		}
		switch Decide(s).Verb {
		case Create:
			if w.secret != nil {
				return // The name is taken.
			}
			w.secret = cachedCopy(func(c *corev1.Secret) { c.Data[corev1.DockerConfigJsonKey] = []byte(w.source) })
		case Update:
			w.secret = cachedCopy(func(c *corev1.Secret) { c.Data[corev1.DockerConfigJsonKey] = []byte(w.source) })
		case Disown:
			w.secret.Labels, w.secret.Annotations = nil, nil
		case Replace:
			w.secret = nil
		default:
			return
		}
	}
}

// The same manifests have the same result in any order, however often the controller
// reconciles in between: the manifest of the team wins over the copy and over rotations,
// and a Secret that no manifest contains becomes the copy.
func TestOrderDoesNotMatter(t *testing.T) {
	apply := step{"apply", func(w *world) {
		if w.secret == nil {
			w.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ghcr", UID: "uid", ResourceVersion: "21"}, Type: corev1.SecretTypeDockerConfigJson}
		}
		w.secret.Data, w.secret.ManagedFields = map[string][]byte{corev1.DockerConfigJsonKey: []byte("team")}, grant.Keeper("kubectl")
	}}
	edit := step{"edit", func(w *world) {
		if w.secret != nil && w.secret.ManagedFields == nil {
			w.secret.Data = map[string][]byte{corev1.DockerConfigJsonKey: []byte("edited")}
		}
	}}
	rotate := step{"rotate", func(w *world) { w.source = "two" }}
	reconcile := step{"reconcile", (*world).reconcile}
	for _, steps := range [][]step{{apply, edit, rotate, reconcile, reconcile}, {edit, rotate, reconcile, reconcile, reconcile}} {
		var want *corev1.Secret
		permute(steps, func(order []step) {
			w := &world{source: "one"}
			var names []string
			for _, s := range order {
				s.do(w)
				names = append(names, s.name)
			}
			w.reconcile()
			if want == nil {
				want = w.secret
			}
			if diff := cmp.Diff(want, w.secret); diff != "" {
				t.Errorf("%v (-first order, +this):\n%s", names, diff)
			}
		})
		data := string(want.Data[corev1.DockerConfigJsonKey])
		if keeps := slices.ContainsFunc(steps, func(s step) bool { return s.name == "apply" }); keeps != (data == "team") || keeps == (grant.Owner(want) != "") {
			t.Errorf("with a manifest: %t; the Secret holds %s and has the labels %v", keeps, data, want.Labels)
		}
	}
}

// permute calls f with every order of the steps.
func permute(steps []step, f func([]step)) {
	var from func(int)
	order := slices.Clone(steps)
	from = func(i int) {
		if i == len(order) {
			f(order)
			return
		}
		for j := i; j < len(order); j++ {
			order[i], order[j] = order[j], order[i]
			from(i + 1)
			order[i], order[j] = order[j], order[i]
		}
	}
	from(0)
}

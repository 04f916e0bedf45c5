// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/reconciler/revision/resources"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/trim"
)

// What is kept of a Revision is the same before and after trimming.
func TestTrimmedRevisionIsEqual(t *testing.T) {
	whole := revision(rejected, WithSidecar("sidecar", "ghcr.io/acme/sidecar"), func(r *servingv1.Revision) {
		r.Labels["serving.knative.dev/routingState"] = "active"
		r.Annotations = map[string]string{"a": "b"}
		r.Spec.ServiceAccountName = "builder"
		r.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "ghcr.io/acme/init"}}
		r.Spec.Volumes = []corev1.Volume{{Name: "empty"}, {Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "ghcr.io/acme/model"}}}}
	})
	for _, r := range []*servingv1.Revision{whole, revision(WithDigests(1))} {
		trimmed, err := trim.Object(r.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(resources.RevisionOf(r), resources.RevisionOf(trimmed.(*servingv1.Revision))); diff != "" {
			t.Error("a trimmed Revision differs:", diff)
		}
	}
}

// A Service is enqueued only if something changed that is kept of its Revisions.
func TestRevisionsEnqueueTheirService(t *testing.T) {
	var enqueued []string
	all := &revisions{changed: func(key types.NamespacedName) { enqueued = append(enqueued, key.String()) }}
	app := types.NamespacedName{Namespace: ns, Name: "app"}
	check := func(what string, err error, known int, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(enqueued)
		if enqueued = slices.Compact(enqueued); !slices.Equal(enqueued, want) {
			t.Errorf("%s: enqueued %q, want %q", what, enqueued, want)
		}
		if got, _ := all.of(app); len(got) != known {
			t.Errorf("%s: %d Revisions are known, want %d", what, len(got), known)
		}
		enqueued = nil
	}
	if _, synced := all.of(app); synced {
		t.Error("synced before the first list")
	}
	check("the first list", all.Replace([]any{revision()}, "1"), 1, "team/app")
	if _, synced := all.of(app); !synced {
		t.Error("not synced after the first list")
	}
	check("another annotation", all.Update(revision(func(r *servingv1.Revision) { r.Annotations = map[string]string{"a": "b"} })), 1)
	check("it failed", all.Update(revision(rejected)), 1, "team/app")
	check("one more", all.Add(NewRevision(ns, "app-00002")), 2, "team/app")
	alone := NewRevision(ns, "other", func(r *servingv1.Revision) { r.Labels = nil })
	check("without a Service", all.Add(alone), 2)
	check("without a Service, deleted", all.Delete(alone), 2)
	check("deleted", all.Delete(NewRevision(ns, "app-00002")), 1, "team/app")
	to := func(service string) func(*servingv1.Revision) {
		return func(r *servingv1.Revision) { r.Labels = map[string]string{serving.ServiceLabelKey: service} }
	}
	check("moved to another Service", all.Update(NewRevision(ns, "app-00001", to("moved"))), 0, "team/app", "team/moved")
	check("moved to none", all.Update(NewRevision(ns, "app-00001", func(r *servingv1.Revision) { r.Labels = nil })), 0, "team/moved")
	check("moved back", all.Update(revision()), 1, "team/app")
	check("another list", all.Replace([]any{NewRevision("other", "app-00001")}, "2"), 0, "other/app", "team/app")
	check("the last is deleted", all.Delete(NewRevision("other", "app-00001")), 0, "other/app")
	if len(all.known) != 0 || len(all.owners) != 0 {
		t.Errorf("%v and %v are kept of nothing", all.known, all.owners)
	}
}

// bucketOf is a bucket of some Services.
type bucketOf map[types.NamespacedName]bool

func (bucketOf) Name() string                        { return "lost" }
func (b bucketOf) Has(key types.NamespacedName) bool { return b[key] }

// A Secret is read only by a process that leads for a Service that uses it.
func TestSecretsOfOtherLeaders(t *testing.T) {
	other := NewRevision(ns, "other-00001", WithRevisionPullSecrets("shared"), func(r *servingv1.Revision) {
		r.Labels["serving.knative.dev/service"], r.Spec.ServiceAccountName = "other", "builder"
	})
	w := newWorld(t, config.Default(), declares("ghcr"), app(), revision(WithRevisionPullSecrets("ghcr", "shared")), other,
		ServiceAccount(ns, "default", nil, "quay"), ServiceAccount(ns, "builder", nil, "built"), ServiceAccount(ns, "unused", nil, "ghcr"))
	w.reconcile()
	built := types.NamespacedName{Namespace: ns, Name: "built"}
	if _, _, err := w.r.secrets.of(w.ctx, built); err != nil {
		t.Fatal(err)
	}
	w.lost[types.NamespacedName{Namespace: ns, Name: "app"}] = true
	w.r.memory.Demote(bucketOf(w.lost))
	var known []string
	for key := range w.r.secrets.known {
		known = append(known, key.Name)
	}
	slices.Sort(known)
	w.check("known", known, "built", "shared")

	w.reads, w.lost[types.NamespacedName{Namespace: ns, Name: "other"}] = nil, true
	w.r.secrets.observe(built, "2")
	w.r.secrets.refresh(w.ctx, built)
	w.check("reads", w.reads)
}

// Only Secrets that are known are read again, and only if their version differs.
func TestWatchOfSecrets(t *testing.T) {
	w := newWorld(t, enabled(), declares("ghcr, quay"), app(), revision(WithRevisionPullSecrets("ghcr", "quay")), pullSecret("ghcr", "ghcr.io", created, nil))
	w.reconcile()
	var changed []string
	w.r.secrets.changed = func(namespace string) { changed = append(changed, namespace) }
	work := func(what string, reads int, namespaces ...string) {
		t.Helper()
		w.reads, changed = nil, nil
		for w.r.secrets.stale.Len() > 0 {
			key, _ := w.r.secrets.stale.Get()
			w.r.secrets.refresh(w.ctx, key)
			w.r.secrets.stale.Done(key)
		}
		if len(w.reads) != reads || !slices.Equal(changed, namespaces) {
			t.Errorf("%s: read %q and enqueued %q, want %d reads and %q", what, w.reads, changed, reads, namespaces)
		}
	}
	o := observer{corev1.SecretTypeDockerConfigJson, w.r.secrets}
	list := func(secrets ...*corev1.Secret) error {
		var all []any
		for _, secret := range secrets {
			all = append(all, secret)
		}
		return o.Replace(all, "1")
	}
	for what, err := range map[string]error{
		"the same version": o.Update(pullSecret("ghcr", "ghcr.io", created, nil)),
		"another Secret":   o.Add(pullSecret("foreign", "ghcr.io", created, nil)),
		"the same list":    list(pullSecret("ghcr", "ghcr.io", created, nil), pullSecret("foreign", "ghcr.io", created, nil)),
	} {
		if err != nil {
			t.Fatal(err)
		}
		work(what, 0)
	}
	labelled := pullSecret("ghcr", "ghcr.io", created, map[string]string{"a": "b"})
	labelled.ResourceVersion = "2"
	w.secrets["ghcr"] = labelled
	if err := o.Update(labelled); err != nil {
		t.Fatal(err)
	}
	work("another label", 1)
	w.secrets["quay"] = pullSecret("quay", "quay.io", created, nil)
	if err := list(labelled, w.secrets["quay"]); err != nil {
		t.Fatal(err)
	}
	work("a list with a Secret that was missing", 1, ns)
	delete(w.secrets, "ghcr")
	if err := list(w.secrets["quay"]); err != nil {
		t.Fatal(err)
	}
	work("a list without a Secret that was there", 1, ns)
	delete(w.secrets, "quay")
	if err := o.Delete(pullSecret("quay", "quay.io", created, nil)); err != nil {
		t.Fatal(err)
	}
	work("deleted", 1, ns)

	if err := w.r.revisions.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if err := o.Add(pullSecret("ghcr", "ghcr.io", created, nil)); err != nil {
		t.Fatal(err)
	}
	work("nothing names it", 0)
}

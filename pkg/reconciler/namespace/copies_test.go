// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
	"pullsecrets.dev/pkg/trim"
)

// dockerConfig returns a Secret with a credential.
func dockerConfig(namespace, version, password string, edits ...func(*corev1.Secret)) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ghcr", ResourceVersion: version, UID: "uid-ghcr"},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"auth":%q}}}`, password)},
	}
	for _, edit := range edits {
		edit(secret)
	}
	return secret
}

// The base64 of robot:one and robot:two.
const one, two = "cm9ib3Q6b25l", "cm9ib3Q6dHdv"

func sourceOf(password string) *corev1.Secret {
	return dockerConfig(pullsecrets.SourcesNamespace, "9", password)
}

// copied returns a copy of a version of the source.
func copied(password, version string, edits ...func(*corev1.Secret)) *corev1.Secret {
	return dockerConfig("team", "21", password, append([]func(*corev1.Secret){func(s *corev1.Secret) {
		s.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr"}
		s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: version}
	}}, edits...)...)
}

func withoutStatus(cps *v1alpha1.ClusterPullSecret) { cps.Status = v1alpha1.ClusterPullSecretStatus{} }
func sourceLost(cps *v1alpha1.ClusterPullSecret)    { cps.Status.MarkSourceNotFound(cps.Spec.SecretRef) }
func always(cps *v1alpha1.ClusterPullSecret)        { cps.Spec.Always = &v1alpha1.Always{} }
func elsewhere(cps *v1alpha1.ClusterPullSecret) {
	cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "other"}
}

func deleted(policy v1alpha1.DeletionPolicy) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.DeletionTimestamp, cps.Finalizers = new(metav1.NewTime(time.Unix(1e9, 0))), []string{pullsecrets.FinalizerName}
		cps.Spec.DeletionPolicy = policy
	}
}

func asks() *corev1.Namespace {
	return Namespace("team", WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))
}

var secretsResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

func deletion() []clientgotesting.DeleteActionImpl {
	return []clientgotesting.DeleteActionImpl{{
		ActionImpl: clientgotesting.ActionImpl{Namespace: "team", Verb: "delete", Resource: secretsResource}, Name: "ghcr",
		DeleteOptions: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID("uid-ghcr")), ResourceVersion: new("21")}},
	}}
}

func patchOfSecret(patch string) []clientgotesting.PatchActionImpl {
	return []clientgotesting.PatchActionImpl{{
		ActionImpl: clientgotesting.ActionImpl{Namespace: "team", Verb: "patch", Resource: secretsResource}, Name: "ghcr", Patch: []byte(patch),
	}}
}

func failing(verb string) []clientgotesting.ReactionFunc {
	return []clientgotesting.ReactionFunc{knativetesting.InduceFailure(verb, "secrets")}
}

const (
	release = `{"metadata":{"uid":"uid-ghcr","finalizers":null}}`
	retain  = `{"metadata":{"resourceVersion":"21","labels":{"app.kubernetes.io/managed-by":null,"pullsecrets.dev/cluster-pull-secret":null},"annotations":{"pullsecrets.dev/source-resource-version":null}}}`
)

// made returns a copy as it is created, and rewritten returns the update of an existing
// one.
func made() *corev1.Secret {
	return copied(one, "7", func(s *corev1.Secret) { s.UID, s.ResourceVersion = "", "" })
}

func rewritten(password string, edits ...func(*corev1.Secret)) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: copied(password, "7", edits...)}}
}

// A labelled Secret that is created again and again although nothing grants it is removed
// immediately each time. An Event reports it the third time, once.
func TestPropagated(t *testing.T) { synctest.Test(t, testPropagated) }

func testPropagated(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("team"), copied(one, "7")}}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, events := factory()(t, &row)
	for round := range 5 {
		if err := c.Reconcile(row.Ctx, "team"); err != nil && round == 0 {
			t.Fatal(err)
		}
		r.copies.observe(copied(one, "7")) // It was recreated.
		if contested := len(r.copies.recreations.contested("team")) > 0; contested != (round >= 2) {
			t.Errorf("round %d: contested = %t", round, contested)
		}
	}
	if all := events.Events(); len(all) != 1 || !strings.HasPrefix(all[0], "Warning NotGranted Secrets in namespace team are labeled as copies") {
		t.Errorf("events = %q, want one", all)
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Deletes) != 5 {
		t.Errorf("%d Secrets were removed (%v), want one per round", len(all.Deletes), err)
	}
	time.Sleep(time.Hour) // In a synctest bubble, this returns immediately.
	if len(r.copies.recreations.contested("team")) > 0 {
		t.Error("recreations that ended an hour ago are reported")
	}
	if r.copies.recreations.removed(nameOf(copied(one, "7"))); len(r.copies.recreations.contested("team")) > 0 {
		t.Error("a single removal an hour later counts as contested")
	}
}

// TestCopies lists every write of a copy.
func TestCopies(t *testing.T) {
	runRows(t, slices.Concat(creations(), updates(), revocations()))
}

// creations are the rows in which a copy is created, or is not.
func creations() knativetesting.TableTest {
	return knativetesting.TableTest{
		{
			Name:        "granted and asked for: created",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one)},
			WantCreates: []runtime.Object{made()},
		}, {
			Name:         "creating it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one)},
			WithReactors: failing("create"),
			WantCreates:  []runtime.Object{made()}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to write the copy team/ghcr: inducing failure for create secrets"},
		}, {
			Name:    "granted and not asked for",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one)},
		}, {
			Name:    "asked for and not granted",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), sourceOf(one)},
		}, {
			Name:        "always",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr", always), sourceOf(one)},
			WantCreates: []runtime.Object{made()},
		}, {
			Name: "a Service asks",
			Objects: []runtime.Object{
				Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one),
				Service("team", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr")),
			},
			WantCreates: []runtime.Object{made()},
		}, {
			Name:    "a user's Secret: left alone and reported",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), dockerConfig("team", "3", two)},
			// The attempt, which the API server rejects.
			WantCreates: []runtime.Object{made()}, WantErr: true,
			WantEvents: []string{"Warning NameConflict Secrets in namespace team have the names of copies and are not managed: ghcr; rename them, or label them app.kubernetes.io/managed-by=pullsecrets and pullsecrets.dev/cluster-pull-secret=NAME in their manifest to have them managed"},
		}, {
			Name:    "no valid source yet",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", withoutStatus), sourceOf(one)},
		}, {
			Name:    "another source, which is not validated yet",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", func(c *v1alpha1.ClusterPullSecret) { c.Generation = 2 }), sourceOf(one)},
		}, {
			Name:    "a source in a namespace that is not allowed",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", func(c *v1alpha1.ClusterPullSecret) { c.Spec.SecretRef.Namespace = "other" }), dockerConfig("other", "9", one)},
		}, {
			Name:    "the source cannot be read",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to read the source of ClusterPullSecret ghcr: Secret pullsecrets-sources/ghcr does not exist"},
		},
	}
}

// updates are the rows in which an existing copy is kept.
func updates() knativetesting.TableTest {
	return knativetesting.TableTest{
		{
			Name:    "up to date",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7")},
		}, {
			Name:        "rotated: in place, with the same UID",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6")},
			WantUpdates: rewritten(two),
		}, {
			Name:        "tampered with",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), dockerConfig(pullsecrets.SourcesNamespace, "7", one), copied(two, "7")},
			WantUpdates: rewritten(one),
		}, {
			Name:    "the source has changed since the status was written: unchanged until the status is updated",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7")},
			WantErr: true, // It is requeued.
		}, {
			Name:         "rotating it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6")},
			WithReactors: failing("update"),
			WantUpdates:  rewritten(two), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to write the copy team/ghcr: inducing failure for update secrets"},
		}, {
			Name: "adopted: other labels are kept, owner references and other keys are removed",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "", func(s *corev1.Secret) {
				s.Annotations = map[string]string{"example.com/note": "x", corev1.LastAppliedConfigAnnotation: "{}"}
				s.Labels["example.com/team"], s.Data["other"] = "blue", []byte("x")
				s.OwnerReferences = []metav1.OwnerReference{{Name: "owner"}}
			})},
			WantUpdates: rewritten(one, func(s *corev1.Secret) {
				s.Labels["example.com/team"], s.Annotations["example.com/note"] = "blue", "x"
			}),
		}, {
			Name:        "immutable: recreated",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", func(s *corev1.Secret) { s.Immutable = new(true) })},
			WantDeletes: deletion(),
		}, {
			Name:         "deleting it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })},
			WithReactors: failing("delete"),
			WantDeletes:  deletion(), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to delete the copy team/ghcr: inducing failure for delete secrets"},
		}, {
			Name:        "taken over by a manifest: disowned with its data",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "7", inManifest)},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "taken over, and the source is no longer valid: disowned",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", sourceLost), copied(two, "7", inManifest)},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:         "disowning it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "7", inManifest)},
			WithReactors: failing("patch"),
			WantPatches:  patchOfSecret(retain), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to patch the copy team/ghcr: inducing failure for patch secrets"},
		}, {
			Name:        "copyMetadata is new: in place",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", costCenter), sourceOf(one), copied(one, "7")},
			WantUpdates: rewritten(one, withCostCenter),
		}, {
			Name:        "copyMetadata is removed: other labels are kept",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", withCostCenter, func(s *corev1.Secret) { s.Labels["team"] = "a" })},
			WantUpdates: rewritten(one, func(s *corev1.Secret) { s.Labels["team"] = "a" }),
		}, {
			Name:    "copyMetadata is set",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", costCenter), sourceOf(one), copied(one, "7", withCostCenter)},
		}, {
			Name:    "the source is no longer valid: the copy is kept",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", sourceLost), copied(one, "6")},
		},
	}
}

// A process that does not know the version in the status leaves its copies unchanged
// while the source may have changed since, but only for a limited time: one copy that a
// tenant changed must not block all others.
func TestStaleStatusGracePeriod(t *testing.T) { synctest.Test(t, testStaleStatusGracePeriod) }

func testStaleStatusGracePeriod(t *testing.T) {
	asking := func(name string) *corev1.Namespace {
		return Namespace(name, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))
	}
	elsewhere := copied(two, "7", func(s *corev1.Secret) { s.Namespace = "elsewhere" })
	row := knativetesting.TableRow{Objects: []runtime.Object{asking("team"), asking("elsewhere"), ClusterPullSecret("ghcr"), sourceOf(one), elsewhere}}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, _ := factory()(t, &row)
	for range 2 {
		if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != statusTimeout {
			t.Errorf("requeued: %t after %s, want it after %s", again, after, statusTimeout)
		}
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) > 0 {
		t.Fatalf("%d copies were created (%v) during the grace period, want none", len(all.Creates), err)
	}
	time.Sleep(statusTimeout) // In a synctest bubble, this returns immediately.
	for _, namespace := range []string{"team", "elsewhere"} {
		if err := c.Reconcile(row.Ctx, namespace); err != nil {
			t.Errorf("Namespace %s: %v", namespace, err)
		}
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) != 1 || len(all.Updates) != 1 {
		t.Errorf("%d copies were created and %d restored (%v), want one each", len(all.Creates), len(all.Updates), err)
	}
	if len(r.copies.gracePeriods.byName) > 0 {
		t.Error("the grace period was not dropped")
	}
}

// The contents of a source that has changed since its validation are not written under
// the validated version.
func TestRotationBeforeStatus(t *testing.T) { synctest.Test(t, testRotationBeforeStatus) }

func testRotationBeforeStatus(t *testing.T) {
	var r *Reconciler
	row := knativetesting.TableRow{
		Objects:       []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two)},
		OtherTestData: map[string]any{"prepare": func(made *Reconciler) { r = made }},
	}
	c, actions, _ := factory()(t, &row)
	validated, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, sourceOf(one).Data)
	if err != nil {
		t.Fatal(err)
	}
	r.copies.sources.Know(source.Scope{Ref: v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "ghcr"}}, "7", source.Facts{ResourceVersion: "7", Digest: validated.Digest()})
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != statusTimeout {
		t.Errorf("requeued: %t after %s, want it after %s", again, after, statusTimeout)
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) > 0 {
		t.Errorf("%d copies were created (%v), want none before the status names the version", len(all.Creates), err)
	}
}

// revocations are the rows in which a copy is removed.
func revocations() knativetesting.TableTest {
	used := Service("team", "app", WithPullSecrets("ghcr"))
	return knativetesting.TableTest{
		{
			Name:        "no longer asked for",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7")},
			WantDeletes: deletion(),
		}, {
			Name:    "not asked for, but a Service refers to it: kept until an event of the Service",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7"), used},
		}, {
			Name:        "not asked for, but a Revision refers to it: kept up to date",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6"), revisionWith("ghcr")},
			WantUpdates: rewritten(two), WantErr: true,
		}, {
			Name:    "not asked for, but a ServiceAccount refers to it",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7"), ServiceAccount("team", "default", nil, "ghcr")},
		}, {
			Name:        "no longer selected: removed immediately, even if referenced",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), sourceOf(one), copied(one, "7"), used},
			WantDeletes: deletion(),
		}, {
			Name: "excluded",
			Objects: []runtime.Object{
				Namespace("team", WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithNamespaceLabel(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)),
				ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7"), used,
			},
			WantDeletes: deletion(),
		}, {
			Name:        "the ClusterPullSecret is being deleted",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", deleted(v1alpha1.DeletionPolicyDelete)), copied(one, "7"), used},
			WantDeletes: deletion(),
		}, {
			Name:        "Retain: becomes an ordinary Secret",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", deleted(v1alpha1.DeletionPolicyRetain)), copied(one, "7"), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "its ClusterPullSecret is being deleted, and the current one has no valid source",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyDelete)), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "its ClusterPullSecret no longer selects the namespace, and the current one has no valid source",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, elsewhere), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "Retain, and the current ClusterPullSecret is not asked for: becomes an ordinary Secret",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", of("older"))},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "Retain, and the current ClusterPullSecret is not asked for, but a Service refers to it: becomes an ordinary Secret",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7", of("older")), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "its ClusterPullSecret is being deleted, and the current one is not asked for: removed immediately, even if referenced",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyDelete)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "Retain, and the current ClusterPullSecret is asked for: taken over in place",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6", of("older")), used},
			WantUpdates: rewritten(two),
		}, {
			Name:        "Retain, and the current ClusterPullSecret has no valid source: becomes an ordinary Secret",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:    "another ClusterPullSecret without a valid source: a copy that is still granted is kept",
			Objects: []runtime.Object{asks(), ClusterPullSecret("younger", named), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("younger")), used},
		}, {
			Name:        "its ClusterPullSecret does not exist",
			Objects:     []runtime.Object{asks(), copied(one, "7")},
			WantDeletes: deletion(),
		}, {
			Name:        "taken over by a manifest, and no longer selected: kept",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), sourceOf(one), copied(two, "7", inManifest)},
			WantPatches: patchOfSecret(retain),
		}, {
			Name: "our labels on a source",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("other", func(c *v1alpha1.ClusterPullSecret) {
				c.Spec.SecretRef = v1alpha1.SecretReference{Namespace: "team", Name: "ghcr"}
			}), copied(one, "7")},
		}, {
			Name:        "held by a finalizer",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), copied(one, "7", dying)},
			WantPatches: patchOfSecret(release),
		}, {
			Name:         "removing the finalizer fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), copied(one, "7", dying)},
			WithReactors: failing("patch"),
			WantPatches:  patchOfSecret(release), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to patch the copy team/ghcr: inducing failure for patch secrets"},
		}, {
			Name:    "the Namespace is being deleted",
			Objects: []runtime.Object{Namespace("team", func(ns *corev1.Namespace) { ns.DeletionTimestamp, ns.Finalizers = new(metav1.Now()), []string{"x"} }), copied(one, "7")},
		},
	}
}

// named sets the secretName ghcr explicitly.
func named(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretName = "ghcr" }

// inManifest is a Secret whose data a manifest contains.
func inManifest(s *corev1.Secret) {
	s.Annotations[corev1.LastAppliedConfigAnnotation] = `{"stringData":{".dockerconfigjson":"{}"}}`
}

func costCenter(cps *v1alpha1.ClusterPullSecret) {
	cps.Spec.CopyMetadata = &v1alpha1.CopyMetadata{Labels: map[string]string{"cost-center": "42"}}
}

func withCostCenter(s *corev1.Secret) {
	s.Labels["cost-center"], s.Annotations[pullsecrets.CopyMetadataAnnotation] = "42", `{"labels":["cost-center"]}`
}

// of makes the Secret a copy of another ClusterPullSecret.
func of(owner string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Labels[pullsecrets.ClusterPullSecretLabel] = owner }
}

func dying(s *corev1.Secret) {
	s.DeletionTimestamp, s.Finalizers = new(metav1.NewTime(time.Unix(1e9, 0))), []string{"example.com/hold"}
}

func revisionWith(secret string) *servingv1.Revision {
	revision := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app-00001"}}
	revision.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	return revision
}

func runRows(t *testing.T, rows knativetesting.TableTest) {
	t.Helper()
	for i := range rows {
		// The key of a cluster-scoped object has no namespace to compare with.
		rows[i].Key, rows[i].SkipNamespaceValidation = "team", true
	}
	rows.Test(t, factory())
}

// Every attempt to write a copy is counted.
func TestCopiesAreCounted(t *testing.T) {
	for _, test := range []struct {
		row  string
		want string
	}{
		{"granted and asked for: created", "created"},
		{"creating it fails", "failed"},
		{"a user's Secret: left alone and reported", "conflict"},
		{"rotated: in place, with the same UID", "updated"},
		{"no longer asked for", "removed"},
		{"deleting it fails", "failed"},
		{"Retain: becomes an ordinary Secret", "retained"},
	} {
		t.Run(test.row, func(t *testing.T) {
			rows := slices.DeleteFunc(slices.Concat(creations(), updates(), revocations()), func(row knativetesting.TableRow) bool { return row.Name != test.row })
			if len(rows) != 1 {
				t.Fatalf("%d rows of TestCopies have this name, want one", len(rows))
			}
			read := Metrics(t)
			runRows(t, rows)
			if diff := cmp.Diff(map[string]int64{"pullsecrets.copies{result=" + test.want + "}": 1}, read()); diff != "" {
				t.Error("counted (-want, +got):", diff)
			}
		})
	}
}

// While the cache does not show a write, it is not repeated. If the cache never shows it,
// it is repeated after a timeout.
func TestWritesAreMadeOnce(t *testing.T) { synctest.Test(t, testWritesAreMadeOnce) }

func testWritesAreMadeOnce(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one)}}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, _ := factory()(t, &row)
	creates := func() int {
		all, err := actions.ActionsByVerb()
		if err != nil {
			t.Fatal(err)
		}
		return len(all.Creates)
	}
	if err := c.Reconcile(row.Ctx, "team"); err != nil || creates() != 1 {
		t.Fatalf("Reconcile() = %v and %d creates, want one", err, creates())
	}
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != expectationTimeout || creates() != 1 {
		t.Errorf("before the cache shows it: requeued %t after %s with %d creates, want it after %s with one", again, after, creates(), expectationTimeout)
	}
	if !r.copies.observe(cached(t, made())) {
		t.Error("the event of the pending write does not requeue")
	}
	if err := c.Reconcile(row.Ctx, "team"); err != nil || creates() != 2 {
		t.Errorf("after another event: Reconcile() = %v and %d creates, want two", err, creates())
	}
}

// The event of the reconciler's own write does not enqueue the Namespace.
func TestOwnWritesDoNotRequeue(t *testing.T) { synctest.Test(t, testOwnWritesDoNotRequeue) }

func testOwnWritesDoNotRequeue(t *testing.T) {
	for _, test := range []struct {
		reason string
		event  *corev1.Secret
		want   bool
	}{
		{"the copy as it was created", made(), false},
		{"with another password", copied(two, "7"), true},
		{"of another version", copied(one, "6"), true},
		{"deleted since", copied(one, "7", func(s *corev1.Secret) { s.DeletionTimestamp = new(metav1.Now()) }), true},
	} {
		row := knativetesting.TableRow{Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one)}}
		var r *Reconciler
		row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
		c, _, _ := factory()(t, &row)
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Fatal(err)
		}
		if got := r.copies.observe(cached(t, test.event)); got != test.want {
			t.Errorf("%s: observe() = %t, want %t", test.reason, got, test.want)
		}
	}
}

// A copy whose grant ended before the cache shows it requeues the Namespace, although it
// is the result of a write. Otherwise it would not be removed.
func TestCopyOfEndedGrantRequeues(t *testing.T) {
	for reason, end := range map[string]func(*Reconciler, *corev1.Namespace){
		"the ClusterPullSecret was deleted": func(r *Reconciler, _ *corev1.Namespace) {
			r.copies.catalog = catalog.New(NewListers(nil).ClusterPullSecrets())
		},
		"it is no longer asked for": func(_ *Reconciler, namespace *corev1.Namespace) { namespace.Annotations = nil },
	} {
		namespace := asks()
		row := knativetesting.TableRow{Objects: []runtime.Object{namespace, ClusterPullSecret("ghcr"), sourceOf(one)}}
		var r *Reconciler
		row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
		c, _, _ := factory()(t, &row)
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Fatal(err)
		}
		end(r, namespace)
		// The cache does not show the copy yet, so there is nothing to remove.
		err := c.Reconcile(row.Ctx, "team")
		if again, _ := controller.IsRequeueKey(err); err != nil && !again {
			t.Fatal(err)
		}
		if !r.copies.observe(cached(t, made())) {
			t.Errorf("%s: the event of the copy does not requeue", reason)
		}
	}
}

// cached returns a Secret as it is cached.
func cached(t *testing.T, secret *corev1.Secret) *corev1.Secret {
	t.Helper()
	trimmed, err := trim.Object(secret)
	if err != nil {
		t.Fatal(err)
	}
	return trimmed.(*corev1.Secret)
}

func TestExpectationsTimeOut(t *testing.T) { synctest.Test(t, testExpectationsTimeOut) }

func testExpectationsTimeOut(t *testing.T) {
	x := newExpectations(&memory.Memory{})
	name := types.NamespacedName{Namespace: "team", Name: "ghcr"}
	if x.begin(name, neverMet); x.left(name) != expectationTimeout {
		t.Errorf("a pending write is expected for %s, want %s", x.left(name), expectationTimeout)
	}
	time.Sleep(expectationTimeout) // In a synctest bubble, this returns immediately.
	left, kept := x.left(name), 0
	x.Each(func(types.NamespacedName, *map[string]*expectation) { kept++ })
	if left != 0 || kept != 0 {
		t.Errorf("a write that the cache never shows is expected for another %s", left)
	}
}

// The event of a pending write does not requeue. Every other event does.
func TestOtherEventsRequeue(t *testing.T) {
	copied := made()
	name := nameOf(copied)
	met := func(event *corev1.Secret) bool { return event == copied }
	for _, test := range []struct {
		reason string
		before func(expectations)
		event  *corev1.Secret
		want   bool
	}{
		{"a copy without a pending write", func(expectations) {}, copied, true},
		{"what was written", func(p expectations) { p.begin(name, met) }, copied, false},
		{"changed since it was written", func(p expectations) { p.begin(name, met) }, made(), true},
		{"what was written, and the namespace was reconciled since", func(p expectations) { p.begin(name, met); p.expectEvent("team") }, copied, true},
		{"what was written, and another namespace was reconciled since", func(p expectations) { p.begin(name, met); p.expectEvent("other") }, copied, false},
		{"what was written in a namespace that was recreated", func(p expectations) { p.begin(name, met); p.Forget(byNamespace("team")) }, copied, true},
		{"what was written, a second time", func(p expectations) { p.begin(name, met); p.observe(copied) }, copied, true},
		{"the result of a write that failed", func(p expectations) { p.begin(name, met); p.end(name) }, copied, true},
		{"what is to be removed", func(p expectations) { p.begin(name, neverMet) }, copied, true},
	} {
		p := newExpectations(&memory.Memory{})
		test.before(p)
		if got := p.observe(test.event); got != test.want {
			t.Errorf("%s: observe() = %t, want %t", test.reason, got, test.want)
		}
		if left := p.left(name); left != 0 {
			t.Errorf("%s: left() = %s, want none", test.reason, left)
		}
	}
}

// After a long time without a write, the first writes are not delayed.
func TestBackoffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackoff(&memory.Memory{})
		name := types.NamespacedName{Namespace: "team", Name: "ghcr"}
		for range 9 {
			b.wrote(name, "7")
		}
		time.Sleep(time.Hour) // In a synctest bubble, this returns immediately.
		for write := range 3 {
			if wait := b.wait(name, "7"); wait != 0 {
				t.Errorf("write %d after an hour waits %s, want none", write, wait)
			}
			b.wrote(name, "7")
		}
		if b.wait(name, "7") == 0 {
			t.Error("the fourth write does not wait")
		}
	})
}

// A tenant chooses the names of labelled Secrets, so their number is limited.
func TestRecreationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecreations(&memory.Memory{})
		kept := func() (n int) {
			r.Each(func(_ types.NamespacedName, secrets *map[string]contest.Rounds) { n += len(*secrets) })
			return n
		}
		for i := range 2 * maxRecreations {
			r.removed(types.NamespacedName{Namespace: "team", Name: fmt.Sprint(i)})
		}
		if kept() != maxRecreations {
			t.Errorf("%d names are remembered, want %d", kept(), maxRecreations)
		}
		time.Sleep(time.Hour) // In a synctest bubble, this returns immediately.
		if r.contested("team"); kept() != 0 {
			t.Errorf("%d names are remembered an hour later, want none", kept())
		}
	})
}

// Creating a copy that was removed because it was not needed is not a restore.
func TestBackoffIsReset(t *testing.T) {
	b := newBackoff(&memory.Memory{})
	name := types.NamespacedName{Namespace: "team", Name: "ghcr"}
	for range 9 {
		b.wrote(name, "7")
	}
	if b.wait(name, "7") <= 0 {
		t.Error("the tenth write does not wait")
	}
	if b.reset(name); b.wait(name, "7") != 0 {
		t.Error("a copy that was removed and is needed again waits")
	}
}

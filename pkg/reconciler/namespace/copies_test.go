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

// dockerConfig is a Secret with a credential.
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

// copied is an existing copy of the source's version.
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

// made is a copy as it is first written, and rewritten one that exists.
func made() *corev1.Secret {
	return copied(one, "7", func(s *corev1.Secret) { s.UID, s.ResourceVersion = "", "" })
}

func rewritten(password string, edits ...func(*corev1.Secret)) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: copied(password, "7", edits...)}}
}

// A labelled Secret that somebody keeps making where nothing grants it is removed at once
// each time. The third time its Namespace is told, and only then.
func TestPropagated(t *testing.T) { synctest.Test(t, testPropagated) }

func testPropagated(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("team"), copied(one, "7")}}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, told := factory()(t, &row)
	for round := range 5 {
		if err := c.Reconcile(row.Ctx, "team"); err != nil && round == 0 {
			t.Fatal(err)
		}
		r.copies.seen(copied(one, "7")) // It is there again.
		if keeps := len(r.copies.recreations.contested("team")) > 0; keeps != (round >= 2) {
			t.Errorf("After round %d somebody is said to keep making it: %t", round, keeps)
		}
	}
	if all := told.Events(); len(all) != 1 || !strings.HasPrefix(all[0], "Warning NotGranted Secrets in namespace team are labeled as copies") {
		t.Errorf("The Events are %q, want one", all)
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Deletes) != 5 {
		t.Errorf("%d Secrets were removed (%v), want one in each round", len(all.Deletes), err)
	}
	time.Sleep(time.Hour) // In a synctest bubble, that is at once.
	if len(r.copies.recreations.contested("team")) > 0 {
		t.Error("It is told of what has ended an hour ago")
	}
	if r.copies.recreations.removed(nameOf(copied(one, "7"))); len(r.copies.recreations.contested("team")) > 0 {
		t.Error("One more removal an hour later counts as one of many")
	}
}

// TestCopies lists every write of a copy.
func TestCopies(t *testing.T) {
	runRows(t, slices.Concat(creations(), updates(), revocations()))
}

// creations are the rows in which a copy comes, or does not.
func creations() knativetesting.TableTest {
	return knativetesting.TableTest{
		{
			Name:        "granted and asked for: made",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one)},
			WantCreates: []runtime.Object{made()},
		}, {
			Name:         "making it fails",
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
			Name:    "a Secret of the user's: left alone, and told",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), dockerConfig("team", "3", two)},
			// The attempt, which the API server refuses.
			WantCreates: []runtime.Object{made()}, WantErr: true,
			WantEvents: []string{"Warning NameConflict Secrets in namespace team have the names of copies and are not managed: ghcr; rename them, or label them app.kubernetes.io/managed-by=pullsecrets and pullsecrets.dev/cluster-pull-secret=NAME in their manifest to have them managed"},
		}, {
			Name:    "no good source yet",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", withoutStatus), sourceOf(one)},
		}, {
			Name:    "another source, which nobody has judged yet",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", func(c *v1alpha1.ClusterPullSecret) { c.Generation = 2 }), sourceOf(one)},
		}, {
			Name:    "a source where none may be",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", func(c *v1alpha1.ClusterPullSecret) { c.Spec.SecretRef.Namespace = "other" }), dockerConfig("other", "9", one)},
		}, {
			Name:    "the source cannot be read",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to read the source of ClusterPullSecret ghcr: Secret pullsecrets-sources/ghcr does not exist"},
		},
	}
}

// updates are the rows in which there is a copy, which stays.
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
			Name:    "the source has changed since the status was written: left until that says so",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7")},
			WantErr: true, // It is looked at again.
		}, {
			Name:         "rotating it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6")},
			WithReactors: failing("update"),
			WantUpdates:  rewritten(two), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to write the copy team/ghcr: inducing failure for update secrets"},
		}, {
			Name: "adopted: others' labels stay, owners and other keys go",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "", func(s *corev1.Secret) {
				s.Annotations = map[string]string{"example.com/note": "x", corev1.LastAppliedConfigAnnotation: "{}"}
				s.Labels["example.com/team"], s.Data["other"] = "blue", []byte("x")
				s.OwnerReferences = []metav1.OwnerReference{{Name: "owner"}}
			})},
			WantUpdates: rewritten(one, func(s *corev1.Secret) {
				s.Labels["example.com/team"], s.Annotations["example.com/note"] = "blue", "x"
			}),
		}, {
			Name:        "immutable: made anew",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", func(s *corev1.Secret) { s.Immutable = new(true) })},
			WantDeletes: deletion(),
		}, {
			Name:         "deleting it fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })},
			WithReactors: failing("delete"),
			WantDeletes:  deletion(), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to delete the copy team/ghcr: inducing failure for delete secrets"},
		}, {
			Name:        "taken over by a manifest: let go, and its data stays",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "7", inManifest)},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "taken over, and the source has no credential any more: let go",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", sourceLost), copied(two, "7", inManifest)},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:         "letting it go fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(two, "7", inManifest)},
			WithReactors: failing("patch"),
			WantPatches:  patchOfSecret(retain), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to patch the copy team/ghcr: inducing failure for patch secrets"},
		}, {
			Name:        "copyMetadata is new: in place",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", costCenter), sourceOf(one), copied(one, "7")},
			WantUpdates: rewritten(one, withCostCenter),
		}, {
			Name:        "copyMetadata is withdrawn: others' labels stay",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", withCostCenter, func(s *corev1.Secret) { s.Labels["team"] = "a" })},
			WantUpdates: rewritten(one, func(s *corev1.Secret) { s.Labels["team"] = "a" }),
		}, {
			Name:    "copyMetadata is there",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", costCenter), sourceOf(one), copied(one, "7", withCostCenter)},
		}, {
			Name:    "no good source any more: the copy stays",
			Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", sourceLost), copied(one, "6")},
		},
	}
}

// Whoever knows nothing of the version in the status leaves its copies alone as long as
// the source may have changed since, and then no longer: one copy that somebody has changed
// must not hold up all others.
func TestDoubts(t *testing.T) { synctest.Test(t, testDoubts) }

func testDoubts(t *testing.T) {
	asking := func(name string) *corev1.Namespace {
		return Namespace(name, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))
	}
	elsewhere := copied(two, "7", func(s *corev1.Secret) { s.Namespace = "elsewhere" })
	row := knativetesting.TableRow{Objects: []runtime.Object{asking("team"), asking("elsewhere"), ClusterPullSecret("ghcr"), sourceOf(one), elsewhere}}
	var r *Reconciler
	row.OtherTestData = map[string]any{"prepare": func(made *Reconciler) { r = made }}
	c, actions, _ := factory()(t, &row)
	for range 2 {
		if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != unheard {
			t.Errorf("It looks again: %t after %s, want it to after %s", again, after, unheard)
		}
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) > 0 {
		t.Fatalf("%d copies are made (%v) in doubt, want none", len(all.Creates), err)
	}
	time.Sleep(unheard) // In a synctest bubble, that is at once.
	for _, namespace := range []string{"team", "elsewhere"} {
		if err := c.Reconcile(row.Ctx, namespace); err != nil {
			t.Errorf("Namespace %s: %v", namespace, err)
		}
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) != 1 || len(all.Updates) != 1 {
		t.Errorf("%d copies are made and %d mended (%v), want one each", len(all.Creates), len(all.Updates), err)
	}
	if len(r.copies.doubts.byName) > 0 {
		t.Error("there are doubts still")
	}
}

// What a source holds that has changed since it was judged is not written under the
// version that was.
func TestRotationBeforeItIsWritten(t *testing.T) { synctest.Test(t, testRotationBeforeItIsWritten) }

func testRotationBeforeItIsWritten(t *testing.T) {
	var r *Reconciler
	row := knativetesting.TableRow{
		Objects:       []runtime.Object{asks(), ClusterPullSecret("ghcr"), sourceOf(two)},
		OtherTestData: map[string]any{"prepare": func(made *Reconciler) { r = made }},
	}
	c, actions, _ := factory()(t, &row)
	judged, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, sourceOf(one).Data)
	if err != nil {
		t.Fatal(err)
	}
	r.copies.sources.Know(v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "ghcr"}, "7", source.Facts{ResourceVersion: "7", Digest: judged.Digest()})
	if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != unheard {
		t.Errorf("It looks again: %t after %s, want it to after %s", again, after, unheard)
	}
	if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) > 0 {
		t.Errorf("%d copies are made (%v), want none before the status names the version", len(all.Creates), err)
	}
}

// revocations are the rows in which a copy goes.
func revocations() knativetesting.TableTest {
	used := Service("team", "app", WithPullSecrets("ghcr"))
	return knativetesting.TableTest{
		{
			Name:        "nobody asks any more",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7")},
			WantDeletes: deletion(),
		}, {
			Name:    "nobody asks, and a Service refers to it: kept until an event of that",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7"), used},
		}, {
			Name:        "nobody asks, and a Revision refers to it: kept up to date",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6"), revisionWith("ghcr")},
			WantUpdates: rewritten(two), WantErr: true,
		}, {
			Name:    "nobody asks, and a ServiceAccount refers to it",
			Objects: []runtime.Object{Namespace("team"), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7"), ServiceAccount("team", "default", nil, "ghcr")},
		}, {
			Name:        "not selected any more: at once, references or not",
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
			Name:        "Retain: an ordinary Secret from now on",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("ghcr", deleted(v1alpha1.DeletionPolicyRetain)), copied(one, "7"), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "its ClusterPullSecret is being deleted, and the one that serves now has no good source",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyDelete)), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "its ClusterPullSecret selects others now, and the one that serves has no good source",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, elsewhere), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "Retain, and nobody asks the one that serves now: an ordinary Secret",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(one), copied(one, "7", of("older"))},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "Retain, and nobody asks the one that serves now, while a Service refers to it: an ordinary Secret",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7", of("older")), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:        "its ClusterPullSecret is being deleted, and nobody asks the one that serves now: at once, references or not",
			Objects:     []runtime.Object{Namespace("team"), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyDelete)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "7", of("older")), used},
			WantDeletes: deletion(),
		}, {
			Name:        "Retain, and the one that serves now is asked: taken over in place",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr"), sourceOf(two), copied(one, "6", of("older")), used},
			WantUpdates: rewritten(two),
		}, {
			Name:        "Retain, and the one that serves now has no good source: an ordinary Secret",
			Objects:     []runtime.Object{asks(), ClusterPullSecret("older", named, deleted(v1alpha1.DeletionPolicyRetain)), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("older")), used},
			WantPatches: patchOfSecret(retain),
		}, {
			Name:    "another one serves, which has no good source: what is granted still stays",
			Objects: []runtime.Object{asks(), ClusterPullSecret("younger", named), ClusterPullSecret("ghcr", sourceLost), copied(one, "7", of("younger")), used},
		}, {
			Name:        "there is no such ClusterPullSecret",
			Objects:     []runtime.Object{asks(), copied(one, "7")},
			WantDeletes: deletion(),
		}, {
			Name:        "taken over, and not selected any more: it is the owner's, and stays",
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
			Name:         "taking the finalizer off fails",
			Objects:      []runtime.Object{asks(), ClusterPullSecret("ghcr", elsewhere), copied(one, "7", dying)},
			WithReactors: failing("patch"),
			WantPatches:  patchOfSecret(release), WantErr: true,
			WantEvents: []string{"Warning InternalError failed to patch the copy team/ghcr: inducing failure for patch secrets"},
		}, {
			Name:    "the Namespace is going",
			Objects: []runtime.Object{Namespace("team", func(ns *corev1.Namespace) { ns.DeletionTimestamp, ns.Finalizers = new(metav1.Now()), []string{"x"} }), copied(one, "7")},
		},
	}
}

// named has the copies of ghcr under its own.
func named(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretName = "ghcr" }

// inManifest has the data in somebody's manifest.
func inManifest(s *corev1.Secret) {
	s.Annotations[corev1.LastAppliedConfigAnnotation] = `{"stringData":{".dockerconfigjson":"{}"}}`
}

func costCenter(cps *v1alpha1.ClusterPullSecret) {
	cps.Spec.CopyMetadata = &v1alpha1.CopyMetadata{Labels: map[string]string{"cost-center": "42"}}
}

func withCostCenter(s *corev1.Secret) {
	s.Labels["cost-center"], s.Annotations[pullsecrets.CopyMetadataAnnotation] = "42", `{"labels":["cost-center"]}`
}

// of is a copy of another ClusterPullSecret.
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
		// The key of a cluster-scoped object names no namespace to compare with.
		rows[i].Key, rows[i].SkipNamespaceValidation = "team", true
	}
	rows.Test(t, factory())
}

// What becomes of copies is counted, whether or not there is anything to count for
// those who keep them.
func TestCopiesAreCounted(t *testing.T) {
	for _, test := range []struct {
		row  string
		want string
	}{
		{"granted and asked for: made", "created"},
		{"making it fails", "failed"},
		{"a Secret of the user's: left alone, and told", "conflict"},
		{"rotated: in place, with the same UID", "updated"},
		{"nobody asks any more", "removed"},
		{"deleting it fails", "failed"},
		{"Retain: an ordinary Secret from now on", "retained"},
	} {
		t.Run(test.row, func(t *testing.T) {
			rows := slices.DeleteFunc(slices.Concat(creations(), updates(), revocations()), func(row knativetesting.TableRow) bool { return row.Name != test.row })
			if len(rows) != 1 {
				t.Fatalf("%d rows of TestCopies are called so, want one", len(rows))
			}
			read := Metrics(t)
			runRows(t, rows)
			if diff := cmp.Diff(map[string]int64{"pullsecrets.copies{result=" + test.want + "}": 1}, read()); diff != "" {
				t.Error("counted (-want, +got):", diff)
			}
		})
	}
}

// A cache that does not show a write yet makes nobody write again, and one that never
// does keeps nobody from it for ever.
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
		t.Errorf("before it is seen: looks again %t in %s and has created %d times, want to within %s and one", again, after, creates(), expectationTimeout)
	}
	if !r.copies.seen(cached(t, made())) {
		t.Error("the copy that is waited for does not wake")
	}
	if err := c.Reconcile(row.Ctx, "team"); err != nil || creates() != 2 {
		t.Errorf("after another event: Reconcile() = %v and %d creates, want two", err, creates())
	}
}

// The event of what was written, which comes with each write, has no Namespace looked at.
func TestOwnWritesAreNoNews(t *testing.T) { synctest.Test(t, testOwnWritesAreNoNews) }

func testOwnWritesAreNoNews(t *testing.T) {
	for _, test := range []struct {
		reason string
		seen   *corev1.Secret
		news   bool
	}{
		{"the copy as it was made", made(), false},
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
		if news := r.copies.seen(cached(t, test.seen)); news != test.news {
			t.Errorf("%s: news = %t, want %t", test.reason, news, test.news)
		}
	}
}

// A copy whose grant ends before the cache shows it is news, although it is what was
// written, or nobody would take it away.
func TestCopyOfAGrantThatHasEnded(t *testing.T) {
	for reason, end := range map[string]func(*Reconciler, *corev1.Namespace){
		"the ClusterPullSecret is gone": func(r *Reconciler, _ *corev1.Namespace) {
			r.copies.catalog = catalog.New(NewListers(nil).ClusterPullSecrets())
		},
		"nobody asks for it any more": func(_ *Reconciler, namespace *corev1.Namespace) { namespace.Annotations = nil },
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
		// The cache does not show the copy yet, so nothing is there to be taken away.
		err := c.Reconcile(row.Ctx, "team")
		if again, _ := controller.IsRequeueKey(err); err != nil && !again {
			t.Fatal(err)
		}
		if !r.copies.seen(cached(t, made())) {
			t.Errorf("%s: the copy that comes late is no news", reason)
		}
	}
}

// cached is what the cache keeps of a Secret.
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
	if x.begin(name, goes); x.left(name) != expectationTimeout {
		t.Errorf("a write that has begun is expected for %s, want %s", x.left(name), expectationTimeout)
	}
	time.Sleep(expectationTimeout) // In a synctest bubble, that is at once.
	left, kept := x.left(name), 0
	x.Each(func(types.NamespacedName, *map[string]*expectation) { kept++ })
	if left != 0 || kept != 0 {
		t.Errorf("a write that is never seen is expected for %s more", left)
	}
}

// What was written, and nobody waits for, is no news. Everything else is.
func TestWhatIsSeenIsNews(t *testing.T) {
	copied := made()
	name := nameOf(copied)
	is := func(seen *corev1.Secret) bool { return seen == copied }
	for _, test := range []struct {
		reason string
		before func(expectations)
		seen   *corev1.Secret
		news   bool
	}{
		{"a copy that nobody here has written", func(expectations) {}, copied, true},
		{"what was written", func(p expectations) { p.begin(name, is) }, copied, false},
		{"what somebody has made of it since", func(p expectations) { p.begin(name, is) }, made(), true},
		{"what was written, and somebody has looked before", func(p expectations) { p.begin(name, is); p.await("team") }, copied, true},
		{"what was written, and somebody has looked elsewhere", func(p expectations) { p.begin(name, is); p.await("other") }, copied, false},
		{"what was written in a namespace that was made anew", func(p expectations) { p.begin(name, is); p.Forget(byNamespace("team")) }, copied, true},
		{"what was written, a second time", func(p expectations) { p.begin(name, is); p.seen(copied) }, copied, true},
		{"what a write that failed would have made", func(p expectations) { p.begin(name, is); p.end(name) }, copied, true},
		{"what is to be taken away", func(p expectations) { p.begin(name, goes) }, copied, true},
	} {
		p := newExpectations(&memory.Memory{})
		test.before(p)
		if news := p.seen(test.seen); news != test.news {
			t.Errorf("%s: news = %t, want %t", test.reason, news, test.news)
		}
		if left := p.left(name); left != 0 {
			t.Errorf("%s: it is waited for %s more", test.reason, left)
		}
	}
}

// After a long time without a write, the first ones are free again.
func TestBackoffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackoff(&memory.Memory{})
		name := types.NamespacedName{Namespace: "team", Name: "ghcr"}
		for range 9 {
			b.wrote(name, "7")
		}
		time.Sleep(time.Hour) // In a synctest bubble, that is at once.
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

// A tenant chooses the names of the Secrets that it labels, so they are bounded.
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
		time.Sleep(time.Hour) // In a synctest bubble, that is at once.
		if r.contested("team"); kept() != 0 {
			t.Errorf("%d names are remembered an hour later, want none", kept())
		}
	})
}

// A copy that nobody needs starts anew when it is needed again.
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
		t.Error("one that was removed and comes back waits")
	}
}

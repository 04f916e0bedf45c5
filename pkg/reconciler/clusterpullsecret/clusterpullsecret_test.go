// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgotesting "k8s.io/client-go/testing"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	client "pullsecrets.dev/pkg/client/injection/client"
	clusterpullsecretreconciler "pullsecrets.dev/pkg/client/injection/reconciler/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

// noon is the current time, and earlier is when the source last changed.
var noon, earlier = time.Unix(1e9, 0), time.Unix(1e9-3600, 0)

// The base64 of robot:one and robot:two.
const one, two = "cm9ib3Q6b25l", "cm9ib3Q6dHdv"

// ref is the source of the ClusterPullSecret ghcr.
var ref = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "ghcr"}

// prepare is the key of a row's function that prepares its reconciler.
const prepare = "prepare"

func prepared(f func(*Reconciler)) map[string]any { return map[string]any{prepare: f} }

func factory() knativetesting.Factory {
	return MakeFactory(func(ctx context.Context, listers *Listers, row *knativetesting.TableRow) controller.Reconciler {
		all := catalog.New(listers.ClusterPullSecrets())
		var remembered memory.Memory
		m, err := newMetrics(&remembered)
		if err != nil {
			panic(err)
		}
		r := &Reconciler{
			memory: &remembered, reporter: events.NewReporter(&remembered, nil), tallies: tallies{memory.NewStore[verdicts](&remembered)}, diagnoses: diagnoses{memory.NewStore[diagnosis](&remembered)},
			verifications: verifications{memory.NewStore[verification](&remembered)}, inBackground: func(do func()) { do() }, enqueue: func(string) {},
			sources: source.NewReader(kubeclient.Get(ctx)), watch: func(v1alpha1.SecretReference) {}, catalog: all,
			clusterPullSecrets: listers.ClusterPullSecrets(),
			namespaces:         listers.Namespaces(), accounts: listers.ServiceAccounts(), services: listers.Services(), secrets: listers.Copies(),
			probe: func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
				panic("unexpected probe of namespace " + namespace)
			},
			liveCopies: func(ctx context.Context, name string) (live []metav1.ObjectMeta, err error) {
				selector := metav1.ListOptions{LabelSelector: labels.SelectorFromSet(grant.CopyLabels(name)).String()}
				all, err := kubeclient.Get(ctx).CoreV1().Secrets("").List(ctx, selector)
				if err != nil {
					return nil, err
				}
				for i := range all.Items {
					live = append(live, all.Items[i].ObjectMeta)
				}
				return live, nil
			},
			metrics: m, now: func() time.Time { return noon },
		}
		if f, ok := row.OtherTestData[prepare].(func(*Reconciler)); ok {
			f(r)
		}
		return clusterpullsecretreconciler.NewReconciler(ctx, logging.FromContext(ctx), client.Get(ctx), listers.ClusterPullSecrets(),
			controller.GetEventRecorder(ctx), r)
	})
}

func runRows(t *testing.T, rows knativetesting.TableTest) {
	t.Helper()
	for i := range rows {
		// The key of a cluster-scoped object has no namespace to compare with.
		rows[i].Key, rows[i].SkipNamespaceValidation = "ghcr", true
	}
	rows.Test(t, factory())
}

// dockerConfig returns a Secret with a credential.
func dockerConfig(namespace, name, version, password string, edits ...func(*corev1.Secret)) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: version},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"ghcr.io":{"auth":%q}}}`, password)},
	}
	for _, edit := range edits {
		edit(secret)
	}
	return secret
}

func sourceOf(version, password string, edits ...func(*corev1.Secret)) *corev1.Secret {
	return dockerConfig(ref.Namespace, ref.Name, version, password, edits...)
}

func opaque(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }
func invalid(s *corev1.Secret) {
	s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"ghcr.io":{}}}`)
}

// ours labels a Secret as a copy.
func ours(s *corev1.Secret) {
	s.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr"}
}

// copied returns a copy of a version of the source.
func copied(namespace, version, password string) *corev1.Secret {
	return dockerConfig(namespace, "ghcr", "21", password, ours, func(s *corev1.Secret) {
		s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: version}
	})
}

// asks returns a Namespace that asks for a copy.
func asks(name string, options ...NamespaceOption) *corev1.Namespace {
	return Namespace(name, append(options, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))...)
}

func terminating(ns *corev1.Namespace) {
	ns.DeletionTimestamp, ns.Finalizers = new(metav1.NewTime(noon)), []string{"kubernetes"}
}

// counted sets the numbers of selected, wanted, synced, conflicted and failed namespaces.
func counted(n ...int32) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.SetNamespaces(v1alpha1.NamespaceCounts{Selected: n[0], Wanted: n[1], Synced: n[2], Conflicted: n[3], Failed: n[4]})
	}
}

// steady returns the ClusterPullSecret ghcr whose status says that one namespace wants a
// copy of version 7 and has it.
func steady(edits ...ClusterPullSecretOption) *v1alpha1.ClusterPullSecret {
	return ClusterPullSecret("ghcr", append([]ClusterPullSecretOption{func(cps *v1alpha1.ClusterPullSecret) {
		cps.Finalizers = []string{pullsecrets.FinalizerName}
		cps.Status.ObservedGeneration = 1
		cps.Status.Registries = []string{"ghcr.io"}
		cps.Status.Source.LastChanged = new(metav1.NewTime(earlier))
		cps.Status.MarkDistributed()
	}, counted(1, 1, 1, 0, 0)}, edits...)...)
}

// fresh makes it a ClusterPullSecret that a user has just created.
func fresh(cps *v1alpha1.ClusterPullSecret) {
	cps.Finalizers, cps.Status = nil, v1alpha1.ClusterPullSecretStatus{}
}

// atVersion sets a version of the source that was first seen now.
func atVersion(version string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.Source = &v1alpha1.SourceStatus{ResourceVersion: version, LastChanged: new(metav1.NewTime(noon))}
	}
}

// without drops what the status says about the source.
func without(cps *v1alpha1.ClusterPullSecret) {
	cps.Status.Source, cps.Status.Registries = nil, nil
	cps.Status.InitializeConditions()
}

func distributing(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkDistributing() }
func lost(cps *v1alpha1.ClusterPullSecret)         { cps.Status.MarkSourceNotFound(ref) }

func failed(reasons ...v1alpha1.NamespaceFailure) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Failures = reasons }
}

// invalidMessage returns the message about an invalid source.
func invalidMessage() string {
	secret := sourceOf("8", one, invalid)
	_, err := dockerconfig.Parse(secret.Type, secret.Data)
	return err.Error()
}

// uppercase writes the registry in capitals.
func uppercase(s *corev1.Secret) {
	s.Data[corev1.DockerConfigJsonKey] = bytes.ReplaceAll(s.Data[corev1.DockerConfigJsonKey], []byte("ghcr.io"), []byte("GHCR.IO"))
}

func questionable(cps *v1alpha1.ClusterPullSecret) {
	cps.Status.MarkSourceQuestionable(ref, []string{`entry 1: matches only images with the same spelling; use lower case`})
}

func broken(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkSourceInvalid(ref, invalidMessage()) }

func status(options ...ClusterPullSecretOption) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: steady(options...)}}
}

func finalizers(list string) []clientgotesting.PatchActionImpl {
	return []clientgotesting.PatchActionImpl{{Name: "ghcr", Patch: fmt.Appendf(nil, `{"metadata":{"finalizers":%s,"resourceVersion":""}}`, list)}}
}

const finalizersUpdated = `Normal FinalizerUpdate Updated "ghcr" finalizers`

// allowing returns a context with a configuration that allows these source namespaces.
func allowing(sources ...string) context.Context {
	c := config.Default()
	c.SourceNamespaces = sets.New(sources...)
	return config.WithConfig(context.Background(), c)
}

// missingFor records that the copies of namespaces have been missing for some time.
func missingFor(r *Reconciler, since time.Duration, missing ...string) {
	r.diagnoses.track("ghcr", missing, earlier, noon.Add(-since))
}

// TestSource lists the states of a source.
func TestSource(t *testing.T) {
	team, synced := asks("team"), copied("team", "7", one)
	runRows(t, knativetesting.TableTest{
		{Name: "no such ClusterPullSecret"},
		{
			Name:              "valid for the first time: the finalizer is added, and copies are distributed",
			Objects:           []runtime.Object{team, steady(fresh), sourceOf("7", one)},
			WantPatches:       finalizers(`["clusterpullsecrets.pullsecrets.dev"]`),
			WantStatusUpdates: status(atVersion("7"), distributing, func(c *v1alpha1.ClusterPullSecret) { c.Finalizers, c.Status.Namespaces = nil, nil }),
			WantEvents:        []string{finalizersUpdated},
		}, {
			Name:    "unchanged: nothing is written",
			Objects: []runtime.Object{team, steady(), sourceOf("7", one), synced},
		}, {
			Name: "not allowed by the configuration", Ctx: allowing("elsewhere"),
			Objects: []runtime.Object{team, steady(), sourceOf("8", two), synced},
			OtherTestData: prepared(func(r *Reconciler) {
				r.watch = func(v1alpha1.SecretReference) { panic("a Secret that may not be a source is watched") }
			}),
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) {
				c.Status.MarkSourceNotAllowed(ref, "namespace pullsecrets-sources is not in source-namespaces of ConfigMap config-pullsecrets")
			}),
		}, {
			Name:              "not found: the last valid version stays in the status",
			Objects:           []runtime.Object{team, steady(), synced},
			WantStatusUpdates: status(lost),
		}, {
			Name:              "not found yet: nothing to distribute",
			Objects:           []runtime.Object{Namespace("team"), steady(without)},
			WantStatusUpdates: status(without, lost, counted(1, 0, 0, 0, 0)),
		}, {
			Name:              "not found yet, and wanted: requeued without a probe",
			Objects:           []runtime.Object{team, steady(without)},
			WantStatusUpdates: status(without, lost, counted(1, 1, 0, 0, 0)), WantErr: true,
		}, {
			Name:              "wrong type",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", two, opaque), synced},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) { c.Status.MarkSourceWrongType(ref, corev1.SecretTypeOpaque) }),
		}, {
			Name:              "invalid: reported",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", one, invalid), synced},
			WantStatusUpdates: status(broken),
			WantEvents:        []string{"Warning SourceInvalid " + events.SourceInvalid(messageOf(steady(broken))).Message},
		}, {
			Name:    "invalid in the same way: not reported again",
			Objects: []runtime.Object{team, steady(broken), sourceOf("9", one, invalid), synced},
		}, {
			Name:              "questionable: used and reported",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", one, uppercase), synced},
			WantStatusUpdates: status(atVersion("8"), distributing, questionable, func(c *v1alpha1.ClusterPullSecret) { c.Status.Registries = nil }),
			WantEvents:        []string{"Warning SourceQuestionable " + messageOf(steady(questionable))},
		}, {
			Name: "still questionable: not reported again",
			Objects: []runtime.Object{team, steady(questionable, func(c *v1alpha1.ClusterPullSecret) {
				c.Status.Registries = nil
			}), sourceOf("7", one, uppercase), dockerConfig("team", "ghcr", "21", one, ours, uppercase, func(s *corev1.Secret) {
				s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: "7"}
			})},
		}, {
			Name:    "a copy of ours",
			Objects: []runtime.Object{team, steady(), sourceOf("8", two, ours), synced},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) {
				c.Status.MarkSourceNotAllowed(ref, "it is a copy that belongs to ClusterPullSecret ghcr")
			}),
		}, {
			Name:              "valid again, with the same contents",
			Objects:           []runtime.Object{team, steady(lost), sourceOf("9", one), synced},
			WantStatusUpdates: status(),
		},
	})
}

// If the API server fails, the status is kept and the key is retried.
func TestAPIServerFails(t *testing.T) {
	team, synced := asks("team"), copied("team", "7", one)
	runRows(t, knativetesting.TableTest{
		{
			Name:         "it cannot be read: the status is kept",
			Objects:      []runtime.Object{team, steady(), sourceOf("8", two), synced},
			WithReactors: []clientgotesting.ReactionFunc{knativetesting.InduceFailure("get", "secrets")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to read Secret pullsecrets-sources/ghcr: inducing failure for get secrets"},
		}, {
			Name:         "it cannot be read, and the source that the spec names now was never validated",
			Objects:      []runtime.Object{team, steady(func(c *v1alpha1.ClusterPullSecret) { c.Generation = 2 }), sourceOf("8", two), synced},
			WithReactors: []clientgotesting.ReactionFunc{knativetesting.InduceFailure("get", "secrets")}, WantErr: true,
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) {
				c.Generation, c.Status.ObservedGeneration = 2, 2
				c.Status.MarkSourceUnknown(ref)
			}),
			WantEvents: []string{"Warning InternalError failed to read Secret pullsecrets-sources/ghcr: inducing failure for get secrets"},
		}, {
			Name:              "the status cannot be written",
			Objects:           []runtime.Object{team, steady(), synced},
			WithReactors:      []clientgotesting.ReactionFunc{knativetesting.InduceFailure("update", "clusterpullsecrets")},
			WantStatusUpdates: status(lost), WantErr: true,
			WantEvents: []string{`Warning UpdateFailed Failed to update status for "ghcr": inducing failure for update clusterpullsecrets`},
		},
	})
}

// messageOf returns the message of the condition SourceReady.
func messageOf(cps *v1alpha1.ClusterPullSecret) string {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).Message
}

// TestVersions lists what counts as a rotation.
func TestVersions(t *testing.T) {
	team := asks("team")
	digest := func(password string) source.Facts {
		c, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, sourceOf("", password).Data)
		if err != nil {
			t.Fatal(err)
		}
		return source.Facts{Digest: c.Digest()}
	}
	knowing := func(password string) map[string]any {
		return prepared(func(r *Reconciler) { r.sources.Know(source.Scope{Ref: ref}, "7", digest(password)) })
	}
	rotated := status(atVersion("9"), distributing) // Copies are counted once the caches show the status.
	runRows(t, knativetesting.TableTest{
		{
			Name:          "only labelled, as this process knows",
			Objects:       []runtime.Object{Namespace("team"), steady(counted(1, 0, 0, 0, 0)), sourceOf("9", one)},
			OtherTestData: knowing(one),
		}, {
			Name:    "only labelled, as a copy shows",
			Objects: []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "7", one)},
		}, {
			Name:    "only labelled, and a copy was changed, which counts as missing until it is restored",
			Objects: []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "7", two)}, WantErr: true,
			OtherTestData:     knowing(one),
			WantStatusUpdates: status(counted(1, 1, 0, 0, 0)),
		}, {
			Name:              "this process does not know the version, and a copy has other contents: rotated",
			Objects:           []runtime.Object{team, asks("more"), steady(counted(2, 2, 2, 0, 0)), sourceOf("9", one), copied("team", "7", two), copied("more", "7", one)},
			WantStatusUpdates: status(atVersion("9"), counted(2, 2, 2, 0, 0), distributing),
		}, {
			Name:              "rotated, as this process knows",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", two), copied("team", "7", two)},
			OtherTestData:     knowing(one),
			WantStatusUpdates: rotated,
		}, {
			Name:              "rotated, as a copy shows",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", two), copied("team", "7", one)},
			WantStatusUpdates: rotated,
		}, {
			Name:              "a copy of another version shows nothing: rotated",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "6", one)},
			WantStatusUpdates: rotated,
		}, {
			Name: "rotated, and one copy was written before the rotation was observed",
			Objects: []runtime.Object{
				team, asks("newer"), steady(counted(2, 2, 2, 0, 0)), sourceOf("9", two), copied("team", "7", one), copied("newer", "7", two),
			},
			WantStatusUpdates: status(atVersion("9"), counted(2, 2, 2, 0, 0), distributing),
		}, {
			Name:              "unknown: rotated",
			Objects:           []runtime.Object{Namespace("team"), steady(counted(1, 0, 0, 0, 0)), sourceOf("9", one)},
			WantStatusUpdates: status(atVersion("9"), counted(1, 0, 0, 0, 0), distributing),
		},
	})
}

// A return to contents that the source had two versions before is a rotation too.
func TestRemembersVersions(t *testing.T) {
	cps := steady()
	row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("team"), cps}}
	var r *Reconciler
	row.OtherTestData = prepared(func(made *Reconciler) { r = made })
	factory()(t, &row)
	secrets := kubeclient.Get(row.Ctx).CoreV1().Secrets(ref.Namespace)
	if _, err := secrets.Create(row.Ctx, sourceOf("7", one), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ version, password, want string }{
		{"7", one, "7"}, {"8", one, "7"}, {"9", two, "9"}, {"10", two, "9"}, {"11", one, "11"}, {"11", one, "11"},
	} {
		if _, err := secrets.Update(row.Ctx, sourceOf(step.version, step.password), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := r.ReconcileKind(row.Ctx, cps); err != nil {
			t.Fatal(err)
		}
		if got := cps.Status.Source.ResourceVersion; got != step.want {
			t.Errorf("at version %s of the source, the status names %s, want %s", step.version, got, step.want)
		}
	}
}

func deleted(cps *v1alpha1.ClusterPullSecret) { cps.DeletionTimestamp = new(metav1.NewTime(noon)) }

// TestFinalizeKind lists what a deleted ClusterPullSecret waits for.
func TestFinalizeKind(t *testing.T) {
	finalized, other := finalizers(`[]`), func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretRef.Name = "other" }
	runRows(t, knativetesting.TableTest{
		{
			Name:    "a copy that the cache does not show yet",
			Objects: []runtime.Object{asks("team"), steady(deleted)}, WantErr: true,
			OtherTestData: prepared(func(r *Reconciler) {
				r.liveCopies = func(context.Context, string) ([]metav1.ObjectMeta, error) {
					return []metav1.ObjectMeta{copied("team", "7", one).ObjectMeta}, nil
				}
			}),
		}, {
			Name:    "the API server fails",
			Objects: []runtime.Object{asks("team"), steady(deleted)}, WantErr: true,
			OtherTestData: prepared(func(r *Reconciler) {
				r.liveCopies = func(context.Context, string) ([]metav1.ObjectMeta, error) { return nil, errors.New("it is down") }
			}),
			WantEvents: []string{"Warning InternalError failed to list the copies of ClusterPullSecret ghcr: it is down"},
		},
		{
			Name:        "no copies: the finalizer is removed",
			Objects:     []runtime.Object{asks("team"), steady(deleted)},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name:    "a copy is left: the finalizer is kept, and the key is requeued",
			Objects: []runtime.Object{asks("team"), steady(deleted), copied("team", "7", one)}, WantErr: true,
		}, {
			Name:        "a copy in a terminating namespace does not count",
			Objects:     []runtime.Object{asks("team", terminating), steady(deleted), copied("team", "7", one)},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name:        "a copy in a deleted namespace does not count",
			Objects:     []runtime.Object{steady(deleted), copied("team", "7", one)},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "a labelled Secret that was created long after the deletion does not count",
			Objects: []runtime.Object{asks("team"), steady(deleted), dockerConfig("team", "other", "3", one, ours, func(s *corev1.Secret) {
				s.CreationTimestamp = metav1.NewTime(noon.Add(finalizeTimeout + time.Second))
			})},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "a copy that was created just after the deletion",
			Objects: []runtime.Object{asks("team"), steady(deleted), dockerConfig("team", "ghcr", "3", one, ours, func(s *corev1.Secret) {
				s.CreationTimestamp = metav1.NewTime(noon.Add(time.Second))
			})}, WantErr: true,
		}, {
			Name:    "copies in a terminating and in another namespace",
			Objects: []runtime.Object{asks("team", terminating), asks("other"), steady(deleted), copied("team", "7", one), copied("other", "7", one)}, WantErr: true,
		}, {
			Name:        "copies of other ClusterPullSecrets",
			Objects:     []runtime.Object{asks("team"), ClusterPullSecret("quay"), steady(deleted), dockerConfig("team", "ghcr", "3", one)},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name:        "our labels on its own source",
			Objects:     []runtime.Object{Namespace(ref.Namespace), steady(deleted), sourceOf("7", one, ours)},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "our labels on the source of another ClusterPullSecret",
			Objects: []runtime.Object{
				Namespace(ref.Namespace), steady(deleted), ClusterPullSecret("other", other), dockerConfig(ref.Namespace, "other", "7", one, ours),
			},
			WantPatches: finalized, WantEvents: []string{finalizersUpdated},
		},
	})
}

// TestRequeueAfter checks when a ClusterPullSecret is reconciled again without an event.
func TestRequeueAfter(t *testing.T) {
	for _, test := range []struct {
		reason  string
		objects []runtime.Object
		since   time.Duration
		why     failure
		want    time.Duration
	}{
		{"copies are being written", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, 0, failure{}, gracePeriod},
		{"copies have been missing for a while", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, gracePeriod - time.Second, failure{}, time.Second},
		{"a copy is blocked by its tenant", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, gracePeriod, rejected("team"), retryInterval},
		{"a copy is blocked by a transient failure", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, gracePeriod, erroneous("team"), transientRetryInterval},
		{"all copies are up to date", []runtime.Object{asks("team"), steady(), sourceOf("7", one), copied("team", "7", one)}, 0, failure{}, 0},
		{"copies are being removed", []runtime.Object{asks("team"), steady(deleted), copied("team", "7", one)}, 0, failure{}, finalizeInterval},
	} {
		t.Run(test.reason, func(t *testing.T) {
			row := knativetesting.TableRow{Objects: test.objects, OtherTestData: prepared(func(r *Reconciler) {
				missingFor(r, test.since, "team")
				r.probe = func(context.Context, string, *v1alpha1.ClusterPullSecret, bool) failure { return test.why }
			})}
			c, _, _ := factory()(t, &row)
			err := c.Reconcile(row.Ctx, "ghcr")
			again, after := controller.IsRequeueKey(err)
			if after != test.want || again != (test.want > 0) || !again && err != nil {
				t.Errorf("Reconcile() = %v, requeued after %s, want %s", err, after, test.want)
			}
		})
	}
}

// The state of a deleted ClusterPullSecret is dropped.
func TestStateOfDeletedIsDropped(t *testing.T) {
	r := newReconciler()
	missingFor(r, time.Hour, "team")
	if err := r.ObserveDeletion(t.Context(), types.NamespacedName{Name: "ghcr"}); err != nil {
		t.Error(err)
	}
	if a := r.diagnoses.track("ghcr", []string{"team"}, earlier, noon); len(a.overdue) > 0 {
		t.Error("a recreated one keeps the diagnosis")
	}
}

// Copies that cannot be removed are reported once.
func TestDelayedRevocationIsReported(t *testing.T) {
	for _, test := range []struct {
		reason string
		since  time.Duration
		want   []string
	}{
		{"it has just begun", finalizeTimeout, nil},
		{"it takes long", finalizeTimeout + time.Second, []string{"Warning RevocationDelayed Copies in 2 namespaces are not removed yet (a, b); see Events InternalError on these Namespaces, in namespace default, for the cause"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			dying := steady(deleted, func(c *v1alpha1.ClusterPullSecret) { c.DeletionTimestamp = new(metav1.NewTime(noon.Add(-test.since))) })
			row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("a"), Namespace("b"), dying, copied("b", "7", one), copied("a", "7", one)}}
			c, _, eventList := factory()(t, &row)
			for range 3 {
				if again, _ := controller.IsRequeueKey(c.Reconcile(row.Ctx, "ghcr")); !again {
					t.Error("it is not requeued")
				}
			}
			if got := eventList.Events(); !slices.Equal(got, test.want) {
				t.Errorf("events = %q, want %q", got, test.want)
			}
		})
	}
}

// The state of ClusterPullSecrets in a lost bucket is dropped, and other state is kept.
func TestDemote(t *testing.T) {
	r := newReconciler()
	for _, name := range []string{"kept", "lost"} {
		r.diagnoses.track(name, []string{"team"}, earlier, noon)
		r.tallies.take(name, basis{})
	}
	r.memory.Demote(onlyBucket("lost"))
	waited := func(name string) bool {
		return len(r.diagnoses.track(name, []string{"team"}, earlier, noon.Add(time.Hour)).overdue) > 0
	}
	if _, _, known := r.tallies.take("kept", basis{}); !known || !waited("kept") {
		t.Error("the state in a bucket that was kept is dropped")
	}
	if _, _, known := r.tallies.take("lost", basis{}); known || waited("lost") {
		t.Error("the state in a lost bucket is kept")
	}
}

// newReconciler returns a reconciler that has only its memory.
func newReconciler() *Reconciler {
	var m memory.Memory
	return &Reconciler{memory: &m, tallies: tallies{memory.NewStore[verdicts](&m)}, diagnoses: diagnoses{memory.NewStore[diagnosis](&m)}}
}

// onlyBucket is the bucket of one ClusterPullSecret.
type onlyBucket string

func (b onlyBucket) Name() string                       { return string(b) }
func (b onlyBucket) Has(name types.NamespacedName) bool { return name.Name == string(b) }

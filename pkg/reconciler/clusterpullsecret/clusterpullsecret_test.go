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

// noon is when everything happens, and earlier is when the source changed last
// before that.
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
		m, err := newMetrics()
		if err != nil {
			panic(err)
		}
		var remembered memory.Memory
		r := &Reconciler{
			memory: &remembered, tallies: tallies{memory.NewStore[verdicts](&remembered)}, stalled: stalls{memory.NewStore[stall](&remembered)},
			sources: source.NewReader(kubeclient.Get(ctx)), watch: func(v1alpha1.SecretReference) {}, catalog: all,
			clusterPullSecrets: listers.ClusterPullSecrets(),
			namespaces:         listers.Namespaces(), services: listers.Services(), secrets: listers.Copies(),
			probe: func(_ context.Context, namespace string, _ *v1alpha1.ClusterPullSecret, _ bool) failure {
				panic("nothing may be asked about namespace " + namespace)
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
		// The key of a cluster-scoped object names no namespace to compare with.
		rows[i].Key, rows[i].SkipNamespaceValidation = "ghcr", true
	}
	rows.Test(t, factory())
}

// dockerConfig is a Secret with a credential.
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

// copied is a copy of a version of the source.
func copied(namespace, version, password string) *corev1.Secret {
	return dockerConfig(namespace, "ghcr", "21", password, ours, func(s *corev1.Secret) {
		s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: version}
	})
}

// asks is a Namespace that asks for a copy.
func asks(name string, options ...NamespaceOption) *corev1.Namespace {
	return Namespace(name, append(options, WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))...)
}

func going(ns *corev1.Namespace) {
	ns.DeletionTimestamp, ns.Finalizers = new(metav1.NewTime(noon)), []string{"kubernetes"}
}

// counted are counts of selected, wanted, synced, conflicted and failed namespaces.
func counted(n ...int32) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.SetNamespaces(v1alpha1.NamespaceCounts{Selected: n[0], Wanted: n[1], Synced: n[2], Conflicted: n[3], Failed: n[4]})
	}
}

// steady is the ClusterPullSecret ghcr whose status says that one namespace wants a
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

// fresh is as a user makes it.
func fresh(cps *v1alpha1.ClusterPullSecret) {
	cps.Finalizers, cps.Status = nil, v1alpha1.ClusterPullSecretStatus{}
}

// atVersion is with a version of the source that was first seen now.
func atVersion(version string) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) {
		cps.Status.Source = &v1alpha1.SourceStatus{ResourceVersion: version, LastChanged: new(metav1.NewTime(noon))}
	}
}

// without is with nothing known of the source.
func without(cps *v1alpha1.ClusterPullSecret) {
	cps.Status.Source, cps.Status.Registries = nil, nil
	cps.Status.InitializeConditions()
}

func distributing(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkDistributing() }
func lost(cps *v1alpha1.ClusterPullSecret)         { cps.Status.MarkSourceNotFound(ref) }

func failed(reasons ...v1alpha1.NamespaceFailure) ClusterPullSecretOption {
	return func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Failures = reasons }
}

// told is the message of a source that is invalid.
func told() string {
	secret := sourceOf("8", one, invalid)
	_, err := dockerconfig.Parse(secret.Type, secret.Data)
	return err.Error()
}

// shouting writes the registry in capitals.
func shouting(s *corev1.Secret) {
	s.Data[corev1.DockerConfigJsonKey] = bytes.ReplaceAll(s.Data[corev1.DockerConfigJsonKey], []byte("ghcr.io"), []byte("GHCR.IO"))
}

func questionable(cps *v1alpha1.ClusterPullSecret) {
	cps.Status.MarkSourceQuestionable(ref, []string{`entry "GHCR.IO": matches only images with the same spelling; use "ghcr.io"`})
}

func broken(cps *v1alpha1.ClusterPullSecret) { cps.Status.MarkSourceInvalid(ref, told()) }

func status(options ...ClusterPullSecretOption) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: steady(options...)}}
}

func finalizers(list string) []clientgotesting.PatchActionImpl {
	return []clientgotesting.PatchActionImpl{{Name: "ghcr", Patch: fmt.Appendf(nil, `{"metadata":{"finalizers":%s,"resourceVersion":""}}`, list)}}
}

const finalizersUpdated = `Normal FinalizerUpdate Updated "ghcr" finalizers`

// allowing is a context with a configuration.
func allowing(sources ...string) context.Context {
	c := config.Default()
	c.SourceNamespaces = sets.New(sources...)
	return config.WithConfig(context.Background(), c)
}

// stalling says that namespaces have been without their copies for some time.
func stalling(r *Reconciler, since time.Duration, missing ...string) {
	r.stalled.age("ghcr", missing, time.Time{}, noon.Add(-since))
}

// TestSource lists what becomes of a source.
func TestSource(t *testing.T) {
	team, synced := asks("team"), copied("team", "7", one)
	runRows(t, knativetesting.TableTest{
		{Name: "no such ClusterPullSecret"},
		{
			Name:              "good the first time: the finalizer, and the copies are awaited",
			Objects:           []runtime.Object{team, steady(fresh), sourceOf("7", one)},
			WantPatches:       finalizers(`["clusterpullsecrets.pullsecrets.dev"]`),
			WantStatusUpdates: status(atVersion("7"), distributing, func(c *v1alpha1.ClusterPullSecret) { c.Finalizers, c.Status.Namespaces = nil, nil }),
			WantEvents:        []string{finalizersUpdated},
		}, {
			Name:    "nothing has changed: nothing is written",
			Objects: []runtime.Object{team, steady(), sourceOf("7", one), synced},
		}, {
			Name: "not allowed by the configuration", Ctx: allowing("elsewhere"),
			Objects: []runtime.Object{team, steady(), sourceOf("8", two), synced},
			OtherTestData: prepared(func(r *Reconciler) {
				r.watch = func(v1alpha1.SecretReference) { panic("a Secret that may not be a source is none of our business") }
			}),
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) {
				c.Status.MarkSourceNotAllowed(ref, "namespace pullsecrets-sources is none of source-namespaces")
			}),
		}, {
			Name:              "not found, and the last good one stays in the status",
			Objects:           []runtime.Object{team, steady(), synced},
			WantStatusUpdates: status(lost),
		}, {
			Name:              "not found yet: nothing to distribute",
			Objects:           []runtime.Object{Namespace("team"), steady(without)},
			WantStatusUpdates: status(without, lost, counted(1, 0, 0, 0, 0)),
		}, {
			Name:              "not found yet, and wanted: looked at again, without asking why",
			Objects:           []runtime.Object{team, steady(without)},
			WantStatusUpdates: status(without, lost, counted(1, 1, 0, 0, 0)), WantErr: true,
		}, {
			Name:              "wrong type",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", two, opaque), synced},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) { c.Status.MarkSourceWrongType(ref, corev1.SecretTypeOpaque) }),
		}, {
			Name:              "invalid: told",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", one, invalid), synced},
			WantStatusUpdates: status(broken),
			WantEvents:        []string{"Warning SourceInvalid " + events.SourceInvalid(messageOf(steady(broken))).Message},
		}, {
			Name:    "still invalid in the same way: told once",
			Objects: []runtime.Object{team, steady(broken), sourceOf("9", one, invalid), synced},
		}, {
			Name:              "probably a mistake: used, and told",
			Objects:           []runtime.Object{team, steady(), sourceOf("8", one, shouting), synced},
			WantStatusUpdates: status(atVersion("8"), distributing, questionable, func(c *v1alpha1.ClusterPullSecret) { c.Status.Registries = []string{"GHCR.IO"} }),
			WantEvents:        []string{"Warning SourceQuestionable " + messageOf(steady(questionable))},
		}, {
			Name: "still so: told once",
			Objects: []runtime.Object{team, steady(questionable, func(c *v1alpha1.ClusterPullSecret) {
				c.Status.Registries = []string{"GHCR.IO"}
			}), sourceOf("7", one, shouting), dockerConfig("team", "ghcr", "21", one, ours, shouting, func(s *corev1.Secret) {
				s.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: "7"}
			})},
		}, {
			Name:    "a copy of ours",
			Objects: []runtime.Object{team, steady(), sourceOf("8", two, ours), synced},
			WantStatusUpdates: status(func(c *v1alpha1.ClusterPullSecret) {
				c.Status.MarkSourceNotAllowed(ref, "it is a copy that belongs to ClusterPullSecret ghcr")
			}),
		}, {
			Name:              "good again, with what it held before",
			Objects:           []runtime.Object{team, steady(lost), sourceOf("9", one), synced},
			WantStatusUpdates: status(),
		},
	})
}

// The API server is away: what is known stays, and it is tried again.
func TestAPIServerFails(t *testing.T) {
	team, synced := asks("team"), copied("team", "7", one)
	runRows(t, knativetesting.TableTest{
		{
			Name:         "it cannot be read: the status stays",
			Objects:      []runtime.Object{team, steady(), sourceOf("8", two), synced},
			WithReactors: []clientgotesting.ReactionFunc{knativetesting.InduceFailure("get", "secrets")}, WantErr: true,
			WantEvents: []string{"Warning InternalError failed to read Secret pullsecrets-sources/ghcr: inducing failure for get secrets"},
		}, {
			Name:         "it cannot be read, and nobody has looked at the source that the spec names now",
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

// messageOf is what the status says of the source.
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
		return prepared(func(r *Reconciler) { r.sources.Know(ref, "7", digest(password)) })
	}
	rotated := status(atVersion("9"), distributing) // It is counted when the caches know that.
	runRows(t, knativetesting.TableTest{
		{
			Name:          "only labelled, as this process knows",
			Objects:       []runtime.Object{Namespace("team"), steady(counted(1, 0, 0, 0, 0)), sourceOf("9", one)},
			OtherTestData: knowing(one),
		}, {
			Name:    "only labelled, as a copy knows",
			Objects: []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "7", one)},
		}, {
			Name:          "only labelled, and somebody has changed a copy, which is mended as ever",
			Objects:       []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "7", two)},
			OtherTestData: knowing(one),
		}, {
			Name:              "only labelled, as far as this process knows, which is nothing, and a copy holds something else",
			Objects:           []runtime.Object{team, asks("more"), steady(counted(2, 2, 2, 0, 0)), sourceOf("9", one), copied("team", "7", two), copied("more", "7", one)},
			WantStatusUpdates: status(atVersion("9"), counted(2, 2, 2, 0, 0), distributing),
		}, {
			Name:              "rotated, as this process knows",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", two), copied("team", "7", two)},
			OtherTestData:     knowing(one),
			WantStatusUpdates: rotated,
		}, {
			Name:              "rotated, as a copy knows",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", two), copied("team", "7", one)},
			WantStatusUpdates: rotated,
		}, {
			Name:              "a copy of another version knows nothing",
			Objects:           []runtime.Object{team, steady(), sourceOf("9", one), copied("team", "6", one)},
			WantStatusUpdates: rotated,
		}, {
			Name: "rotated, and one copy was made before that was seen",
			Objects: []runtime.Object{
				team, asks("newer"), steady(counted(2, 2, 2, 0, 0)), sourceOf("9", two), copied("team", "7", one), copied("newer", "7", two),
			},
			WantStatusUpdates: status(atVersion("9"), counted(2, 2, 2, 0, 0), distributing),
		}, {
			Name:              "nobody knows: rotated",
			Objects:           []runtime.Object{Namespace("team"), steady(counted(1, 0, 0, 0, 0)), sourceOf("9", one)},
			WantStatusUpdates: status(atVersion("9"), counted(1, 0, 0, 0, 0), distributing),
		},
	})
}

// TestRemembersVersions goes there and back again: what was held two versions ago is
// a rotation like any other.
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
			t.Errorf("version %s of the source makes it %s in the status, want %s", step.version, got, step.want)
		}
	}
}

func deleted(cps *v1alpha1.ClusterPullSecret) { cps.DeletionTimestamp = new(metav1.NewTime(noon)) }

// TestFinalizeKind lists what a deleted ClusterPullSecret waits for.
func TestFinalizeKind(t *testing.T) {
	gone, other := finalizers(`[]`), func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretRef.Name = "other" }
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
			Name:    "the API server does not answer",
			Objects: []runtime.Object{asks("team"), steady(deleted)}, WantErr: true,
			OtherTestData: prepared(func(r *Reconciler) {
				r.liveCopies = func(context.Context, string) ([]metav1.ObjectMeta, error) { return nil, errors.New("it is down") }
			}),
			WantEvents: []string{"Warning InternalError failed to list the copies of ClusterPullSecret ghcr: it is down"},
		},
		{
			Name:        "no copies: it goes",
			Objects:     []runtime.Object{asks("team"), steady(deleted)},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name:    "a copy is left: it stays and is looked at again",
			Objects: []runtime.Object{asks("team"), steady(deleted), copied("team", "7", one)}, WantErr: true,
		}, {
			Name:        "terminating namespaces are not waited for",
			Objects:     []runtime.Object{asks("team", going), steady(deleted), copied("team", "7", one)},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name:        "nor are those that are gone",
			Objects:     []runtime.Object{steady(deleted), copied("team", "7", one)},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "what looks like a copy and was made long after the deletion",
			Objects: []runtime.Object{asks("team"), steady(deleted), dockerConfig("team", "other", "3", one, ours, func(s *corev1.Secret) {
				s.CreationTimestamp = metav1.NewTime(noon.Add(overdue + time.Second))
			})},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "a copy that was made by somebody who did not know of the deletion yet",
			Objects: []runtime.Object{asks("team"), steady(deleted), dockerConfig("team", "ghcr", "3", one, ours, func(s *corev1.Secret) {
				s.CreationTimestamp = metav1.NewTime(noon.Add(time.Second))
			})}, WantErr: true,
		}, {
			Name:    "one that terminates and one that does not",
			Objects: []runtime.Object{asks("team", going), asks("other"), steady(deleted), copied("team", "7", one), copied("other", "7", one)}, WantErr: true,
		}, {
			Name:        "copies of others",
			Objects:     []runtime.Object{asks("team"), ClusterPullSecret("quay"), steady(deleted), dockerConfig("team", "ghcr", "3", one)},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name:        "our labels on its own source",
			Objects:     []runtime.Object{Namespace(ref.Namespace), steady(deleted), sourceOf("7", one, ours)},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		}, {
			Name: "our labels on the source of another one",
			Objects: []runtime.Object{
				Namespace(ref.Namespace), steady(deleted), ClusterPullSecret("other", other), dockerConfig(ref.Namespace, "other", "7", one, ours),
			},
			WantPatches: gone, WantEvents: []string{finalizersUpdated},
		},
	})
}

// TestLooksAgain checks when a ClusterPullSecret is looked at again of itself.
func TestLooksAgain(t *testing.T) {
	for _, test := range []struct {
		reason  string
		objects []runtime.Object
		since   time.Duration
		why     failure
		want    time.Duration
	}{
		{"copies are being written", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, 0, failure{}, patience},
		{"they have been for a while", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, patience - time.Second, failure{}, time.Second},
		{"something is in the way", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, patience, refused("team"), later},
		{"something is in the way that may pass", []runtime.Object{asks("team"), steady(), sourceOf("7", one)}, patience, broke("team"), sooner},
		{"all is done", []runtime.Object{asks("team"), steady(), sourceOf("7", one), copied("team", "7", one)}, 0, failure{}, 0},
		{"copies are being taken away", []runtime.Object{asks("team"), steady(deleted), copied("team", "7", one)}, 0, failure{}, remaining},
	} {
		t.Run(test.reason, func(t *testing.T) {
			row := knativetesting.TableRow{Objects: test.objects, OtherTestData: prepared(func(r *Reconciler) {
				stalling(r, test.since, "team")
				r.probe = func(context.Context, string, *v1alpha1.ClusterPullSecret, bool) failure { return test.why }
			})}
			c, _, _ := factory()(t, &row)
			err := c.Reconcile(row.Ctx, "ghcr")
			again, after := controller.IsRequeueKey(err)
			if after != test.want || again != (test.want > 0) || !again && err != nil {
				t.Errorf("Reconcile() = %v, looked at again after %s, want %s", err, after, test.want)
			}
		})
	}
}

// What is remembered of a ClusterPullSecret goes with it.
func TestForgets(t *testing.T) {
	r := newReconciler()
	stalling(r, time.Hour, "team")
	if err := r.ObserveDeletion(t.Context(), types.NamespacedName{Name: "ghcr"}); err != nil {
		t.Error(err)
	}
	if a := r.stalled.age("ghcr", []string{"team"}, time.Time{}, noon); len(a.ripe) > 0 {
		t.Error("a new one of the same name has waited")
	}
}

// Copies that cannot be taken away are told of, once.
func TestDelayedRevocationIsTold(t *testing.T) {
	for _, test := range []struct {
		reason string
		since  time.Duration
		want   []string
	}{
		{"it has just begun", overdue, nil},
		{"it takes long", overdue + time.Second, []string{"Warning RevocationDelayed Copies in 2 namespaces are not removed yet (a, b); see Events InternalError on these Namespaces, in namespace default, for the cause"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			dying := steady(deleted, func(c *v1alpha1.ClusterPullSecret) { c.DeletionTimestamp = new(metav1.NewTime(noon.Add(-test.since))) })
			row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("a"), Namespace("b"), dying, copied("b", "7", one), copied("a", "7", one)}}
			c, _, eventList := factory()(t, &row)
			for range 3 {
				if again, _ := controller.IsRequeueKey(c.Reconcile(row.Ctx, "ghcr")); !again {
					t.Error("it is not looked at again")
				}
			}
			if got := eventList.Events(); !slices.Equal(got, test.want) {
				t.Errorf("Events %q, want %q", got, test.want)
			}
		})
	}
}

// What another replica leads now is forgotten, and nothing else.
func TestDemote(t *testing.T) {
	r := newReconciler()
	for _, name := range []string{"ours", "theirs"} {
		r.stalled.age(name, []string{"team"}, time.Time{}, noon)
		r.tallies.take(name, basis{})
	}
	r.memory.Demote(onlyBucket("theirs"))
	waited := func(name string) bool {
		return len(r.stalled.age(name, []string{"team"}, time.Time{}, noon.Add(time.Hour)).ripe) > 0
	}
	if _, _, known := r.tallies.take("ours", basis{}); !known || !waited("ours") {
		t.Error("what it still leads is forgotten")
	}
	if _, _, known := r.tallies.take("theirs", basis{}); known || waited("theirs") {
		t.Error("what another one leads is remembered")
	}
}

// newReconciler returns one that has its memory and nothing else.
func newReconciler() *Reconciler {
	var m memory.Memory
	return &Reconciler{memory: &m, tallies: tallies{memory.NewStore[verdicts](&m)}, stalled: stalls{memory.NewStore[stall](&m)}}
}

// onlyBucket has one ClusterPullSecret.
type onlyBucket string

func (b onlyBucket) Name() string                       { return string(b) }
func (b onlyBucket) Has(name types.NamespacedName) bool { return name.Name == string(b) }

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	logtesting "knative.dev/pkg/logging/testing"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	client "pullsecrets.dev/pkg/client/injection/client"
	_ "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret/fake"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

// enqueued waits until nothing more is enqueued, and returns the names of the enqueued
// ClusterPullSecrets, sorted.
func enqueued(impl *controller.Impl) []string {
	time.Sleep(2 * countDelay) // In a synctest bubble, this returns immediately.
	synctest.Wait()
	var names []string
	for queue := impl.WorkQueue(); queue.Len() > 0; {
		key, _ := queue.Get()
		queue.Done(key)
		names = append(names, key.(types.NamespacedName).Name)
	}
	slices.Sort(names)
	return names
}

// TestNewController checks which events enqueue a ClusterPullSecret.
func TestNewController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, informers := knativetesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
			return filteredfactory.WithSelectors(ctx, grant.Copies)
		})
		ctx, cancel := context.WithCancel(ctx)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}
		settings := knative.NewSettings()
		impl := NewController(settings)(ctx, configmap.NewStaticWatcher(cm))
		wait, err := knativetesting.RunAndSyncInformers(ctx, informers...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			impl.WorkQueue().ShutDown()
			cancel()
			wait()
		}()
		kube, services := kubeclient.Get(ctx).CoreV1(), servingclient.Get(ctx).ServingV1().Services("team")
		all, ghcr, other, both := client.Get(ctx).PullsecretsV1alpha1().ClusterPullSecrets(), steady(), ClusterPullSecret("other"), []string{"ghcr", "other"}
		counted, changed := other.DeepCopy(), other.DeepCopy()
		counted.Status.ObservedGeneration, changed.Generation = 1, 2
		sharing := changed.DeepCopy()
		sharing.Generation, sharing.Spec.SecretName = 3, "ghcr"
		asking := Service("team", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr"))
		failing := Service("team", "app", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), WithConfigurationsReady(corev1.ConditionFalse))
		elsewhere := ClusterPullSecret("elsewhere", func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "x"}
		})
		create, update := metav1.CreateOptions{}, metav1.UpdateOptions{}
		for _, step := range []struct {
			reason string
			do     func() error
			want   []string
		}{
			{"it is created", func() error { return second(all.Create(ctx, ghcr, create)) }, []string{"ghcr"}},
			{"another one is created", func() error { return second(all.Create(ctx, other, create)) }, []string{"other"}},
			{"another one's status changes", func() error { return second(all.Update(ctx, counted, update)) }, []string{"other"}},
			{"another one's spec changes", func() error { return second(all.Update(ctx, changed, update)) }, []string{"other"}},
			{"another one takes its secretName", func() error { return second(all.Update(ctx, sharing, update)) }, both},
			{"one that selects another team is created", func() error { return second(all.Create(ctx, elsewhere, create)) }, []string{"elsewhere"}},
			{"a copy is created", func() error { return second(kube.Secrets("team").Create(ctx, copied("team", "7", one), create)) }, []string{"ghcr"}},
			{"a copy is deleted", func() error { return kube.Secrets("team").Delete(ctx, "ghcr", metav1.DeleteOptions{}) }, []string{"ghcr"}},
			{"a Namespace is created", func() error { return second(kube.Namespaces().Create(ctx, asks("team"), create)) }, both},
			{"a Service is created", func() error { return second(services.Create(ctx, Service("team", "app"), create)) }, both},
			{"a Service asks for a copy", func() error { return second(services.Update(ctx, asking, update)) }, both},
			{"a Service fails", func() error { return second(services.Update(ctx, failing, update)) }, nil},
			{"a Namespace joins the other team", func() error {
				return second(kube.Namespaces().Update(ctx, asks("team", WithNamespaceLabel("team", "x")), update))
			}, []string{"elsewhere", "ghcr", "other"}},
			{"a Namespace leaves the other team", func() error { return second(kube.Namespaces().Update(ctx, asks("team"), update)) }, []string{"elsewhere", "ghcr", "other"}},
			{"a Service is deleted", func() error { return services.Delete(ctx, "app", metav1.DeleteOptions{}) }, both},
			{"Knative's settings of images change", func() error {
				settings.OnConfigChanged(&corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: knative.Deployment}, Data: map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue"},
				})
				return nil
			}, []string{"elsewhere", "ghcr", "other"}},
			{"another one with its secretName is deleted", func() error { return all.Delete(ctx, "other", metav1.DeleteOptions{}) }, both},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			if got := enqueued(impl); !slices.Equal(got, step.want) {
				t.Errorf("%s: enqueued %v, want %v", step.reason, got, step.want)
			}
		}
	})
}

// While copies are distributed, each write of the status changes the counts. It must not
// cause the next write.
func TestCountsWait(t *testing.T) {
	before, counts, source, spec := steady(), steady(), steady(), steady()
	before.ResourceVersion = "1"
	counts.Status.SetNamespaces(v1alpha1.NamespaceCounts{Selected: 5000, Wanted: 5000, Synced: 1})
	counts.Status.MarkDistributing()
	source.Status.Source = &v1alpha1.SourceStatus{ResourceVersion: "8"}
	spec.Generation++
	for _, test := range []struct {
		reason string
		after  *v1alpha1.ClusterPullSecret
		waits  bool
	}{
		{"counts and the condition that depends on them", counts, true},
		{"another version of the source", source, false},
		{"another spec", spec, false},
		{"nothing, as in a resync", before, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			impl := queueOf(t)
			defer impl.WorkQueue().ShutDown()
			if test.after != before {
				test.after.ResourceVersion = "2"
			}
			enqueuer{impl: impl}.clusterPullSecretHandler().OnUpdate(before, test.after)
			synctest.Wait()
			if now := impl.WorkQueue().Len() == 1; now == test.waits {
				t.Errorf("%s: enqueued immediately: %t, want %t", test.reason, now, !test.waits)
			}
			if got := enqueued(impl); !slices.Equal(got, []string{before.Name}) {
				t.Errorf("%s: enqueued %v, want %s", test.reason, got, before.Name)
			}
		})
	}
}

func queueOf(t *testing.T) *controller.Impl {
	return controller.NewContext(t.Context(), nil, controller.ControllerOptions{WorkQueueName: t.Name(), Logger: logtesting.TestLogger(t)})
}

// A deletion that the watch missed enqueues too.
func TestMissedDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		impl := queueOf(t)
		defer impl.WorkQueue().ShutDown()
		enqueuer{impl: impl, tallies: newReconciler().tallies}.enqueueOwner(cache.DeletedFinalStateUnknown{Key: "team/ghcr", Obj: copied("team", "7", one)})
		if got := enqueued(impl); !slices.Equal(got, []string{"ghcr"}) {
			t.Errorf("enqueued %v, want ghcr", got)
		}
	})
}

// A change of a source enqueues the ClusterPullSecrets that refer to it, and no others.
func TestDependents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listers, impl := NewListers([]runtime.Object{steady(), ClusterPullSecret("other")}), queueOf(t)
		defer impl.WorkQueue().ShutDown()
		enqueuer{impl: impl, lister: listers.ClusterPullSecrets()}.enqueueDependents(ref)
		if got := enqueued(impl); !slices.Equal(got, []string{"ghcr"}) {
			t.Errorf("enqueued %v, want ghcr", got)
		}
		if refs := source.Named(list(listers.ClusterPullSecrets())); refs.Len() != 2 || !refs.Has(ref) {
			t.Errorf("sources = %v, want those of both", refs)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestDemandChanged(t *testing.T) {
	for _, test := range []struct {
		reason string
		option ServiceOption
		want   bool
	}{
		{"secrets", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), true},
		{"inject", WithAnnotation(pullsecrets.InjectAnnotation, "auto"), true},
		{"an image", WithImage("quay.io/acme/app"), true},
		{"its status", WithConfigurationsReady(corev1.ConditionFalse), false},
		{"another annotation", WithAnnotation("example.com/note", "x"), false},
	} {
		if got := demandChanged(Service("team", "app"), Service("team", "app", test.option)); got != test.want {
			t.Errorf("%s: demandChanged() = %t, want %t", test.reason, got, test.want)
		}
	}
}

// After a change of one ClusterPullSecret, only those that share its secretName are
// counted again, however many others exist.
func TestOneChangeRecountsNoOthers(t *testing.T) {
	for _, others := range []int{5, 50} {
		synctest.Test(t, func(t *testing.T) {
			changed := ClusterPullSecret("changed")
			objects := []runtime.Object{changed, ClusterPullSecret("sharing", func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.SecretName = "changed" })}
			tallies := newReconciler().tallies
			for i := range others {
				objects = append(objects, ClusterPullSecret(fmt.Sprint("other-", i)))
				tallies.take(fmt.Sprint("other-", i), basis{})
			}
			tallies.take("changed", basis{})
			tallies.take("sharing", basis{})
			impl := queueOf(t)
			defer impl.WorkQueue().ShutDown()
			enqueuer{impl: impl, lister: NewListers(objects).ClusterPullSecrets(), tallies: tallies}.enqueueSharing(changed)
			if got := enqueued(impl); !slices.Equal(got, []string{"changed", "sharing"}) {
				t.Errorf("with %d others, %v are counted again, want two", others, got)
			}
			kept := 0
			tallies.Each(func(types.NamespacedName, *verdicts) { kept++ })
			if kept != others {
				t.Errorf("the verdicts of %d are kept, want those of the %d others", kept, others)
			}
		})
	}
}

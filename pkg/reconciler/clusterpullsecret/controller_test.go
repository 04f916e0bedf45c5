// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	logtesting "knative.dev/pkg/logging/testing"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	client "pullsecrets.dev/pkg/client/injection/client"
	_ "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret/fake"
	"pullsecrets.dev/pkg/config"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

// wakes returns the keys that a controller is woken for.
func wakes(t *testing.T, impl *controller.Impl) <-chan types.NamespacedName {
	keys, queue := make(chan types.NamespacedName, 100), impl.WorkQueue()
	t.Cleanup(queue.ShutDown)
	go func() {
		for {
			key, shutdown := queue.Get()
			if shutdown {
				return
			}
			queue.Done(key)
			keys <- key.(types.NamespacedName)
		}
	}()
	return keys
}

// TestNewController checks what wakes a ClusterPullSecret.
func TestNewController(t *testing.T) {
	ctx, informers := knativetesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
		return filteredfactory.WithSelectors(ctx, source.Copies)
	})
	ctx, cancel := context.WithCancel(ctx)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}
	impl := NewController(ctx, configmap.NewStaticWatcher(cm))
	wait, err := knativetesting.RunAndSyncInformers(ctx, informers...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		wait()
	}()
	keys := wakes(t, impl)
	kube, services := kubeclient.Get(ctx).CoreV1(), servingclient.Get(ctx).ServingV1().Services("team")
	all, ghcr, other := client.Get(ctx).PullsecretsV1alpha1().ClusterPullSecrets(), steady(), ClusterPullSecret("other")
	changed := other.DeepCopy()
	changed.Generation = 2
	for _, step := range []struct {
		reason string
		do     func() error
		want   []string
	}{
		{"it is made", func() error { return second(all.Create(ctx, ghcr, metav1.CreateOptions{})) }, []string{"ghcr"}},
		{"another one is made", func() error { return second(all.Create(ctx, other, metav1.CreateOptions{})) }, []string{"other"}},
		{
			"another one's spec changes: at once, and then all",
			func() error { return second(all.Update(ctx, changed, metav1.UpdateOptions{})) },
			[]string{"other", "ghcr", "other"},
		},
		{"a copy comes", func() error {
			return second(kube.Secrets("team").Create(ctx, copied("team", "7", one), metav1.CreateOptions{}))
		}, []string{"ghcr"}},
		{"a copy goes", func() error { return kube.Secrets("team").Delete(ctx, "ghcr", metav1.DeleteOptions{}) }, []string{"ghcr"}},
		{"a Namespace comes", func() error { return second(kube.Namespaces().Create(ctx, asks("team"), metav1.CreateOptions{})) }, []string{"ghcr", "other"}},
		{"a Service comes", func() error { return second(services.Create(ctx, Service("team", "app"), metav1.CreateOptions{})) }, []string{"ghcr", "other"}},
		{"another one goes: at once, and then all", func() error { return all.Delete(ctx, "other", metav1.DeleteOptions{}) }, []string{"other", "ghcr"}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		waiting := make(map[string]int)
		for _, name := range step.want {
			waiting[name]++
		}
		for range step.want {
			waiting[receive(t, keys, step.reason).Name]--
		}
		for name, missing := range waiting {
			if missing != 0 {
				t.Errorf("%s: %s is woken %d times too few", step.reason, name, missing)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A deletion that was missed is one too.
func TestMissedDeletion(t *testing.T) {
	impl := controller.NewContext(t.Context(), nil, controller.ControllerOptions{WorkQueueName: t.Name(), Logger: logtesting.TestLogger(t)})
	waking{impl, nil}.owner(cache.DeletedFinalStateUnknown{Key: "team/ghcr", Obj: copied("team", "7", one)})
	if got := receive(t, wakes(t, impl), "the wake"); got.Name != "ghcr" {
		t.Errorf("%s is woken, want ghcr", got)
	}
}

// A change of a source wakes those who copy from it, and nobody else.
func TestDependents(t *testing.T) {
	listers := NewListers([]runtime.Object{steady(), ClusterPullSecret("other")})
	impl := controller.NewContext(t.Context(), nil, controller.ControllerOptions{WorkQueueName: t.Name(), Logger: logtesting.TestLogger(t)})
	waking{impl, listers.ClusterPullSecrets()}.dependents(ref)
	if n := impl.WorkQueue().Len(); n != 1 {
		t.Errorf("%d are woken, want one", n)
	}
	if got := receive(t, wakes(t, impl), "the wake"); got.Name != "ghcr" {
		t.Errorf("%s is woken, want ghcr", got)
	}
	if refs := sourcesOf(listers.ClusterPullSecrets()); refs.Len() != 2 || !refs.Has(ref) {
		t.Errorf("sources are %v, want those of both", refs)
	}
}

func TestAsksOtherwise(t *testing.T) {
	for _, test := range []struct {
		reason string
		option ServiceOption
		want   bool
	}{
		{"secrets", WithAnnotation(pullsecrets.SecretsAnnotation, "ghcr"), true},
		{"inject", WithAnnotation(pullsecrets.InjectAnnotation, "auto"), true},
		{"an image", WithImage("quay.io/acme/app"), true},
		{"what became of it", WithConfigurationsReady(corev1.ConditionFalse), false},
		{"another annotation", WithAnnotation("example.com/note", "x"), false},
	} {
		if got := asksOtherwise(Service("team", "app"), Service("team", "app", test.option)); got != test.want {
			t.Errorf("%s: asksOtherwise = %t, want %t", test.reason, got, test.want)
		}
	}
}

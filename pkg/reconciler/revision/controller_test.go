// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metadatafake "k8s.io/client-go/metadata/fake"
	kubefake "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingfake "knative.dev/serving/pkg/client/injection/client/fake"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	clientfake "pullsecrets.dev/pkg/client/injection/client/fake"
	_ "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret/fake"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// TestEnqueues checks who is enqueued by what.
func TestEnqueues(t *testing.T) { synctest.Test(t, testEnqueues) }

func testEnqueues(t *testing.T) {
	ctx, cancel, informers := knativetesting.SetupFakeContextWithCancel(t, func(ctx context.Context) context.Context {
		return filteredfactory.WithSelectors(ctx, grant.Copies)
	})
	defer cancel()
	kube, serving, grants := kubefake.Get(ctx), servingfake.Get(ctx).ServingV1(), clientfake.Get(ctx).PullsecretsV1alpha1().ClusterPullSecrets()
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	team, account := declares("ghcr"), ServiceAccount(ns, "default", nil)
	do(serving.Services(ns).Create(ctx, app(), metav1.CreateOptions{}))
	do(serving.Revisions(ns).Create(ctx, revision(), metav1.CreateOptions{}))
	do(serving.Services("other").Create(ctx, Service("other", "app"), metav1.CreateOptions{}))
	do(serving.Revisions("other").Create(ctx, NewRevision("other", "app-00001", rejected), metav1.CreateOptions{}))
	do(kube.CoreV1().Namespaces().Create(ctx, team, metav1.CreateOptions{}))
	do(kube.CoreV1().Namespaces().Create(ctx, Namespace("other", WithNamespaceLabel("team", "b")), metav1.CreateOptions{}))
	do(kube.CoreV1().ServiceAccounts(ns).Create(ctx, account, metav1.CreateOptions{}))

	settings := knative.NewSettings()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	impl := newController(ctx, configmap.NewStaticWatcher(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}),
		settings, metadatafake.NewSimpleMetadataClient(scheme))
	wait, err := knativetesting.RunAndSyncInformers(ctx, informers...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { impl.WorkQueue().ShutDown(); cancel(); wait() }()
	enqueued := func(what string, want ...string) {
		t.Helper()
		got := drain(impl)
		for _, key := range want {
			if !got[key] {
				t.Errorf("%s: %s was not enqueued; enqueued: %v", what, key, got)
			}
			delete(got, key)
		}
		if len(got) > 0 {
			t.Errorf("%s: enqueued for nothing: %v", what, got)
		}
	}
	enqueued("the start", "team/app", "other/app")

	do(serving.Revisions(ns).Update(ctx, revision(rejected), metav1.UpdateOptions{}))
	enqueued("a Revision that failed", "team/app")
	do(serving.Revisions(ns).Update(ctx, revision(rejected, WithCondition("Active", corev1.ConditionFalse, "", "")), metav1.UpdateOptions{}))
	enqueued("a Revision that is scaled")
	do(serving.Services(ns).Update(ctx, app(WithAnnotation("a", "b")), metav1.UpdateOptions{}))
	enqueued("a Service that changed", "team/app")
	team = team.DeepCopy()
	team.Annotations["pullsecrets.dev/secrets"] = "quay"
	do(kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{}))
	enqueued("a Namespace that declares something else", "team/app")
	team = team.DeepCopy()
	team.Annotations["pullsecrets.dev/service-accounts"] = "default"
	do(kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{}))
	enqueued("a Namespace that binds ServiceAccounts", "team/app")
	team = team.DeepCopy()
	team.Finalizers = []string{"a.example.com/b"}
	do(kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{}))
	enqueued("a Namespace that does not")
	account = account.DeepCopy()
	account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "ghcr"}}
	do(kube.CoreV1().ServiceAccounts(ns).Update(ctx, account, metav1.UpdateOptions{}))
	enqueued("a ServiceAccount with another list", "team/app")
	do(kube.CoreV1().ServiceAccounts(ns).Create(ctx, ServiceAccount(ns, "unused", nil), metav1.CreateOptions{}))
	enqueued("a ServiceAccount that nothing uses")
	settings.OnConfigChanged(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: knative.Deployment}, Data: map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue"},
	})
	enqueued("other settings of images", "team/app", "other/app")

	cps := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "b"}
	})
	do(grants.Create(ctx, cps, metav1.CreateOptions{}))
	enqueued("a ClusterPullSecret", "other/app")
	cps = cps.DeepCopy()
	cps.Status.Namespaces = &v1alpha1.NamespaceCounts{Synced: 1}
	do(grants.Update(ctx, cps, metav1.UpdateOptions{}))
	enqueued("its counts")
	cps = cps.DeepCopy()
	cps.Spec.Always = &v1alpha1.Always{ServiceAccounts: []string{"default"}}
	do(grants.Update(ctx, cps, metav1.UpdateOptions{}))
	enqueued("that it binds ServiceAccounts", "other/app")
	cps = cps.DeepCopy()
	cps.Status.Registries = []string{"ghcr.io"}
	do(grants.Update(ctx, cps, metav1.UpdateOptions{}))
	enqueued("its registries", "other/app")
	copied := pullSecret("ghcr", "ghcr.io", created, grant.CopyLabels("ghcr"))
	for _, namespace := range []string{ns, "other"} {
		copied = copied.DeepCopy()
		copied.Namespace = namespace
		do(kube.CoreV1().Secrets(namespace).Create(ctx, copied, metav1.CreateOptions{}))
		enqueued("a copy", namespace+"/app")
	}
	do(serving.Revisions(ns).Update(ctx, revision(WithDigests(1)), metav1.UpdateOptions{}))
	enqueued("a Revision that recovers", "team/app")
	for namespace, want := range map[string][]string{ns: nil, "other": {"other/app"}} {
		rotated := copied.DeepCopy()
		rotated.Namespace, rotated.Data[corev1.DockerConfigJsonKey] = namespace, []byte(`{"auths":{}}`)
		do(kube.CoreV1().Secrets(namespace).Update(ctx, rotated, metav1.UpdateOptions{}))
		enqueued("a rotated copy in "+namespace, want...)
	}
	do(nil, kube.CoreV1().Secrets(ns).Delete(ctx, "ghcr", metav1.DeleteOptions{}))
	enqueued("a copy that is gone", "team/app")
	do(nil, grants.Delete(ctx, "ghcr", metav1.DeleteOptions{}))
	enqueued("a ClusterPullSecret that is gone", "other/app")
	do(nil, serving.Revisions(ns).Delete(ctx, "app-00001", metav1.DeleteOptions{}))
	enqueued("a Revision that is gone", "team/app")
}

// drain takes off the queue all that comes, now or after a delay.
func drain(impl *controller.Impl) map[string]bool {
	time.Sleep(time.Minute) // In a synctest bubble, that is at once.
	synctest.Wait()
	got := make(map[string]bool)
	for impl.WorkQueue().Len() > 0 {
		key, _ := impl.WorkQueue().Get()
		got[key.(interface{ String() string }).String()] = true
		impl.WorkQueue().Done(key)
	}
	return got
}

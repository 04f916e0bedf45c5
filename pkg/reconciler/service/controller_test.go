// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	kubefake "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/injection/client/fake"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/apis/pullsecrets"
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
	kube, serving, grants := kubefake.Get(ctx), servingfake.Get(ctx), clientfake.Get(ctx).PullsecretsV1alpha1().ClusterPullSecrets()
	kube.PrependReactor("create", "selfsubjectreviews", func(clientgotesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: user}}}, nil
	})
	asking := WithAnnotation(pullsecrets.InjectAnnotation, "auto")
	victim := Service(ns, "victim", WithAnnotation("serving.knative.dev/lastModifier", user), WithConfigurationsReady(corev1.ConditionFalse))
	for _, svc := range []*servingv1.Service{Service(ns, "app"), Service(ns, "built", WithServiceAccount("builder")), victim, Service("other", "app"), Service("third", "app"), Service("third", "auto", asking)} {
		if _, err := serving.ServingV1().Services(svc.Namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	team, other := declares("n", WithNamespaceLabel("team", "a")), Namespace("other", WithNamespaceLabel("team", "b"))
	account := ServiceAccount(ns, "builder", nil)
	for _, namespace := range []*corev1.Namespace{team, other, Namespace("third"), Namespace("automatic", WithNamespaceAnnotation(pullsecrets.InjectAnnotation, "auto"))} {
		if _, err := kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kube.CoreV1().ServiceAccounts(ns).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	settings := knative.NewSettings()
	impl := NewController(settings, config.Full)(ctx, configmap.NewStaticWatcher(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}))
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
	enqueued("the start", "team/app", "team/built", "team/victim", "other/app", "third/app", "third/auto")

	team = team.DeepCopy()
	team.Annotations["example.com/other"] = "x"
	update(t, func() error {
		_, err := kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{})
		return err
	})
	enqueued("a Namespace with another annotation of somebody else's")
	team = team.DeepCopy()
	team.Annotations["pullsecrets.dev/secrets"] = "n,n2"
	update(t, func() error {
		_, err := kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{})
		return err
	})
	enqueued("a Namespace that declares something else", "team/app", "team/built", "team/victim")
	changeNamespace := func(what string, edit func(*corev1.Namespace), want ...string) {
		t.Helper()
		team = team.DeepCopy()
		edit(team)
		update(t, func() error {
			_, err := kube.CoreV1().Namespaces().Update(ctx, team, metav1.UpdateOptions{})
			return err
		})
		enqueued(what, want...)
	}
	changeNamespace("a Namespace that declares the same in other words", WithNamespaceAnnotation("pullsecrets.dev/secrets", " n, n2,n,"))
	changeNamespace("a Namespace with another list of ServiceAccounts", WithNamespaceAnnotation("pullsecrets.dev/service-accounts", "*"))
	changeNamespace("a Namespace with a label that no selector asks for", WithNamespaceLabel("cost-center", "42"))
	changeNamespace("a Namespace that is excluded", WithNamespaceLabel("pullsecrets.dev/exclude", "yes"), "team/app", "team/built", "team/victim")
	changeNamespace("a Namespace that is excluded by another value", WithNamespaceLabel("pullsecrets.dev/exclude", "true"))
	changeNamespace("a Namespace that is no longer excluded", WithNamespaceLabel("pullsecrets.dev/exclude", "false"), "team/app", "team/built", "team/victim")
	// A Revision of victim failed, so that the backfill may be paused here.
	changeNamespace("another write of who declares, where the backfill may be paused", declaredAt(time.Unix(2e9, 0)), "team/app", "team/built", "team/victim")

	account = account.DeepCopy()
	account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "sa"}}
	update(t, func() error {
		_, err := kube.CoreV1().ServiceAccounts(ns).Update(ctx, account, metav1.UpdateOptions{})
		return err
	})
	enqueued("a ServiceAccount with another list", "team/built")

	healed := victim.DeepCopy()
	WithConfigurationsReady(corev1.ConditionTrue)(healed)
	update(t, func() error {
		_, err := serving.ServingV1().Services(ns).Update(ctx, healed, metav1.UpdateOptions{})
		return err
	})
	enqueued("a failed Revision that has come up", "team/app", "team/built", "team/victim")
	changeNamespace("another write of who declares, where nothing is paused", declaredAt(time.Unix(2e9+1, 0)))

	update(t, func() error {
		_, err := serving.ServingV1().Services("automatic").Create(ctx, Service("automatic", "app"), metav1.CreateOptions{})
		return err
	})
	enqueued("a new Service", "automatic/app")
	settings.OnConfigChanged(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: knative.Deployment}, Data: map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue"},
	})
	enqueued("other settings of images", "third/auto", "automatic/app")

	update(t, func() error { return serving.ServingV1().Services(ns).Delete(ctx, "app", metav1.DeleteOptions{}) })
	enqueued("a deletion", "team/app")

	update(t, func() error {
		_, err := serving.ServingV1().Services(ns).Update(ctx, victim, metav1.UpdateOptions{})
		return err
	})
	enqueued("a Service whose Revision fails", "team/victim")
	update(t, func() error { return serving.ServingV1().Services(ns).Delete(ctx, "victim", metav1.DeleteOptions{}) })
	enqueued("the deletion of what a namespace is paused for", "team/built", "team/victim")

	cps := ClusterPullSecret("ghcr", func(cps *v1alpha1.ClusterPullSecret) {
		cps.Spec.NamespaceSelector.MatchLabels = map[string]string{"team": "a"}
	})
	change := func(what string, edit func(*v1alpha1.ClusterPullSecret), want ...string) {
		t.Helper()
		cps = cps.DeepCopy()
		edit(cps)
		update(t, func() error {
			_, err := grants.Update(ctx, cps, metav1.UpdateOptions{})
			return err
		})
		enqueued(what, want...)
	}
	update(t, func() error {
		_, err := grants.Create(ctx, cps, metav1.CreateOptions{})
		return err
	})
	enqueued("a ClusterPullSecret that selects a namespace", "team/built")
	change("other counts", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Namespaces = &v1alpha1.NamespaceCounts{Synced: 1} })
	change("other registries", func(cps *v1alpha1.ClusterPullSecret) { cps.Status.Registries = []string{"ghcr.io"} }, "team/built")
	change("another selector", func(cps *v1alpha1.ClusterPullSecret) { cps.Spec.NamespaceSelector.MatchLabels["team"] = "b" }, "team/built", "other/app")

	changeNamespace("a Namespace that comes to be selected", WithNamespaceLabel("team", "b"), "team/built")
	changeNamespace("a Namespace that is no longer selected", WithNamespaceLabel("team", "a"), "team/built")

	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "ghcr", Labels: map[string]string{
		pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr",
	}}}
	update(t, func() error {
		_, err := kube.CoreV1().Secrets("other").Create(ctx, copied, metav1.CreateOptions{})
		return err
	})
	enqueued("a copy that has come", "other/app")
	update(t, func() error { return kube.CoreV1().Secrets("other").Delete(ctx, "ghcr", metav1.DeleteOptions{}) })
	enqueued("a copy that is gone", "other/app")

	update(t, func() error { return grants.Delete(ctx, "ghcr", metav1.DeleteOptions{}) })
	enqueued("a ClusterPullSecret that is gone", "other/app")
}

// declaredAt notes when somebody who owns an annotation of ours wrote the Namespace.
func declaredAt(at time.Time) NamespaceOption {
	return func(ns *corev1.Namespace) {
		ns.ManagedFields = nil
		WithNamespaceWrite(at)(ns)
		ns.ManagedFields[0].FieldsV1 = &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{"f:pullsecrets.dev/secrets":{}}}}`)}
	}
}

func update(t *testing.T, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatal(err)
	}
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

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount/fake"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"pullsecrets.dev/pkg/catalog"
	client "pullsecrets.dev/pkg/client/injection/client"
	_ "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret/fake"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	. "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/source"
)

func factory() knativetesting.Factory {
	return MakeFactory(func(ctx context.Context, listers *Listers, row *knativetesting.TableRow) controller.Reconciler {
		all := catalog.New(listers.ClusterPullSecrets())
		kube := kubeclient.Get(ctx)
		m, err := newMetrics()
		if err != nil {
			panic(err)
		}
		reporter := events.NewReporter()
		r := &Reconciler{reporter: reporter, accounts: &accounts{kube: kube, lister: listers.ServiceAccounts(), reporter: reporter}, copies: &copies{
			kube: kube, serving: servingclient.Get(ctx), client: client.Get(ctx),
			catalog: all, sources: source.NewReader(kube), clusterPullSecrets: listers.ClusterPullSecrets(),
			secrets: listers.Copies(), services: listers.Services(), accounts: listers.ServiceAccounts(),
			labelsOf: func(ctx context.Context, namespace, name string) (map[string]string, error) {
				secret, err := kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return nil, err
				}
				return secret.Labels, nil
			},
			metrics: m,
		}}
		if prepare, ok := row.OtherTestData["prepare"].(func(*Reconciler)); ok {
			prepare(r)
		}
		return namespacereconciler.NewReconciler(ctx, logging.FromContext(ctx), kubeclient.Get(ctx), listers.Namespaces(),
			controller.GetEventRecorder(ctx), r, controller.Options{SkipStatusUpdates: true})
	})
}

func TestReconcileKind(t *testing.T) {
	knativetesting.TableTest{
		{Name: "no such Namespace", Key: "team"},
		{
			Name: "nothing to say", Key: "team",
			Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr"))},
		},
		{
			Name: "every bad item is told", Key: "team",
			Objects: []runtime.Object{Namespace("team",
				WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"),
				WithNamespaceAnnotation("pullsecrets.dev/inject", "yes"),
				WithNamespaceAnnotation("pullsecrets.dev/service-accounts", "a b"),
			)},
			WantEvents: []string{
				`Warning InvalidAnnotation Annotation pullsecrets.dev/secrets: "Ghcr" is not a DNS-1123 subdomain`,
				`Warning InvalidAnnotation Annotation pullsecrets.dev/inject: "yes" is none of declared, auto and disabled; nothing is injected until it is corrected`,
				`Warning InvalidAnnotation Annotation pullsecrets.dev/service-accounts: "a b" is not a DNS-1123 subdomain`,
			},
		},
		{
			Name: "excluded", Key: "kube-system",
			Objects: []runtime.Object{Namespace("kube-system", WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"))},
		},
	}.Test(t, factory())
}

func TestToldOnce(t *testing.T) {
	row := knativetesting.TableRow{Objects: []runtime.Object{Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "Ghcr"))}}
	c, _, eventList := factory()(t, &row)
	for range 3 {
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Fatal(err)
		}
	}
	if got := eventList.Events(); len(got) != 1 {
		t.Errorf("events = %q, want one", got)
	}
}

func TestForgets(t *testing.T) {
	r := &Reconciler{reporter: events.NewReporter(), copies: &copies{}, accounts: &accounts{}}
	if err := r.ObserveDeletion(t.Context(), types.NamespacedName{Name: "team"}); err != nil {
		t.Error(err)
	}
}

func TestNewController(t *testing.T) {
	ctx, _ := knativetesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
		return filteredfactory.WithSelectors(ctx, source.Copies)
	})
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.Name, Namespace: "knative-testing"}}
	if impl := NewController(ctx, configmap.NewStaticWatcher(cm)); impl == nil {
		t.Error("NewController() = nil")
	}
}

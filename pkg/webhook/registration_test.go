// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/system"

	"pullsecrets.dev/pkg/config"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

// TestOrder guards the name. The API server calls mutating webhooks in the order
// of their configurations' names; see InjectName for why ours has to be first.
func TestOrder(t *testing.T) {
	const knative = "webhook.serving.knative.dev"
	if InjectName >= knative {
		t.Errorf("%s is called after %s: a request in which a second user drops an injected entry will be refused; choose a name that sorts first", InjectName, knative)
	}
}

func configuration(authority string, selector ...metav1.LabelSelectorRequirement) *admissionregistrationv1.MutatingWebhookConfiguration {
	wh := admissionregistrationv1.MutatingWebhook{
		Name:              InjectName,
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: selector},
	}
	if authority != "" {
		wh.ClientConfig.CABundle = []byte(authority)
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: InjectName, Annotations: map[string]string{"theirs": "kept"}},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{wh},
	}
}

func certificate(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system.Namespace(), Name: "certs"}, Data: data}
}

func TestRegistration(t *testing.T) {
	label := metav1.LabelSelectorRequirement{Key: "pullsecrets.dev/exclude", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}}
	without := func(names ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: names}
	}
	ready := certificate(map[string][]byte{"ca-cert.pem": []byte("authority")})
	namespaces := []runtime.Object{Namespace("team"), Namespace("kube-system"), Namespace("pullsecrets-system"), Namespace("knative-serving")}
	excluded := without("knative-serving", "kube-system", "pullsecrets-system")

	knativetesting.TableTest{
		{
			Name: "the authority and the excluded namespaces are filled in", Key: InjectName,
			Objects:                 append([]runtime.Object{configuration("", label), ready}, namespaces...),
			WantUpdates:             []clientgotesting.UpdateActionImpl{{Object: configuration("authority", label, excluded)}},
			SkipNamespaceValidation: true,
		},
		{
			Name: "nothing to write", Key: InjectName,
			Objects: append([]runtime.Object{configuration("authority", label, excluded), ready}, namespaces...),
		},
		{
			Name: "an excluded namespace is gone, and another came", Key: InjectName,
			Objects: append([]runtime.Object{configuration("authority", without("gone"), label), ready}, namespaces...),
			WantUpdates: []clientgotesting.UpdateActionImpl{{
				Object: configuration("authority", label, excluded),
			}},
		},
		{
			Name: "no certificate yet", Key: InjectName, WantErr: true,
			Objects: []runtime.Object{configuration(""), certificate(nil)},
		},
		{
			Name: "no Secret", Key: InjectName, WantErr: true,
			Objects: []runtime.Object{configuration("")},
		},
		{
			Name: "no configuration", Key: InjectName, WantErr: true,
			Objects: []runtime.Object{ready},
		},
		{
			Name: "the update fails", Key: InjectName, WantErr: true,
			Objects: []runtime.Object{configuration("", label), ready},
			WithReactors: []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
				return action.GetVerb() == "update", nil, errors.New("away")
			}},
			WantUpdates: []clientgotesting.UpdateActionImpl{{Object: configuration("authority", label)}},
		},
	}.Test(t, MakeFactory(func(ctx context.Context, listers *Listers, _ *knativetesting.TableRow) controller.Reconciler {
		r := newRegistration(InjectName, "certs")
		r.kube = kubeclient.Get(ctx)
		r.webhooks = admissionlisters.NewMutatingWebhookConfigurationLister(listers.Indexer(&admissionregistrationv1.MutatingWebhookConfiguration{}))
		r.secrets = corev1listers.NewSecretLister(listers.Indexer(&corev1.Secret{}))
		r.namespaces = listers.Namespaces()
		r.config = config.NewStore(logging.FromContext(ctx))
		return r
	}))
}

func TestRegistrationFollowsTheLeader(t *testing.T) {
	r := newRegistration(InjectName, "certs")
	if err := r.Reconcile(t.Context(), InjectName); !controller.IsSkipKey(err) {
		t.Errorf("Reconcile() = %v, want a replica that does not lead to skip", err)
	}
}

func TestReadiness(t *testing.T) {
	var r Readiness
	if r.Check() == nil {
		t.Error("ready before anything is known")
	}
	met := false
	r.needs("caches", func() bool { return met })
	if err := r.Check(); err == nil || err.Error() != "waiting for caches" {
		t.Errorf("Check() = %v", err)
	}
	met = true
	if err := r.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
}

func TestWithoutNamespaces(t *testing.T) {
	if diff := cmp.Diff(&metav1.LabelSelector{}, withoutNamespaces(nil, nil)); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

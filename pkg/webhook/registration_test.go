// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/system"

	. "pullsecrets.dev/pkg/reconciler/testing"
)

// TestOrder checks the name. The API server calls mutating webhooks in the order of the
// names of their configurations; injectName says why ours must precede Knative's.
func TestOrder(t *testing.T) {
	const knative = "webhook.serving.knative.dev"
	if injectName >= knative {
		t.Errorf("%s is called after %s: a request in which a second user drops an injected entry would be rejected; choose a name that sorts first", injectName, knative)
	}
}

func certificateSecret(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system.Namespace(), Name: "certs"}, Data: data}
}

// mutatingWebhooks returns a configuration with many fields that the webhook must not
// write.
func mutatingWebhooks(bundles ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: injectName, ResourceVersion: "7", Annotations: map[string]string{"theirs": "kept"}},
	}
	for i, text := range bundles {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: fmt.Sprintf("%d.pullsecrets.dev", i), ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte(text)},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"theirs": "kept"}},
		})
	}
	return c
}

func validatingWebhooks(bundles ...string) *admissionregistrationv1.ValidatingWebhookConfiguration {
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: injectName, ResourceVersion: "7"}}
	for i, text := range bundles {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name: fmt.Sprintf("%d.pullsecrets.dev", i), ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte(text)},
		})
	}
	return c
}

func TestRegistration(t *testing.T) {
	patch := func(text string) []clientgotesting.PatchActionImpl {
		return []clientgotesting.PatchActionImpl{{Name: injectName, PatchType: types.StrategicMergePatchType, Patch: []byte(text)}}
	}
	// Base64 of "ca\n" and "ca\nnext\nprevious\n".
	const one, three = "Y2EK", "Y2EKbmV4dApwcmV2aW91cwo="
	ready := certificateSecret(map[string][]byte{"ca-cert.pem": []byte("ca")})
	rotating := certificateSecret(map[string][]byte{"ca-cert.pem": []byte("ca"), "next-ca-cert.pem": []byte("next\n"), "previous-ca-cert.pem": []byte("previous")})
	failPatch := func(err error) []clientgotesting.ReactionFunc {
		return []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
			return action.GetVerb() == "patch", nil, err
		}}
	}
	first := patch(`{"metadata":{"resourceVersion":"7"},"webhooks":[{"clientConfig":{"caBundle":"` + one + `"},"name":"0.pullsecrets.dev"}]}`)

	for kind, of := range map[string]struct {
		make func(bundles ...string) runtime.Object
		from func(ctx context.Context, listers *Listers) configurations
	}{
		"mutating": {
			make: func(bundles ...string) runtime.Object { return mutatingWebhooks(bundles...) },
			from: func(ctx context.Context, listers *Listers) configurations {
				return mutating{kubeclient.Get(ctx), admissionlisters.NewMutatingWebhookConfigurationLister(listers.Indexer(&admissionregistrationv1.MutatingWebhookConfiguration{}))}
			},
		},
		"validating": {
			make: func(bundles ...string) runtime.Object { return validatingWebhooks(bundles...) },
			from: func(ctx context.Context, listers *Listers) configurations {
				return validating{kubeclient.Get(ctx), admissionlisters.NewValidatingWebhookConfigurationLister(listers.Indexer(&admissionregistrationv1.ValidatingWebhookConfiguration{}))}
			},
		},
	} {
		knativetesting.TableTest{
			{
				Name: kind + ": only the bundle is written", Key: injectName,
				Objects: []runtime.Object{of.make(""), ready}, WantPatches: first,
			},
			{
				Name: kind + ": during a rotation, all three authorities are written to the webhooks that lack one", Key: injectName,
				Objects:     []runtime.Object{of.make("ca\nnext\nprevious\n", "ca\n"), rotating},
				WantPatches: patch(`{"metadata":{"resourceVersion":"7"},"webhooks":[{"clientConfig":{"caBundle":"` + three + `"},"name":"1.pullsecrets.dev"}]}`),
			},
			{
				Name: kind + ": nothing to write", Key: injectName,
				Objects: []runtime.Object{of.make("ca\n", "ca\n"), ready},
			},
			{
				Name: kind + ": no certificate yet", Key: injectName,
				Objects: []runtime.Object{of.make(""), certificateSecret(nil)},
			},
			{
				Name: kind + ": no Secret", Key: injectName, WantErr: true,
				Objects: []runtime.Object{of.make("")},
			},
			{
				Name: kind + ": no configuration", Key: injectName, WantErr: true,
				Objects: []runtime.Object{ready},
			},
			{
				Name: kind + ": a conflict", Key: injectName, WantErr: true,
				Objects: []runtime.Object{of.make(""), ready}, WantPatches: first,
				WithReactors: failPatch(apierrors.NewConflict(schema.GroupResource{}, injectName, errors.New("modified"))),
			},
			{
				Name: kind + ": the API server fails", Key: injectName, WantErr: true,
				Objects: []runtime.Object{of.make(""), ready}, WantPatches: first,
				WithReactors: failPatch(errors.New("unavailable")),
			},
		}.Test(t, MakeFactory(func(ctx context.Context, listers *Listers, _ *knativetesting.TableRow) controller.Reconciler {
			r := newRegistration(injectName, "certs")
			r.secrets, r.configurations = corev1listers.NewSecretLister(listers.Indexer(&corev1.Secret{})), of.from(ctx, listers)
			return r
		}))
	}
}

// Fields that the manifest and operators wrote are kept.
func TestRegistrationKeepsWhatOthersWrote(t *testing.T) {
	ctx, kube := fakekubeclient.With(t.Context(), mutatingWebhooks("old", "ca\n"))
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := indexer.Add(mutatingWebhooks("old", "ca\n")); err != nil {
		t.Fatal(err)
	}
	m := mutating{kube, admissionlisters.NewMutatingWebhookConfigurationLister(indexer)}
	have, err := m.get(injectName)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := have.withBundle([]byte("ca\n"))
	if err == nil {
		err = m.patch(ctx, injectName, patch)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, injectName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mutatingWebhooks("ca\n", "ca\n"), got); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
}

func TestRegistrationFollowsTheLeader(t *testing.T) {
	r := newRegistration(injectName, "certs")
	if err := r.Reconcile(t.Context(), injectName); !controller.IsSkipKey(err) {
		t.Errorf("Reconcile() = %v, want a replica that does not lead to skip", err)
	}
}

func TestReadiness(t *testing.T) {
	var r Readiness
	if r.Check() == nil {
		t.Error("ready without requirements")
	}
	met := false
	r.require("caches", func() bool { return met })
	if err := r.Check(); err == nil || err.Error() != "waiting for caches" {
		t.Errorf("Check() = %v", err)
	}
	met = true
	if err := r.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
}

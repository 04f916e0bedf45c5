// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"
	certresources "knative.dev/pkg/webhook/certificates/resources"

	"pullsecrets.dev/pkg/config"
)

// registration keeps the two things in a MutatingWebhookConfiguration that a
// manifest cannot hold: the authority that signed our certificate, and the names
// of the excluded namespaces, which the API server then does not call us for.
// Everything else is as the manifest says; others who edit the object, as some
// platforms do, are not fought with.
type registration struct {
	reconciler.LeaderAwareFuncs

	key        types.NamespacedName
	secretName string

	kube       kubernetes.Interface
	webhooks   admissionlisters.MutatingWebhookConfigurationLister
	secrets    corev1listers.SecretLister
	namespaces corev1listers.NamespaceLister
	config     *config.Store
}

var (
	_ controller.Reconciler  = (*registration)(nil)
	_ reconciler.LeaderAware = (*registration)(nil)
)

func newRegistration(name, secretName string) *registration {
	key := types.NamespacedName{Name: name}
	return &registration{
		LeaderAwareFuncs: reconciler.LeaderAwareFuncs{
			PromoteFunc: func(bucket reconciler.Bucket, enqueue func(reconciler.Bucket, types.NamespacedName)) error {
				enqueue(bucket, key)
				return nil
			},
		},
		key:        key,
		secretName: secretName,
	}
}

// Reconcile implements controller.Reconciler.
func (r *registration) Reconcile(ctx context.Context, key string) error {
	if !r.IsLeaderFor(r.key) {
		return controller.NewSkipKey(key)
	}
	secret, err := r.secrets.Secrets(system.Namespace()).Get(r.secretName)
	if err != nil {
		return fmt.Errorf("failed to get the certificate: %w", err)
	}
	authority, ok := secret.Data[certresources.CACert]
	if !ok {
		return fmt.Errorf("Secret %s has no %s yet", r.secretName, certresources.CACert)
	}
	excluded, err := r.excluded()
	if err != nil {
		return err
	}
	have, err := r.webhooks.Get(r.key.Name)
	if err != nil {
		return fmt.Errorf("failed to get the MutatingWebhookConfiguration %s: %w", r.key.Name, err)
	}
	want := have.DeepCopy()
	for i := range want.Webhooks {
		wh := &want.Webhooks[i]
		wh.ClientConfig.CABundle = authority
		wh.NamespaceSelector = withoutNamespaces(wh.NamespaceSelector, excluded)
	}
	if equality.Semantic.DeepEqual(have, want) {
		return nil
	}
	logging.FromContext(ctx).Infow("Updating the webhook configuration", "excluded", excluded)
	if _, err := r.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(ctx, want, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("failed to update the MutatingWebhookConfiguration %s: %w", r.key.Name, err)
	}
	return nil
}

// excluded lists the existing namespaces that the configuration or the
// installation takes out. The label is in the manifest.
func (r *registration) excluded() ([]string, error) {
	all, err := r.namespaces.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("failed to list Namespaces: %w", err)
	}
	cfg := r.config.Load()
	var names []string
	for _, namespace := range all {
		if cfg.Excludes(namespace.Name, nil) {
			names = append(names, namespace.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// withoutNamespaces replaces the expression by namespace name in a selector.
func withoutNamespaces(selector *metav1.LabelSelector, names []string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	if selector != nil {
		s = selector.DeepCopy()
	}
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == corev1.LabelMetadataName && r.Operator == metav1.LabelSelectorOpNotIn
	})
	if len(names) > 0 {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: names,
		})
	}
	return s
}

// owns tells whether a webhook configuration is the one of this registration.
func (r *registration) owns(object any) bool {
	wh, ok := object.(*admissionregistrationv1.MutatingWebhookConfiguration)
	return ok && wh.Name == r.key.Name
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"
)

// registration manages the one field of a webhook configuration that a manifest cannot
// contain: the bundle of the authorities that sign our certificates. It patches only that
// field. All other fields belong to the manifest and to operators, including fields of
// newer API versions, so applying the manifest shows no drift.
type registration struct {
	reconciler.LeaderAwareFuncs

	key        types.NamespacedName
	secretName string

	secrets        corev1listers.SecretLister
	configurations configurations
}

var (
	_ controller.Reconciler  = (*registration)(nil)
	_ reconciler.LeaderAware = (*registration)(nil)
)

func newRegistration(name, secretName string) *registration {
	key := types.NamespacedName{Name: name}
	return &registration{LeaderAwareFuncs: promoted(key), key: key, secretName: secretName}
}

// promoted enqueues the only key of a controller when this replica becomes the leader for
// it.
func promoted(key types.NamespacedName) reconciler.LeaderAwareFuncs {
	return reconciler.LeaderAwareFuncs{
		PromoteFunc: func(bucket reconciler.Bucket, enqueue func(reconciler.Bucket, types.NamespacedName)) error {
			enqueue(bucket, key)
			return nil
		},
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
	want := bundle(secret.Data)
	if len(want) == 0 {
		// The certificate controller fills the Secret, which causes an event.
		return nil
	}
	have, err := r.configurations.get(r.key.Name)
	if err != nil {
		return fmt.Errorf("failed to get the webhook configuration %s: %w", r.key.Name, err)
	}
	patch, err := have.withBundle(want)
	if err != nil || patch == nil {
		return err
	}
	logging.FromContext(ctx).Info("Patching the bundle of authorities in the webhook configuration")
	if err := r.configurations.patch(ctx, r.key.Name, patch); err != nil {
		return fmt.Errorf("failed to patch the webhook configuration %s: %w", r.key.Name, err)
	}
	return nil
}

// configuration is the relevant part of a webhook configuration of either kind.
type configuration struct {
	resourceVersion string
	webhooks        []registered
}

// registered is one webhook of a configuration.
type registered struct {
	name   string
	bundle []byte
}

// trusts reports whether every webhook of the configuration trusts an authority.
func (c *configuration) trusts(authority []byte) bool {
	for _, wh := range c.webhooks {
		if !bytes.Contains(wh.bundle, bytes.TrimSpace(authority)) {
			return false
		}
	}
	return true
}

// withBundle returns the strategic merge patch that sets the bundle, or nil if it is set.
// The API server merges webhooks by name. The resourceVersion prevents the patch from
// adding a webhook that was removed meanwhile.
func (c *configuration) withBundle(want []byte) ([]byte, error) {
	var changed []map[string]any
	for _, wh := range c.webhooks {
		if !bytes.Equal(wh.bundle, want) {
			changed = append(changed, map[string]any{"name": wh.name, "clientConfig": map[string]any{"caBundle": want}})
		}
	}
	if len(changed) == 0 {
		return nil, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": c.resourceVersion},
		"webhooks": changed,
	})
	if err != nil {
		return nil, fmt.Errorf("failed to encode the patch: %w", err)
	}
	return patch, nil
}

// configurations are the webhook configurations of one kind.
type configurations interface {
	get(name string) (*configuration, error)
	patch(ctx context.Context, name string, patch []byte) error
}

type mutating struct {
	kube   kubernetes.Interface
	lister admissionlisters.MutatingWebhookConfigurationLister
}

func (m mutating) get(name string) (*configuration, error) {
	object, err := m.lister.Get(name)
	if err != nil {
		return nil, err
	}
	c := &configuration{resourceVersion: object.ResourceVersion}
	for _, wh := range object.Webhooks {
		c.webhooks = append(c.webhooks, registered{wh.Name, wh.ClientConfig.CABundle})
	}
	return c, nil
}

func (m mutating) patch(ctx context.Context, name string, patch []byte) error {
	_, err := m.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().
		Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

type validating struct {
	kube   kubernetes.Interface
	lister admissionlisters.ValidatingWebhookConfigurationLister
}

func (v validating) get(name string) (*configuration, error) {
	object, err := v.lister.Get(name)
	if err != nil {
		return nil, err
	}
	c := &configuration{resourceVersion: object.ResourceVersion}
	for _, wh := range object.Webhooks {
		c.webhooks = append(c.webhooks, registered{wh.Name, wh.ClientConfig.CABundle})
	}
	return c, nil
}

func (v validating) patch(ctx context.Context, name string, patch []byte) error {
	_, err := v.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().
		Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

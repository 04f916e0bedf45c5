// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/fleet"
)

// The resources of the writes that are counted.
const (
	secretsResource  = "secrets"
	accountsResource = "serviceaccounts"
)

// bareWrites sends n requests with the controller's concurrency.
func (d *distributor) bareWrites(ctx context.Context, n int, write func(ctx context.Context, i int) error) (time.Duration, error) {
	start := time.Now()
	err := fleet.Each(ctx, n, d.concurrency, write)
	return time.Since(start), err
}

func (d *distributor) distribute(ctx context.Context, round int) (time.Duration, error) {
	name := d.name(round)
	if err := d.createSource(ctx, name); err != nil {
		return 0, err
	}
	return d.byController(ctx, "create", secretsResource, d.namespaces, func() error {
		_, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, newGrant(name), metav1.CreateOptions{})
		return err
	})
}

// createSource creates the source of a ClusterPullSecret.
func (d *distributor) createSource(ctx context.Context, name string) error {
	_, err := d.admin.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("one"),
	}, metav1.CreateOptions{})
	return err
}

// bareSecret returns a Secret like a copy.
func bareSecret(password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        bareName,
			Labels:      map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: bareName},
			Annotations: map[string]string{pullsecrets.SourceResourceVersionAnnotation: "12345"},
		},
		Type: corev1.SecretTypeDockerConfigJson, Data: credential(password),
	}
}

func (d *distributor) bareDistribute(ctx context.Context, _ int) (time.Duration, error) {
	return d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
		_, err := d.bare.CoreV1().Secrets(namespaceName(i)).Create(ctx, bareSecret("one"), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
}

func (d *distributor) rotate(ctx context.Context, round int) (time.Duration, error) {
	return d.byController(ctx, "update", secretsResource, d.namespaces, func() error {
		_, err := d.admin.CoreV1().Secrets(pullsecrets.SourcesNamespace).Update(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: d.name(round)}, Type: corev1.SecretTypeDockerConfigJson, Data: credential("two"),
		}, metav1.UpdateOptions{})
		return err
	})
}

func (d *distributor) bareRotate(ctx context.Context, _ int) (time.Duration, error) {
	all, err := d.bareSecrets(ctx)
	if err != nil {
		return 0, err
	}
	return d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
		updated := bareSecret("two")
		updated.ResourceVersion, updated.UID = all[namespaceName(i)].ResourceVersion, all[namespaceName(i)].UID
		_, err := d.bare.CoreV1().Secrets(namespaceName(i)).Update(ctx, updated, metav1.UpdateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
}

func (d *distributor) bareSecrets(ctx context.Context) (map[string]*corev1.Secret, error) {
	list, err := d.admin.CoreV1().Secrets("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + bareName})
	if err != nil {
		return nil, err
	}
	all := make(map[string]*corev1.Secret, len(list.Items))
	for i := range list.Items {
		all[list.Items[i].Namespace] = &list.Items[i]
	}
	return all, nil
}

func (d *distributor) revoke(ctx context.Context, round int) (time.Duration, error) {
	client := d.cps.PullsecretsV1alpha1().ClusterPullSecrets()
	took, err := d.byController(ctx, "delete", secretsResource, d.namespaces+d.extra, func() error { return client.Delete(ctx, d.name(round), metav1.DeleteOptions{}) })
	if err != nil {
		return 0, err
	}
	return took, d.gone(ctx, d.name(round))
}

func (d *distributor) bareRevoke(ctx context.Context, _ int) (time.Duration, error) {
	all, err := d.bareSecrets(ctx)
	if err != nil {
		return 0, err
	}
	secrets := slices.Collect(maps.Values(all))
	return d.bareWrites(ctx, len(secrets), func(ctx context.Context, i int) error {
		secret := secrets[i]
		return d.bare.CoreV1().Secrets(secret.Namespace).Delete(ctx, bareName, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
		})
	})
}

// bind binds the default ServiceAccount of each Namespace. It ends the binding again, which
// is not measured.
func (d *distributor) bind(ctx context.Context, round int) (time.Duration, error) {
	declare := func(accounts string) func() error {
		return func() error {
			patch := fmt.Sprintf(`{"spec":{"always":{"serviceAccounts":%s}}}`, accounts)
			_, err := d.cps.PullsecretsV1alpha1().ClusterPullSecrets().Patch(ctx, d.name(round), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	took, err := d.byController(ctx, "patch", accountsResource, d.namespaces, declare(`["default"]`))
	if err != nil {
		return 0, err
	}
	_, err = d.byController(ctx, "patch", accountsResource, d.namespaces, declare(`null`))
	return took, err
}

// bareBind writes the patches of bind.
func (d *distributor) bareBind(ctx context.Context, _ int) (time.Duration, error) {
	patches := func(list string, ledger any) (time.Duration, error) {
		all, err := d.admin.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
		if err != nil {
			return 0, err
		}
		versions := make(map[string]string, len(all.Items))
		for _, account := range all.Items {
			versions[account.Namespace] = account.ResourceVersion
		}
		return d.bareWrites(ctx, d.namespaces, func(ctx context.Context, i int) error {
			patch, err := json.Marshal(map[string]any{
				"imagePullSecrets": json.RawMessage(list),
				"metadata": map[string]any{
					"annotations": map[string]any{pullsecrets.AddedAnnotation: ledger}, "resourceVersion": versions[namespaceName(i)],
				},
			})
			if err != nil {
				return err
			}
			_, err = d.bare.CoreV1().ServiceAccounts(namespaceName(i)).Patch(ctx, "default", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
			return err
		})
	}
	took, err := patches(`[{"name":"bare"}]`, `{"bare":"clusterpullsecret/bare"}`)
	if err != nil {
		return 0, err
	}
	_, err = patches(`null`, nil)
	return took, err
}

// newNamespaces creates Namespaces and waits until the controller has written the last
// copy. The bare client creates the same number and writes each Secret itself.
func (d *distributor) newNamespaces(n int) func(context.Context, int) (time.Duration, error) {
	return func(ctx context.Context, round int) (time.Duration, error) {
		took, err := d.byController(ctx, "create", secretsResource, n, func() error {
			return fleet.Each(ctx, n, d.concurrency, func(ctx context.Context, i int) error {
				return d.makeGranted(ctx, fmt.Sprintf("%s-new-%d", d.name(round), i))
			})
		})
		d.extra += n
		return took, err
	}
}

func (d *distributor) bareNewNamespaces(n int) func(context.Context, int) (time.Duration, error) {
	return func(ctx context.Context, round int) (time.Duration, error) {
		return d.bareWrites(ctx, n, func(ctx context.Context, _ int) error {
			namespace, err := d.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{GenerateName: d.name(round) + "-bare-", Labels: map[string]string{"bench.test/bare": "true"}},
			}, metav1.CreateOptions{})
			if err == nil {
				_, err = d.bare.CoreV1().Secrets(namespace.Name).Create(ctx, bareSecret("two"), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
			}
			return err
		})
	}
}

// clear deletes the new Namespaces of a round, so that all rounds have the same number.
func (d *distributor) clear(ctx context.Context) error {
	list, err := d.admin.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: grantedLabel})
	if err != nil {
		return err
	}
	none, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{grantedLabel: nil}}})
	if err != nil {
		return err
	}
	for _, namespace := range list.Items {
		if strings.HasPrefix(namespace.Name, namespacePrefix) {
			continue
		}
		if _, err := d.admin.CoreV1().Namespaces().Patch(ctx, namespace.Name, types.MergePatchType, none, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	d.extra = 0
	return nil
}

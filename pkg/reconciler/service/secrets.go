// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
)

// secretTypes tells the type of a Secret, and whether it exists. It is all that
// the reconciler ever learns of a Secret.
type secretTypes interface {
	TypeOf(ctx context.Context, namespace, name string) (secretType corev1.SecretType, exists bool, err error)
}

// secretTable asks the API server for a Secret as a table, as kubectl get does:
// a row holds the name and the type and none of the data, so that no credential
// ever reaches this process.
//
// An opt-in makes hundreds of Services ask for the same few Secrets at once, so
// one that can be used for pulling is not asked for again for a moment. What is
// wrong with a Secret is never told from memory.
type secretTable struct {
	client rest.Interface
	usable *cache.LRUExpireCache
}

const (
	usableFor   = 10 * time.Second
	usableCount = 4096
)

func newSecretTable(client rest.Interface) secretTable {
	return secretTable{client, cache.NewLRUExpireCache(usableCount)}
}

// usable tells whether a Secret of the type can be used for pulling.
func usable(secretType corev1.SecretType) bool {
	return secretType == corev1.SecretTypeDockerConfigJson || secretType == corev1.SecretTypeDockercfg
}

const tableOfOne = "application/json;as=Table;v=v1;g=meta.k8s.io"

// TypeOf implements secretTypes.
func (t secretTable) TypeOf(ctx context.Context, namespace, name string) (corev1.SecretType, bool, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if known, ok := t.usable.Get(key); ok {
		return known.(corev1.SecretType), true, nil
	}
	secretType, exists, err := t.read(ctx, namespace, name)
	if err == nil && exists && usable(secretType) {
		t.usable.Add(key, secretType, usableFor)
	}
	return secretType, exists, err
}

// forget makes the next question about a Secret go to the API server.
func (t secretTable) forget(namespace, name string) {
	t.usable.Remove(types.NamespacedName{Namespace: namespace, Name: name})
}

func (t secretTable) read(ctx context.Context, namespace, name string) (corev1.SecretType, bool, error) {
	raw, err := t.client.Get().Namespace(namespace).Resource("secrets").Name(name).
		SetHeader("Accept", tableOfOne).Param("includeObject", string(metav1.IncludeNone)).
		Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		return "", false, fmt.Errorf("Secret %s/%s: the API server's table does not parse: %w", namespace, name, err)
	}
	for i, column := range table.ColumnDefinitions {
		if column.Name != "Type" || len(table.Rows) != 1 || len(table.Rows[0].Cells) <= i {
			continue
		}
		if text, ok := table.Rows[0].Cells[i].(string); ok {
			return corev1.SecretType(text), true, nil
		}
	}
	return "", false, fmt.Errorf("Secret %s/%s: the API server's table has no Type", namespace, name)
}

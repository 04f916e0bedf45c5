// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// list is the path of a Service's pull secrets, as in ignoreDifferences.
var list = []string{"spec", "template", "spec", "imagePullSecrets"}

// ignored implements ignoreDifferences with jsonPointers or jqPathExpressions.
type ignored struct{}

// Normalize removes the pull secrets.
func (ignored) Normalize(object *unstructured.Unstructured) error {
	unstructured.RemoveNestedField(object.Object, list...)
	return nil
}

// keepIgnored implements RespectIgnoreDifferences=true: the synced object keeps the pull
// secrets of the live one.
func keepIgnored(live, target *unstructured.Unstructured) *unstructured.Unstructured {
	target = target.DeepCopy()
	unstructured.RemoveNestedField(target.Object, list...)
	if value, found, err := unstructured.NestedFieldCopy(live.Object, list...); found && err == nil {
		if err := unstructured.SetNestedField(target.Object, value, list...); err != nil {
			return target
		}
	}
	return target
}

// dropTrusted implements managedFieldsManagers: as in Argo CD, only a field that both
// sides have with different values is ignored, and not one that only the live object has.
func dropTrusted(live, target *unstructured.Unstructured, managers []string, parser *managedfields.GvkParser) (theirs, ours *unstructured.Unstructured, err error) {
	if len(managers) == 0 {
		return live, target, nil
	}
	kind := parser.Type(target.GroupVersionKind())
	typedLive, err := kind.FromUnstructured(live.Object)
	if err != nil {
		return nil, nil, err
	}
	typedTarget, err := kind.FromUnstructured(target.Object)
	if err != nil {
		return nil, nil, err
	}
	compared, err := typedLive.Compare(typedTarget)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range live.GetManagedFields() {
		if !slices.Contains(managers, entry.Manager) {
			continue
		}
		var owned fieldpath.Set
		if err := owned.FromJSON(bytes.NewReader(entry.FieldsV1.Raw)); err != nil {
			return nil, nil, err
		}
		both := owned.Intersection(compared.Modified)
		typedLive, typedTarget = typedLive.RemoveItems(both), typedTarget.RemoveItems(both)
	}
	theirs = &unstructured.Unstructured{Object: typedLive.AsValue().Unstructured().(map[string]any)}
	ours = &unstructured.Unstructured{Object: typedTarget.AsValue().Unstructured().(map[string]any)}
	return theirs, ours, nil
}

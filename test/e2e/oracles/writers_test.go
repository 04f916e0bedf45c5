// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"
)

var (
	services        = schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// write sends an object in the manner of one kind of writer. It returns the API server's
// result, or nil if the writer had nothing to send.
type write func(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error)

// byWriter are the ways to send a whole object.
var byWriter = map[string]write{"csa": clientSideApply, "ssa": serverSideApply, "put": replace, "patch": mergeWhole}

// clientSideApply is "kubectl apply": a three-way merge of the last applied, the current
// and the live object. The patch is that of custom resources; for ServiceAccounts and
// Secrets it is equal, since none of their lists here merge.
func clientSideApply(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	const manager = "kubectl-client-side-apply"
	modified := object.DeepCopy()
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	annotations := modified.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[corev1.LastAppliedConfigAnnotation] = string(text)
	modified.SetAnnotations(annotations)
	var result *unstructured.Unstructured
	return result, retry.OnError(retry.DefaultBackoff, apierrors.IsAlreadyExists, func() error {
		live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			result, err = client.Create(ctx, modified, metav1.CreateOptions{FieldManager: manager, DryRun: dryRun})
			return err
		}
		if err != nil {
			return err
		}
		want, _ := json.Marshal(modified)
		current, _ := json.Marshal(live)
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(live.GetAnnotations()[corev1.LastAppliedConfigAnnotation]), want, current)
		if err != nil {
			return err
		}
		if string(patch) == "{}" {
			result = live
			return nil
		}
		result, err = client.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager, DryRun: dryRun})
		return err
	})
}

// applyManager is the field manager of serverSideApply.
const applyManager = "argocd-controller"

// serverSideApply is "kubectl apply --server-side --force-conflicts".
func serverSideApply(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	return client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: applyManager, Force: true, DryRun: dryRun})
}

// replace is "kubectl replace", or a create if the object does not exist.
func replace(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	var result *unstructured.Unstructured
	return result, onConflict(func() error {
		live, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			result, err = client.Create(ctx, object, metav1.CreateOptions{FieldManager: "kubectl-create", DryRun: dryRun})
			return err
		}
		if err != nil {
			return err
		}
		// Knative rejects changes of the creator and the last modifier.
		next := object.DeepCopy()
		keep(live, next, "serving.knative.dev/creator", "serving.knative.dev/lastModifier")
		next.SetResourceVersion(live.GetResourceVersion())
		result, err = client.Update(ctx, next, metav1.UpdateOptions{FieldManager: "kubectl-replace", DryRun: dryRun})
		return err
	})
}

// keep copies annotations from the live object.
func keep(live, next *unstructured.Unstructured, keys ...string) {
	annotations := next.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for _, key := range keys {
		if value, found := live.GetAnnotations()[key]; found {
			annotations[key] = value
		}
	}
	next.SetAnnotations(annotations)
}

// mergeWhole is a JSON merge patch with all fields that the writer knows.
func mergeWhole(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	patch, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	result, err := client.Patch(ctx, object.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-patch", DryRun: dryRun})
	if apierrors.IsNotFound(err) {
		return client.Create(ctx, object, metav1.CreateOptions{FieldManager: "kubectl-create", DryRun: dryRun})
	}
	return result, err
}

// onConflict retries a read-modify-write on conflicts: Knative's controller keeps
// updating the status of a new Service.
func onConflict(change func() error) error {
	return retry.RetryOnConflict(wait.Backoff{Steps: 40, Duration: 10 * time.Millisecond, Factor: 1.2, Jitter: 0.2, Cap: time.Second}, change)
}

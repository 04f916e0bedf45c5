// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/e2e/model"
)

// play performs an operation in the world and on the cluster. Operations that make no
// sense are skipped. No request may be rejected.
func (s *stage) play(ctx context.Context, op model.Op) error {
	if !s.world.Apply(op) {
		return nil
	}
	s.done = append(s.done, op)
	if err := s.send(ctx, op); err != nil {
		return fmt.Errorf("%q was rejected: %w", op, err)
	}
	return nil
}

func (s *stage) send(ctx context.Context, op model.Op) error {
	a := op.Args
	switch op.Verb {
	case "ns":
		value := a[2]
		if a[1] == "secrets" {
			value = strings.Join(s.names(strings.Split(value, ",")), ",")
		}
		return s.patchNamespace(ctx, a[0], map[string]any{"annotations": map[string]any{pullsecrets.GroupName + "/" + a[1]: orNil(value)}})
	case "grant":
		return s.patchNamespace(ctx, a[0], map[string]any{"labels": map[string]any{s.label(a[1]): a[2]}})
	case "exclude":
		return s.patchNamespace(ctx, a[0], map[string]any{"labels": map[string]any{pullsecrets.ExcludeLabel: orNil(a[1])}})
	case "cps":
		return s.credential(ctx, a[0], a[1])
	case "source":
		if a[1] == "delete" {
			return ignoreNotFound(s.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(ctx, s.name(a[0]), metav1.DeleteOptions{}))
		}
		return s.keepSource(ctx, a[0], s.world.Credentials[a[0]].Source)
	case "copy":
		return s.spoil(ctx, a[0], a[1], a[2])
	case "secret":
		return s.keepSecret(ctx, a[0], a[1], a[2])
	case "account":
		return s.account(ctx, a[0], a[1], s.world.Namespaces[a[0]].ServiceAccounts[a[1]].Own)
	case "settle":
		return s.settle(ctx)
	case "process":
		return nil // playBatch does it.
	}
	return s.sendService(ctx, op)
}

func (s *stage) sendService(ctx context.Context, op model.Op) error {
	a := op.Args
	client := s.Dynamic.Resource(services).Namespace(s.ns(a[0]))
	patch := func(change map[string]any) error {
		_, err := client.Patch(ctx, a[1], types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: editor})
		return err
	}
	switch op.Verb {
	case "delete":
		return client.Delete(ctx, a[1], metav1.DeleteOptions{})
	case "touch":
		return patch(map[string]any{"metadata": map[string]any{"labels": map[string]any{"touched": fmt.Sprint(len(s.done))}}})
	case "null":
		return patch(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"imagePullSecrets": nil}}}})
	case "svc":
		value := a[3]
		if a[2] == "secrets" {
			value = strings.Join(s.names(strings.Split(value, ",")), ",")
		}
		return patch(map[string]any{"metadata": map[string]any{"annotations": map[string]any{pullsecrets.GroupName + "/" + a[2]: orNil(value)}}})
	case "strip":
		return onConflict(func() error {
			live, err := client.Get(ctx, a[1], metav1.GetOptions{})
			if err != nil {
				return err
			}
			annotations := live.GetAnnotations()
			delete(annotations, pullsecrets.AddedAnnotation)
			live.SetAnnotations(annotations)
			_, err = client.Update(ctx, live, metav1.UpdateOptions{FieldManager: editor})
			return err
		})
	case "reapply":
		return s.reapply(ctx, a[0], a[1])
	}
	_, err := byWriter[s.world.Namespaces[a[0]].Services[a[1]].Writer](ctx, client, s.manifest(a[0], a[1]), nil)
	return err
}

// reapply sends the user's manifest of the Service as another user.
func (s *stage) reapply(ctx context.Context, ns, name string) error {
	client := s.bob.Dynamic.Resource(services).Namespace(s.ns(ns))
	manifest := s.manifest(ns, name)
	writer := s.world.Namespaces[ns].Services[name].Writer
	if writer == "put" {
		// A replace must include Knative's defaults, or their absence creates a Revision,
		// with and without us.
		return onConflict(func() error {
			live, err := client.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			return s.replaceList(ctx, live, manifest)
		})
	}
	_, err := byWriter[writer](ctx, client, manifest, nil)
	return err
}

// replaceList is a replace by the output of "kubectl get" from before anything was added.
func (s *stage) replaceList(ctx context.Context, live, manifest *unstructured.Unstructured) error {
	annotations := live.GetAnnotations()
	delete(annotations, pullsecrets.AddedAnnotation)
	live.SetAnnotations(annotations)
	list, found, _ := unstructured.NestedSlice(manifest.Object, "spec", "template", "spec", "imagePullSecrets")
	unstructured.RemoveNestedField(live.Object, "spec", "template", "spec", "imagePullSecrets")
	if found {
		if err := unstructured.SetNestedSlice(live.Object, list, "spec", "template", "spec", "imagePullSecrets"); err != nil {
			return err
		}
	}
	_, err := s.bob.Dynamic.Resource(services).Namespace(live.GetNamespace()).Update(ctx, live, metav1.UpdateOptions{FieldManager: "kubectl-replace"})
	return err
}

func (s *stage) patchNamespace(ctx context.Context, ns string, metadata map[string]any) error {
	_, err := s.Kube.CoreV1().Namespaces().Patch(ctx, s.ns(ns), types.MergePatchType, encode(map[string]any{"metadata": metadata}), metav1.PatchOptions{FieldManager: editor})
	return err
}

// spoil deletes a copy or changes its data, if it exists.
func (s *stage) spoil(ctx context.Context, ns, credential, how string) error {
	client := s.Kube.CoreV1().Secrets(s.ns(ns))
	if how == "delete" {
		return ignoreNotFound(client.Delete(ctx, s.name(credential), metav1.DeleteOptions{}))
	}
	change := map[string]any{"data": map[string]any{corev1.DockerConfigJsonKey: dockerConfig(host, model.Tampered)}}
	_, err := client.Patch(ctx, s.name(credential), types.MergePatchType, encode(change), metav1.PatchOptions{FieldManager: editor})
	return ignoreNotFound(err)
}

// keepSecret writes the user's own Secret of a credential's name, in the manner of a
// tool.
func (s *stage) keepSecret(ctx context.Context, ns, credential, tool string) error {
	client := s.Dynamic.Resource(secrets).Namespace(s.ns(ns))
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": string(corev1.SecretTypeDockerConfigJson),
		"metadata": map[string]any{"name": s.name(credential), "namespace": s.ns(ns)},
		"data":     map[string]any{corev1.DockerConfigJsonKey: base64Of(dockerConfig("registry.team.example.com", "of-the-user"))},
	}}
	switch tool {
	case "delete":
		return client.Delete(ctx, s.name(credential), metav1.DeleteOptions{})
	case "create":
		_, err := client.Create(ctx, object, metav1.CreateOptions{FieldManager: "kubectl-create"})
		return err
	case "helm":
		object.SetLabels(map[string]string{pullsecrets.ManagedByLabel: "Helm"})
		object.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "app", "meta.helm.sh/release-namespace": s.ns(ns)})
		_, err := mergeWhole(ctx, client, object, nil)
		return err
	}
	// The controller may remove its copy between the tool's read and write, as any writer
	// may. Then people apply once more.
	return retry.OnError(retry.DefaultRetry, apierrors.IsNotFound, func() error {
		_, err := byWriter[tool](ctx, client, object, nil)
		return err
	})
}

// account writes a ServiceAccount's own list: builder by client-side apply, runner by
// server-side apply, default by a read, a change and a write.
func (s *stage) account(ctx context.Context, ns, name string, own []string) error {
	client := s.Dynamic.Resource(serviceAccounts).Namespace(s.ns(ns))
	if name == "default" {
		return s.editAccount(ctx, ns, own)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount",
		"metadata": map[string]any{"name": name, "namespace": s.ns(ns)},
	}}
	lost, err := s.ownershipLost(ctx, client, name)
	if err != nil {
		return err
	}
	if len(own) > 0 || lost {
		object.Object["imagePullSecrets"] = refs(s.names(own))
	}
	_, err = byWriter[map[string]string{"builder": "csa", "runner": "ssa"}[name]](ctx, client, object, nil)
	return err
}

// ownershipLost reports whether runner's list is not owned by an apply. Then server-side
// apply keeps a list that the manifest leaves out, so the user applies an empty one.
func (s *stage) ownershipLost(ctx context.Context, client dynamic.ResourceInterface, name string) (bool, error) {
	live, err := client.Get(ctx, name, metav1.GetOptions{})
	if name != "runner" || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == applyManager && e.Operation == metav1.ManagedFieldsOperationApply && strings.Contains(string(e.FieldsV1.Raw), `"f:imagePullSecrets"`)
	}), nil
}

func (s *stage) editAccount(ctx context.Context, ns string, own []string) error {
	client := s.Kube.CoreV1().ServiceAccounts(s.ns(ns))
	return onConflict(func() error {
		account, err := client.Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var list []corev1.LocalObjectReference
		for _, name := range own {
			list = append(list, corev1.LocalObjectReference{Name: name})
		}
		for _, ref := range account.ImagePullSecrets {
			if !strings.HasPrefix(ref.Name, "own-") && !slices.Contains(list, ref) {
				list = append(list, ref)
			}
		}
		account.ImagePullSecrets = list
		_, err = client.Update(ctx, account, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
		return err
	})
}

func orNil(value string) any {
	if value == "-" {
		return nil
	}
	return value
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

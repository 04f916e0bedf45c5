// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldManager is the field manager of the objects applied here.
const fieldManager = "cluster-installer"

// readManifests reads all objects of the YAML files in order; a directory stands for its
// files, without subdirectories.
func readManifests(paths ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			more, err := readManifest(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			objects = append(objects, more...)
		}
	}
	return objects, nil
}

func readManifest(file string) ([]*unstructured.Unstructured, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bufio.NewReader(f), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 { // Skip documents with only comments.
			objects = append(objects, object)
		}
	}
}

// installer applies and deletes objects of any kind.
type installer struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newInstaller(config *rest.Config) (*installer, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 200, 400
	// Warnings about Knative's own manifests are of no use here.
	config.WarningHandler = rest.NoWarnings{}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &installer{
		dynamic: dynamicClient,
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery())),
	}, nil
}

// apply applies the objects. Namespaces and CRDs come before objects that need them, and
// webhook configurations, which affect all others, come last; otherwise the order is
// kept.
func (i *installer) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	rank := func(o *unstructured.Unstructured) int {
		switch {
		case o.GetKind() == "Namespace":
			return 0
		case o.GetKind() == "CustomResourceDefinition":
			return 1
		case isWebhookConfiguration(o):
			return 3
		}
		return 2
	}
	ordered := slices.Clone(objects)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })

	for _, object := range ordered {
		err := i.each(object, func(client dynamic.ResourceInterface) error {
			_, err := client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
			return err
		})
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return i.waitEstablished(ctx, objects)
}

// validate applies an object in a dry run.
func (i *installer) validate(ctx context.Context, object *unstructured.Unstructured) error {
	err := i.each(object, func(client dynamic.ResourceInterface) error {
		_, err := client.Apply(ctx, object.GetName(), object,
			metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
		return err
	})
	if err != nil {
		return fmt.Errorf("apply %s %s in a dry run: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// each calls f with the client for the object's resource.
func (i *installer) each(object *unstructured.Unstructured, f func(dynamic.ResourceInterface) error) error {
	gvk := object.GroupVersionKind()
	mapping, err := i.mapping(gvk)
	if err != nil {
		return err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return f(i.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()))
	}
	return f(i.dynamic.Resource(mapping.Resource))
}

// mapping returns the resource of a kind. Discovery can temporarily lose a kind while the
// API server adds others to the same group.
func (i *installer) mapping(gvk schema.GroupVersionKind) (mapping *meta.RESTMapping, err error) {
	for range 40 {
		if mapping, err = i.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); !meta.IsNoMatchError(err) {
			return mapping, err
		}
		time.Sleep(250 * time.Millisecond)
		i.mapper.Reset()
	}
	return mapping, err
}

// waitEstablished waits until the API server serves the kinds that the objects define.
func (i *installer) waitEstablished(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		established := func(o *unstructured.Unstructured) bool { return conditionIs(o, "Established", "True") }
		if err := i.waitFor(ctx, object, "is established", established); err != nil {
			return err
		}
		if err := i.waitServed(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// waitServed waits until discovery has the kind of a CRD, which may be later than its
// condition Established.
func (i *installer) waitServed(ctx context.Context, crd *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	name, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	kind := schema.GroupKind{Group: group, Kind: name}
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, err := i.mapper.RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			i.mapper.Reset()
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("wait until %s is served: %w", kind, err)
	}
	return nil
}

// waitFor waits until the live object satisfies the condition.
func (i *installer) waitFor(ctx context.Context, object *unstructured.Unstructured, what string, condition func(*unstructured.Unstructured) bool) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		satisfied := false
		err := i.each(object, func(client dynamic.ResourceInterface) error {
			current, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err == nil {
				satisfied = condition(current)
			}
			return err
		})
		return satisfied, err
	})
	if err != nil {
		return fmt.Errorf("wait until %s %s %s: %w", object.GetKind(), object.GetName(), what, err)
	}
	return nil
}

func conditionIs(object *unstructured.Unstructured, conditionType, status string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, ok := c.(map[string]any)
		return ok && condition["type"] == conditionType && condition["status"] == status
	})
}

// setConfigMapData sets keys of the ConfigMap of that name among the objects.
func setConfigMapData(objects []*unstructured.Unstructured, name string, data map[string]string) error {
	for _, object := range objects {
		if object.GetKind() != "ConfigMap" || object.GetName() != name {
			continue
		}
		for key, value := range data {
			if err := unstructured.SetNestedField(object.Object, value, "data", key); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("manifests have no ConfigMap %s (they have %s)", name, strings.Join(names(objects), ", "))
}

func names(objects []*unstructured.Unstructured) []string {
	var all []string
	for _, object := range objects {
		all = append(all, object.GetKind()+" "+object.GetName())
	}
	return all
}

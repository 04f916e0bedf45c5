// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"pullsecrets.dev/test/env"
)

// user is the field manager of the tests.
const user = "e2e"

// On a local cluster no image is ever pulled, so any image will do.
const (
	standInByTag    = "registry.example.com/app:1"
	standInByDigest = "registry.example.com/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// image returns the value of ${IMAGE_BY_TAG} or ${IMAGE_BY_DIGEST} in testdata. On a
// cluster with nodes it must name an image that Services can pull without a secret.
func image(t *testing.T, e *env.Env, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	byTag, byDigest := standInByTag, standInByDigest
	switch {
	case e.Kind == env.Local:
		// Not the registry's, so that the other tests do not wait for tag resolution.
	case e.Registries != nil:
		var err error
		if byTag, byDigest, err = e.Registries.Main.PublicImage(t.Context()); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("%s is not set: on a cluster of your own, set IMAGE_BY_TAG and IMAGE_BY_DIGEST to an image that Services can run there without a pull secret", variable)
	}
	switch variable {
	case "IMAGE_BY_TAG":
		return byTag
	case "IMAGE_BY_DIGEST":
		return byDigest
	}
	t.Fatalf("testdata contains the unknown variable ${%s}", variable)
	return ""
}

// manifests reads the objects of a file in testdata.
func manifests(t *testing.T, e *env.Env, file string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, file, os.Expand(string(content), func(variable string) string { return image(t, e, variable) }))
}

// parse reads the objects of a YAML text.
func parse(t *testing.T, file, text string) []*unstructured.Unstructured {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// mapping caches the kinds of the cluster.
var mapping struct {
	once   sync.Once
	mapper meta.RESTMapper
}

// resource returns the client for objects of the same kind, scope and namespace.
func resource(e *env.Env, object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	mapping.once.Do(func() {
		mapping.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(e.Kube.Discovery()))
	})
	kind := object.GroupVersionKind()
	found, err := mapping.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	client := e.Dynamic.Resource(found.Resource)
	if found.Scope.Name() == meta.RESTScopeNameRoot {
		return client, nil
	}
	return client.Namespace(object.GetNamespace()), nil
}

// apply is "kubectl apply --server-side".
func apply(ctx context.Context, e *env.Env, object *unstructured.Unstructured) error {
	client, err := resource(e, object)
	if err == nil {
		_, err = client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: user, Force: true})
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

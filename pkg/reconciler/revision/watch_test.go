// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// What is requested of all pull Secrets, and of one before a retry, is the metadata. The answer to
// another request would hold credentials.
func TestMetadataOfSecretsIsRequested(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accepted, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
		_, form, _ := strings.Cut(accepted, ";")
		got = append(got, strings.Join([]string{r.URL.Path, r.URL.Query().Get("fieldSelector"), form}, " "))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is found, so each call fails.
	var want []string
	for kind, secrets := range watchesBy(nil, meta).secrets {
		both := cache.ToListerWatcherWithContext(secrets)
		if _, err := both.ListWithContext(t.Context(), metav1.ListOptions{}); err == nil {
			t.Error("the list did not fail")
		}
		if _, err := both.WatchWithContext(t.Context(), metav1.ListOptions{}); err == nil {
			t.Error("the watch did not fail")
		}
		for _, form := range []string{"PartialObjectMetadataList", "PartialObjectMetadata"} {
			want = append(want, "/api/v1/secrets type="+string(kind)+" as="+form+";g=meta.k8s.io;v=v1")
		}
	}
	if _, err := metadataBy(kube)(t.Context(), types.NamespacedName{Namespace: ns, Name: "ghcr"}); err == nil {
		t.Error("the read did not fail")
	}
	want = append(want, "/api/v1/namespaces/"+ns+"/secrets/ghcr  as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want, +got):\n%s", diff)
	}
}

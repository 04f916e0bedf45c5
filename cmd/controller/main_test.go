// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/injection"
	_ "knative.dev/pkg/system/testing"

	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
)

func TestReconcilersOfProfiles(t *testing.T) {
	for profile, want := range map[config.Profile][]string{
		config.Full:       {"service", "namespace", "clusterpullsecret", "revision"},
		config.InjectOnly: {"service", "namespace"},
	} {
		var got []string
		for _, r := range reconcilers(profile, knative.NewSettings()) {
			got = append(got, r.name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", profile, diff)
		}
	}
}

// The informer of copies sends no request, although the reconcilers use it.
func TestWithoutSecrets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kube := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ghcr"}})
	factory := informers.NewSharedInformerFactory(kube, 0)
	withoutSecrets(context.WithValue(ctx, filteredfactory.Key{Selector: grant.Copies}, factory))
	secrets := factory.Core().V1().Secrets()
	go secrets.Informer().RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), secrets.Informer().HasSynced) {
		t.Fatal("it does not sync")
	}
	if _, err := secrets.Lister().Secrets("team").Get("ghcr"); err == nil {
		t.Error("it found the Secret")
	}
	if actions := kube.Actions(); len(actions) > 0 {
		t.Errorf("it sent %v", actions)
	}
}

// With the profile inject-only, the informers that the framework starts request neither
// Secrets nor ClusterPullSecrets, and those of these kinds are synced all the same.
func TestInjectOnlyRequestsNoSecrets(t *testing.T) {
	requested := make(chan string, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requested <- path.Base(r.URL.Path)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(filteredfactory.WithSelectors(t.Context(), grant.Copies))
	defer cancel()
	replaceInformers(config.InjectOnly)
	_, all := injection.Default.SetupInformers(ctx, &rest.Config{Host: server.URL})
	for _, informer := range all {
		go informer.Run(ctx.Done())
	}
	missing := sets.New("namespaces", "services", "serviceaccounts")
	for missing.Len() > 0 {
		switch resource := <-requested; resource {
		case "secrets", "clusterpullsecrets":
			t.Fatalf("%s were requested", resource)
		default:
			missing.Delete(resource)
		}
	}
	// The others cannot sync, because their requests are denied.
	err := wait.PollUntilContextTimeout(ctx, time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		synced := 0
		for _, informer := range all {
			if informer.HasSynced() {
				synced++
			}
		}
		return synced == 2, nil
	})
	if err != nil {
		t.Error("informers of Secrets and ClusterPullSecrets, and no others, should be synced: ", err)
	}
}

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
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/injection"
	_ "knative.dev/pkg/system/testing"

	"pullsecrets.dev/pkg/absent"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/webhook"
)

func TestAdmissionsOfProfiles(t *testing.T) {
	for profile, want := range map[config.Profile][]string{
		config.Full:       {"certificate", "services", "serviceaccounts", "configmaps", "defaulting", "validation"},
		config.InjectOnly: {"certificate", "services", "serviceaccounts", "configmaps"},
	} {
		var got []string
		for _, a := range admissions(profile, &webhook.Readiness{}) {
			got = append(got, a.name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", profile, diff)
		}
	}
}

// With the profile inject-only, the informers that the framework starts request no
// ClusterPullSecrets, whose informer is synced all the same, and of Secrets only the
// webhook's certificate.
func TestInjectOnlyRequestsNoClusterPullSecrets(t *testing.T) {
	requested := make(chan *http.Request, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requested <- r
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	webhook.WatchOnlySecret(certificate)
	absent.ClusterPullSecrets()
	_, all := injection.Default.SetupInformers(ctx, &rest.Config{Host: server.URL})
	for _, informer := range all {
		go informer.Run(ctx.Done())
	}
	missing := sets.New("namespaces", "serviceaccounts", "secrets", "mutatingwebhookconfigurations", "validatingwebhookconfigurations")
	for missing.Len() > 0 {
		r := <-requested
		resource := path.Base(r.URL.Path)
		if only := "metadata.name=" + certificate; resource == "clusterpullsecrets" || resource == "secrets" && r.URL.Query().Get("fieldSelector") != only {
			t.Fatalf("%s was requested", r.URL)
		}
		missing.Delete(resource)
	}
	// The others cannot sync, because their requests are denied.
	err := wait.PollUntilContextTimeout(ctx, time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		synced := 0
		for _, informer := range all {
			if informer.HasSynced() {
				synced++
			}
		}
		return synced == 1, nil
	})
	if err != nil {
		t.Error("the informer of ClusterPullSecrets, and no other, should be synced: ", err)
	}
}

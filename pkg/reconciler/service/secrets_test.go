// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestSecretTable(t *testing.T) {
	tests := []struct {
		reason string
		code   int
		body   string
		want   corev1.SecretType
		exists bool
		err    string
	}{
		{
			reason: "a Secret", code: http.StatusOK, want: corev1.SecretTypeDockerConfigJson, exists: true,
			body: `{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Name"},{"name":"Type"},{"name":"Data"}],"rows":[{"cells":["ghcr","kubernetes.io/dockerconfigjson",1]}]}`,
		},
		{reason: "none", code: http.StatusNotFound, body: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`},
		{reason: "no rights", code: http.StatusForbidden, body: `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no rights","reason":"Forbidden","code":403}`, err: "get secrets ghcr"},
		{reason: "another shape", code: http.StatusOK, body: `{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["ghcr"]}]}`, err: "the API server's table has no Type"},
		{reason: "no table", code: http.StatusOK, body: `[]`, err: "the API server's table does not parse"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got, want := r.URL.Path, "/api/v1/namespaces/team/secrets/ghcr"; got != want {
					t.Errorf("path = %s, want %s", got, want)
				}
				// Without these, the answer would hold the credential.
				if accept, include := r.Header.Get("Accept"), r.URL.Query().Get("includeObject"); accept != tableOfOne || include != "None" {
					t.Errorf("Accept = %q, includeObject = %q", accept, include)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.code)
				if _, err := w.Write([]byte(tt.body)); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			got, exists, err := newSecretTable(client.CoreV1().RESTClient()).TypeOf(t.Context(), "team", "ghcr")
			if got != tt.want || exists != tt.exists {
				t.Errorf("TypeOf() = %q, %v, want %q, %v", got, exists, tt.want, tt.exists)
			}
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error = %v, want %q", err, tt.err)
			}
		})
	}
}

// TestSecretTableRemembers checks that a Secret that can be used is not asked
// for by each of hundreds of Services, and that a problem is always read anew.
func TestSecretTableRemembers(t *testing.T) {
	for secretType, want := range map[corev1.SecretType]int32{
		corev1.SecretTypeDockerConfigJson: 1, corev1.SecretTypeDockercfg: 1, corev1.SecretTypeOpaque: 3,
	} {
		t.Run(string(secretType), func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Type"}],"rows":[{"cells":[%q]}]}`, secretType)
			}))
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			table := newSecretTable(client.CoreV1().RESTClient())
			for range 3 {
				if got, exists, err := table.TypeOf(t.Context(), "team", "ghcr"); got != secretType || !exists || err != nil {
					t.Errorf("TypeOf() = %q, %v, %v", got, exists, err)
				}
			}
			if _, _, err := table.TypeOf(t.Context(), "other", "ghcr"); err != nil {
				t.Error(err)
			}
			if got := asked.Load(); got != want+1 {
				t.Errorf("the API server was asked %d times, want %d for one Secret and 1 for the other", got, want)
			}
			table.forget("team", "ghcr")
			if _, _, err := table.TypeOf(t.Context(), "team", "ghcr"); err != nil {
				t.Error(err)
			}
			if got := asked.Load(); got != want+2 {
				t.Errorf("the API server was asked %d times, want it to be asked again for a Secret that was forgotten", got)
			}
		})
	}
}

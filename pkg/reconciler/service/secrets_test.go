// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/memory"
)

func TestSecretTable(t *testing.T) {
	tests := []struct {
		reason string
		code   int
		body   string
		want   map[string]corev1.SecretType
		err    string
	}{
		{
			reason: "a Secret", code: http.StatusOK, want: map[string]corev1.SecretType{"ghcr": corev1.SecretTypeDockerConfigJson},
			body: `{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"name":"Name"},{"name":"Type"},{"name":"Data"}],"rows":[{"cells":["ghcr","kubernetes.io/dockerconfigjson",1]}]}`,
		},
		{
			reason: "none", code: http.StatusOK, want: map[string]corev1.SecretType{},
			body: `{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Type"}],"rows":[]}`,
		},
		{reason: "no rights", code: http.StatusForbidden, body: `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no rights","reason":"Forbidden","code":403}`, err: "list the Secrets of namespace team"},
		{reason: "another shape", code: http.StatusOK, body: `{"kind":"Table","columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["ghcr"]}]}`, err: "no Type"},
		{reason: "a short row", code: http.StatusOK, body: `{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Type"}],"rows":[{"cells":["ghcr"]}]}`, err: "a row without"},
		{reason: "no table", code: http.StatusOK, body: `[]`, err: "parse the API server's table"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got, want := r.URL.Path, "/api/v1/namespaces/team/secrets"; got != want {
					t.Errorf("path = %s, want %s", got, want)
				}
				// Without these, the answer would hold credentials.
				if accept, include := r.Header.Get("Accept"), r.URL.Query().Get("includeObject"); accept != tables || include != "None" {
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
			got, err := secretTable(client.CoreV1().RESTClient())(t.Context(), "team")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want, +got):\n%s", diff)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error = %v, want %q", err, tt.err)
			}
		})
	}
}

// viewsOf counts the reads of what a test says the namespaces hold.
func viewsOf(types *map[string]corev1.SecretType, reads *atomic.Int32, failure *error) *secretViews {
	return newSecretViews(&memory.Memory{}, func(context.Context, string) (map[string]corev1.SecretType, error) {
		reads.Add(1)
		return maps.Clone(*types), *failure
	})
}

// TestSecretViews follows the questions of a namespace's Services over time.
func TestSecretViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := corev1.SecretTypeDockerConfigJson, corev1.SecretTypeOpaque
		have := map[string]corev1.SecretType{"good": good, "bad": bad}
		var reads atomic.Int32
		var failure error
		s := viewsOf(&have, &reads, &failure)
		ask := func(reason, service, name string, wantType corev1.SecretType, wantRetry time.Duration, wantReads int32) {
			t.Helper()
			known, retry, err := s.TypesOf(t.Context(), named(service), time.Now(), []string{name})
			if err != nil || known[name] != wantType || retry != wantRetry || reads.Load() != wantReads {
				t.Errorf("%s: %q, retry after %s, %v, %d reads; want %q, %s, %d", reason, known[name], retry, err, reads.Load(), wantType, wantRetry, wantReads)
			}
		}
		ask("the first question is answered at once", "a", "missing", "", 0, 1)
		time.Sleep(500 * time.Millisecond)
		ask("what can be used is remembered", "b", "good", good, 0, 1)
		ask("what is missing is not", "b", "missing", "", 1500*time.Millisecond, 1)
		ask("nor what cannot be used", "c", "bad", "", 1500*time.Millisecond, 1)
		have["missing"] = good
		time.Sleep(1500 * time.Millisecond)
		ask("the next read answers those who waited", "b", "missing", good, 0, 2)
		ask("all of them", "c", "bad", bad, 0, 2)
		time.Sleep(time.Second)
		s.observe(ns, "copy", good)
		ask("a copy that has come is known", "d", "copy", good, 0, 2)
		s.observe(ns, "copy", "")
		ask("one that is gone is read again", "d", "copy", "", readEvery-time.Second, 2)
		time.Sleep(usableFor)
		ask("what can be used is read again after a while", "a", "good", good, 0, 3)
		if len(s.views) != 1 || len(s.order) != 1 {
			t.Errorf("%d views in an order of %d, want what is old forgotten", len(s.views), len(s.order))
		}
		if s.Forget(named("d")); len(s.asked) != 0 {
			t.Errorf("waiting are %v, want nobody", s.asked)
		}
		time.Sleep(readEvery)
		failure = errors.New("away")
		if _, _, err := s.TypesOf(t.Context(), named("a"), time.Now(), []string{"other"}); !errors.Is(err, failure) {
			t.Errorf("error = %v, want the failure", err)
		}
		failure = nil
		time.Sleep(time.Second)
		ask("a failure is not repeated sooner than a read", "a", "other", "", readEvery-time.Second, 4)
		time.Sleep(readEvery)
		ask("and is over after that", "a", "other", "", 0, 5)
	})
}

// TestSecretViewsAreBounded has 60 Services of a namespace ask for 32 missing names all
// the time. Reads are bounded by time, and everybody gets an answer.
func TestSecretViewsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		have := map[string]corev1.SecretType{}
		var reads atomic.Int32
		var failure error
		s := viewsOf(&have, &reads, &failure)
		var names []string
		for i := range 32 {
			names = append(names, fmt.Sprint("missing-", i))
		}
		answered := map[types.NamespacedName]int{}
		begun := time.Now()
		for time.Since(begun) < 12*time.Second {
			for i := range 60 {
				key := named(fmt.Sprint("app-", i))
				if _, retry, err := s.TypesOf(t.Context(), key, time.Now(), names); err != nil {
					t.Fatal(err)
				} else if retry == 0 {
					answered[key]++
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := reads.Load(); got > 7 {
			t.Errorf("%d reads in 12 s, want one in %s at most", got, readEvery)
		}
		if len(answered) != 60 {
			t.Errorf("%d of 60 Services have an answer", len(answered))
		}
	})
}

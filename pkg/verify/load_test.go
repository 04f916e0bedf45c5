// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const registryHost = "registry.example.com"

// fakeRegistry is a registry with a token server, to which no network leads. Each request
// takes a time, and times are when they came.
type fakeRegistry struct {
	takes  time.Duration
	tokens http.HandlerFunc
	mu     sync.Mutex
	times  []time.Time
}

// RoundTrip implements http.RoundTripper.
func (f *fakeRegistry) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	f.mu.Unlock()
	select {
	case <-time.After(f.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	if r.URL.Path == "/token" {
		f.tokens(w, r)
	} else {
		bearer("https://"+registryHost+"/token")(w, r)
	}
	response := w.Result()
	response.Request = r
	return response, nil
}

// requests returns their number, and fails if two came within a second.
func (f *fakeRegistry) requests(t *testing.T) int {
	t.Helper()
	for i := 1; i < len(f.times); i++ {
		if after := f.times[i].Sub(f.times[i-1]); after < perRegistry {
			t.Errorf("request %d came %s after the one before", i, after)
		}
	}
	return len(f.times)
}

// checkerOf returns a checker with the real times.
func checkerOf(f *fakeRegistry) *Checker {
	return newChecker(perRegistry, Timeout, func() *http.Transport {
		made := &http.Transport{}
		made.RegisterProtocol("https", f)
		return made
	})
}

// checkImages checks a number of images that the platform team names.
func checkImages(ctx context.Context, t *testing.T, c *Checker, password, team string, images int) Verdict {
	config := configOf(t, password, registryHost)
	var named []string
	for i := range images {
		named = append(named, fmt.Sprintf("%s/%s/app-%d", registryHost, team, i))
	}
	questions, _ := PlanFor(config.Registries(), named)
	return Judge(c.Check(ctx, config, questions, true), true)
}

// Each of many images of one registry is answered, and takes one request.
func TestManyImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{takes: 300 * time.Millisecond, tokens: tokens}
		if got := checkImages(t.Context(), t, checkerOf(f), canary, "acme", 16); got.Result != Accepted {
			t.Errorf("%+v, want it to be accepted", got)
		}
		if got := f.requests(t); got != 18 {
			t.Errorf("%d requests, want one for each image and two before", got)
		}
	})
}

// A token server that gives no token for several repositories if one of them is not readable
// does not make the others count as rejected.
func TestTokensForOneRepositoryEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{tokens: func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.RawQuery, "app-1") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			tokens(w, r)
		}}
		c, config := checkerOf(f), configOf(t, canary, registryHost)
		questions, _ := PlanFor(config.Registries(), []string{registryHost + "/acme/app-0", registryHost + "/acme/app-1", registryHost + "/acme/app-2"})
		for _, a := range c.Check(t.Context(), config, questions, true) {
			want := Accepted
			if strings.HasSuffix(a.Image, "1") {
				want = Rejected
			}
			if a.Result != want {
				t.Errorf("%+v, want %s", a, want)
			}
		}
	})
}

// A rejected credential that many ClusterPullSecrets have is rejected for each of them: those
// with other images wait for their turn, and those with the same ones share the answer.
func TestManyChecksOfOneRegistry(t *testing.T) {
	for _, tt := range []struct {
		reason       string
		team         func(int) string
		images, most int
	}{
		{"other images", func(i int) string { return fmt.Sprint("team-", i) }, 3, 25},
		{"the same images", func(int) string { return "acme" }, 3, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeRegistry{takes: 300 * time.Millisecond, tokens: tokens}
			c := checkerOf(f)
			var all sync.WaitGroup
			for i := range 5 {
				all.Go(func() {
					if got := checkImages(t.Context(), t, c, "wrong", tt.team(i), tt.images); got.Result != Rejected {
						t.Errorf("%s, check %d: %+v, want it to be rejected", tt.reason, i, got)
					}
				})
			}
			all.Wait()
			if got := f.requests(t); got > tt.most {
				t.Errorf("%s: %d requests, want at most %d", tt.reason, got, tt.most)
			}
			if len(c.queues.byHost) != 0 {
				t.Error("a queue is left")
			}
		})
	}
}

// A check ends after MaxTime, however many come before it, and a registry that hangs takes
// Timeout of each.
func TestChecksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{takes: time.Hour, tokens: tokens}
		c, started := checkerOf(f), time.Now()
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if got := checkImages(t.Context(), t, c, canary, fmt.Sprint("team-", i), 4); got.Result != Unknown {
					t.Errorf("check %d: %+v, want it to be unknown", i, got)
				}
			})
		}
		all.Wait()
		if took := time.Since(started); took != MaxTime {
			t.Errorf("they took %s, want %s", took, MaxTime)
		}
		if got, most := f.requests(t), int(MaxTime/Timeout); got > most {
			t.Errorf("%d requests, want at most %d", got, most)
		}
	})
}

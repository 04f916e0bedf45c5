// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// apiServer counts reads and finds nothing.
type apiServer struct{ reads int }

func (s *apiServer) get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.ServiceAccount, error) {
	s.reads++
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, name)
}

// A miss is cached for the second call of the same request, and only for a short time.
func TestMissIsReadOnce(t *testing.T) {
	clock, server := time.Unix(1e9, 0), &apiServer{}
	l := newLiveReads(func() time.Time { return clock })
	for _, step := range []struct {
		reason string
		pass   time.Duration
		name   string
		want   int
	}{
		{"the first call", 0, "app", 1},
		{"the second one", 10 * time.Millisecond, "app", 1},
		{"another name", 0, "other", 2},
		{"later it may have come", time.Second, "app", 3},
	} {
		clock = clock.Add(step.pass)
		if _, err := readLive(t.Context(), l, subject{"ServiceAccount", "team", step.name}, server.get); !apierrors.IsNotFound(err) {
			t.Errorf("%s: the error is %v, want NotFound", step.reason, err)
		}
		if server.reads != step.want {
			t.Errorf("%s: %d reads, want %d", step.reason, server.reads, step.want)
		}
	}
}

// The misses of one namespace exhaust neither the budget of other namespaces nor the
// memory.
func TestLiveReadsAreFair(t *testing.T) {
	clock, server := time.Unix(1e9, 0), &apiServer{}
	l := newLiveReads(func() time.Time { return clock })
	for i := range 10000 {
		if i%1000 == 0 {
			clock = clock.Add(time.Second)
		}
		_, _ = readLive(t.Context(), l, subject{"Revision", "busy", fmt.Sprint(i)}, server.get)
	}
	if most := int(liveReadRatePerNamespace.Burst + 10*liveReadRatePerNamespace.PerSecond); server.reads > most {
		t.Errorf("%d reads for one namespace, want at most %d", server.reads, most)
	}
	if len(l.misses) > 2*minMisses {
		t.Errorf("%d misses are kept, want at most %d", len(l.misses), 2*minMisses)
	}
	if _, err := readLive(t.Context(), l, subject{"ServiceAccount", "other", "app"}, server.get); !apierrors.IsNotFound(err) {
		t.Errorf("another namespace gets %v, want the API server's answer", err)
	}
}

// All reads for one Service share a deadline that precedes the API server's timeout.
func TestOneDeadline(t *testing.T) {
	ctx, cancel := withDeadline(t.Context())
	defer cancel()
	want, _ := ctx.Deadline()
	if left := time.Until(want); left >= 2*time.Second {
		t.Errorf("deadline in %v, want less than the two seconds of the configuration", left)
	}
	l, seen := newLiveReads(time.Now), 0
	for _, name := range []string{"a", "b", "c"} {
		_, _ = readLive(ctx, l, subject{"ServiceAccount", "team", name}, func(ctx context.Context, _ string, _ metav1.GetOptions) (*corev1.ServiceAccount, error) {
			if got, ok := ctx.Deadline(); ok && got.Equal(want) {
				seen++
			}
			return nil, errors.New("unavailable")
		})
	}
	if seen != 3 {
		t.Errorf("%d of 3 reads have the deadline of the request", seen)
	}
}

// Two calls for one request whose ServiceAccount does not exist read it once.
func TestSecondCallReadsNothing(t *testing.T) {
	w := world{cached: []runtime.Object{team(pullsecrets.SecretsAnnotation, "n")}}
	services := w.services(t)
	for range 2 {
		services.Admit(t.Context(), request(t, "", `{metadata: {name: app}, spec: {template: {spec: {serviceAccountName: absent, containers: [{image: i}]}}}}`))
	}
	if got := len(services.kube.(*fake.Clientset).Actions()); got != 1 {
		t.Errorf("%d reads, want 1", got)
	}
}

func TestUnlimited(t *testing.T) {
	if c := unlimited(&rest.Config{Host: "h", QPS: 5}); c.QPS >= 0 || c.Host != "h" {
		t.Errorf("unlimited() = %+v", c)
	}
}

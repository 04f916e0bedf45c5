// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/memory"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

const (
	// inNamespace is the number of Services in a namespace, with one Secret for them.
	inNamespace = 10
	// uncoveredOneIn is how many of the Services have a finding.
	uncoveredOneIn = 10
	// maxPerService is the memory that coverage may take for each Service: 1 MiB for a
	// thousand.
	maxPerService = 1 << 20 / 1000
)

// held is what a reconciler holds for Services.
type held struct {
	revisions *revisions
	secrets   *named
	findings  findings
}

// hold returns what is held for so many Services, each with one Revision.
func hold(tb testing.TB, services int) held {
	tb.Helper()
	h := held{revisions: &revisions{changed: func(types.NamespacedName) {}}, findings: findings{memory.NewStore[[]finding](&memory.Memory{})}}
	h.secrets = newNamed(&memory.Memory{}, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
		return pullSecret(key.Name, "registry-"+key.Namespace+".example.com/acme", created, nil), nil
	})
	for i := range services {
		// As a watch does, this makes strings of their own.
		text, err := json.Marshal(NewRevision(fmt.Sprintf("namespace-%05d", i/inNamespace), fmt.Sprintf("service-%05d-00001", i), WithRevisionPullSecrets("registry-robot"), WithDigests(1), func(r *servingv1.Revision) {
			r.Labels["serving.knative.dev/service"] = fmt.Sprintf("service-%05d", i)
			r.Spec.Containers[0].Image = fmt.Sprintf("registry-namespace-%05d.example.com/acme/service-%05d:v1.2.3", i/inNamespace, i)
		}))
		if err != nil {
			tb.Fatal(err)
		}
		var r servingv1.Revision
		if err := json.Unmarshal(text, &r); err != nil {
			tb.Fatal(err)
		}
		if err := h.revisions.Update(&r); err != nil {
			tb.Fatal(err)
		}
		secret := types.NamespacedName{Namespace: r.Namespace, Name: "registry-robot"}
		if entry, room := h.secrets.entry(secret); room && i%inNamespace == 0 {
			if _, _, err := h.secrets.fill(tb.Context(), secret, entry); err != nil {
				tb.Fatal(err)
			}
		}
		if i%uncoveredOneIn == 0 {
			h.findings.Do(serviceOf(&r), func(all *[]finding) bool {
				*all = []finding{{since: time.Now(), told: true, reason: coverage.Missing, text: fmt.Sprintf("%0200d", i), images: []string{r.Spec.Containers[0].Image}}}
				return true
			})
		}
	}
	return h
}

// perService returns the memory that is held for each of so many Services, in bytes.
func perService(tb testing.TB, services int) int {
	tb.Helper()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	h := hold(tb, services)
	after := heap()
	runtime.KeepAlive(h)
	return int(int64(after)-int64(before)) / services
}

// The memory for coverage is limited: docs/performance.md has the figure.
func TestMemoryPerService(t *testing.T) {
	if got := perService(t, 5_000); got > maxPerService {
		t.Errorf("coverage takes %d bytes for each Service, want at most %d", got, maxPerService)
	} else {
		t.Logf("coverage takes %d bytes for each Service, at most %d", got, maxPerService)
	}
}

// BenchmarkMemory shows that the memory per Service does not grow with their number.
func BenchmarkMemory(b *testing.B) {
	for _, services := range []int{5_000, 50_000} {
		b.Run(fmt.Sprintf("%d Services", services), func(b *testing.B) {
			var bytes int
			for b.Loop() {
				bytes = perService(b, services)
			}
			b.ReportMetric(float64(bytes), "heap-B/Service")
		})
	}
}

// A tenant with very many Secrets takes a limited amount of memory, and what it no longer uses
// makes room.
func TestMemoryOfATenantIsBounded(t *testing.T) {
	n := newNamed(&memory.Memory{}, func(_ context.Context, key types.NamespacedName) (*corev1.Secret, error) {
		entries := ""
		for i := range 200 {
			entries += fmt.Sprintf(`,"registry-%d.of-a-tenant.example.com/path":{"auth":"YTpi"}`, i)
		}
		secret := pullSecret(key.Name, "x", created, nil)
		secret.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"x.io":{"auth":"YTpi"}` + entries + `}}`)
		return secret, nil
	})
	used := true
	n.used = func(types.NamespacedName) bool {
		if !n.mu.TryLock() {
			t.Error("what a namespace uses is looked up with the lock of all")
			return used
		}
		n.mu.Unlock()
		return used
	}
	known := 0
	for i := range 1000 {
		key := types.NamespacedName{Namespace: "hostile", Name: fmt.Sprint("secret-", i)}
		s, room := n.entry(key)
		if !room {
			continue
		}
		if i > 40 {
			continue // It is not read, and still has an entry.
		}
		if found, _, err := n.fill(t.Context(), key, s); err != nil {
			t.Fatal(err)
		} else if found.State == coverage.Known {
			known++
		}
	}
	if size := n.size["hostile"]; size > maxNamed+maxNamed/10 || known == 0 || known > 40 {
		t.Errorf("%d bytes are kept for a namespace, and %d Secrets are known", size, known)
	}
	if _, room := n.entry(types.NamespacedName{Namespace: "neighbour", Name: "secret"}); !room {
		t.Error("another namespace has no room")
	}
	used, n.swept = false, map[string]time.Time{}
	if _, room := n.entry(types.NamespacedName{Namespace: "hostile", Name: "needed"}); !room || len(n.known) > 3 {
		t.Errorf("%d Secrets are kept that nothing uses", len(n.known))
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package freshread

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TestSharedReadsAreNeverOlderThanTheQuestion asks again and again from many
// goroutines for something that changes all the time.
func TestSharedReadsAreNeverOlderThanTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var reads atomic.Int32
		shared := Shared[types.NamespacedName, time.Duration]{Read: func(context.Context, types.NamespacedName) (time.Duration, error) {
			now := time.Since(start) // What is read is how it was when the read began.
			reads.Add(1)
			time.Sleep(10 * time.Millisecond)
			return now, nil
		}}
		const callers, times = 8, 50
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				for range times {
					asked := time.Since(start)
					got, err := shared.Get(t.Context(), types.NamespacedName{Name: "team"})
					if err != nil || got < asked {
						t.Errorf("asked at %s, got what was there at %s (%v)", asked, got, err)
					}
					time.Sleep(time.Duration(i+1) * time.Millisecond)
				}
			})
		}
		group.Wait()
		synctest.Wait() // The last read may still be cleaning up.
		if got := reads.Load(); got > callers*times/3 {
			t.Errorf("%d reads for %d questions, want far fewer", got, callers*times)
		}
		if len(shared.next) > 0 {
			t.Errorf("%d keys are left when nobody asks any longer", len(shared.next))
		}
	})
}

func TestSharedReadsKeepObjectsApart(t *testing.T) {
	shared := Shared[types.NamespacedName, string]{Read: func(_ context.Context, key types.NamespacedName) (string, error) {
		if key.Name == "bad" {
			return "", errors.New("no " + key.Name)
		}
		return key.String(), nil
	}}
	if got, err := shared.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: "good"}); got != "team/good" || err != nil {
		t.Errorf("Get() = %q, %v", got, err)
	}
	if got, err := shared.Get(t.Context(), types.NamespacedName{Name: "bad"}); got != "" || err == nil || err.Error() != "no bad" {
		t.Errorf("Get() = %q, %v", got, err)
	}
}

// TestSharedReadsLetGo checks that a caller who does not want to wait any longer
// does not end the read for the others.
func TestSharedReadsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := Shared[types.NamespacedName, string]{Read: func(ctx context.Context, _ types.NamespacedName) (string, error) {
			time.Sleep(timeout - time.Second)
			return "read", ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := shared.Get(ctx, types.NamespacedName{Name: "team"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v, want the caller's own deadline", err)
		}
		if got, err := shared.Get(t.Context(), types.NamespacedName{Name: "team"}); got != "read" || err != nil {
			t.Errorf("Get() = %q, %v", got, err)
		}
	})
}

// TestSharedReadsDoNotHang checks that a read which never returns stops its callers for a
// limited time only.
func TestSharedReadsDoNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := Shared[string, string]{Read: func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}}
		began := time.Now()
		if _, err := shared.Get(t.Context(), "team"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != timeout {
			t.Errorf("error = %v after %s, want the deadline after %s", err, time.Since(began), timeout)
		}
	})
}

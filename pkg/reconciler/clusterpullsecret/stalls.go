// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/reconciler"
)

// stalls remembers, by the name of the ClusterPullSecret, since when the same copies
// are missing, and why. It may be lost with the process.
type stalls struct {
	mu     sync.Mutex
	byName map[string]*stall
}

type stall struct {
	missing []string
	since   time.Time
	// reasons are why copies do not come, by namespace, and when that was asked.
	reasons map[string]reason
	// told is the last that was told of once.
	told string
}

type reason struct {
	failure
	asked time.Time
}

// since is how long exactly these namespaces have been without their copies.
func (s *stalls) since(name string, missing []string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.recall(name)
	if known.since.IsZero() || !slices.Equal(known.missing, missing) {
		known.missing, known.since = missing, now
		maps.DeleteFunc(known.reasons, func(namespace string, _ reason) bool {
			_, still := slices.BinarySearch(missing, namespace)
			return !still
		})
	}
	return now.Sub(known.since)
}

// unknown are those of the namespaces of which nobody has asked why for a while.
func (s *stalls) unknown(name string, missing []string, now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.recall(name)
	return slices.DeleteFunc(slices.Clone(missing), func(namespace string) bool {
		why, found := known.reasons[namespace]
		// What may pass is asked again soon, but not before all others had their turn.
		valid := sooner + 2*soon*time.Duration(len(missing)/atOnce)
		if why.theirs {
			valid = later
		}
		return found && now.Sub(why.asked) < valid
	})
}

// note notes why a namespace has no copy.
func (s *stalls) note(name string, why failure, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recall(name).reasons[why.Namespace] = reason{why, now}
}

// known is what was found out about the namespaces, in their order.
func (s *stalls) known(name string, missing []string) []failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	reasons := s.recall(name).reasons
	var failures []failure
	for _, namespace := range missing {
		if why, found := reasons[namespace]; found {
			failures = append(failures, why.failure)
		}
	}
	return failures
}

// tell tells whether something is to be told of a ClusterPullSecret, which it is once.
func (s *stalls) tell(name, what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.recall(name)
	if known.told == what {
		return false
	}
	known.told = what
	return true
}

// demote drops what is known of the ClusterPullSecrets of a bucket.
func (s *stalls) demote(bucket reconciler.Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.byName, func(name string, _ *stall) bool { return bucket.Has(types.NamespacedName{Name: name}) })
}

// recall returns what is known of a ClusterPullSecret. The caller holds the lock.
func (s *stalls) recall(name string) *stall {
	if s.byName == nil {
		s.byName = make(map[string]*stall)
	}
	if s.byName[name] == nil {
		s.byName[name] = &stall{reasons: map[string]reason{}}
	}
	return s.byName[name]
}

func (s *stalls) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}

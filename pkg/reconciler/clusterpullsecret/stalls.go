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

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
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
	// since is when it was coming already.
	since time.Time
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
	reasons := s.recall(name).reasons
	since := now
	if before := reasons[why.Namespace]; before.coming && why.coming {
		since = before.since
	}
	reasons[why.Namespace] = reason{why, now, since}
}

// known is what was found out about the namespaces, in their order. A copy that has been
// coming for very long does not come, for a reason that nobody finds out by asking: it is
// refused for what it holds, while an empty one is asked about, or somebody keeps undoing
// it. The latter a tenant can do, so neither is held against the ClusterPullSecret.
func (s *stalls) known(name string, missing []string, now time.Time) []failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	reasons := s.recall(name).reasons
	var failures []failure
	for _, namespace := range missing {
		why, found := reasons[namespace]
		switch {
		case !found:
		case why.coming && now.Sub(why.since) >= overlong:
			failures = append(failures, failure{NamespaceFailure: v1alpha1.NamespaceFailure{
				Namespace: namespace, Reason: v1alpha1.ReasonDistributionFailed,
				Message: "The copy does not come or does not stay: it is refused, which an Event InternalError on the Namespace, in namespace default, tells of, or somebody keeps undoing it",
			}, theirs: true})
		default:
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

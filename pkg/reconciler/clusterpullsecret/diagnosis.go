// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/memory"
)

// stalls remembers since when the copies of a ClusterPullSecret are missing, by
// namespace, and why.
type stalls struct{ *memory.Store[stall] }

type stall struct {
	// first is when this process counted the copies first.
	first time.Time
	// since is when each namespace was found without its copy.
	since map[string]time.Time
	// reasons are why copies do not come, by namespace, and when that was asked.
	reasons map[string]reason
	// told is the last that was reported once.
	told string
}

type reason struct {
	failure
	asked time.Time
	// since is when it was coming already.
	since time.Time
}

// recall calls do with what is known of a ClusterPullSecret.
func (s stalls) recall(name string, do func(known *stall)) {
	s.Do(types.NamespacedName{Name: name}, func(known *stall) bool {
		do(known)
		return true
	})
}

// ages is for how long namespaces have been without their copies.
type ages struct {
	// ripe are those for which that is patience or more, sorted, and next is when one
	// more will be, or zero.
	ripe []string
	next time.Duration
	// pending are those that have been without since the source changed, or since this
	// process looked first. A namespace that loses its copy later, or asks for one, does
	// not call the distribution in question, however often it does so.
	pending sets.Set[string]
}

// age notes the namespaces without their copies, which are sorted. The source is as it is
// since changed.
func (s stalls) age(name string, missing []string, changed, now time.Time) ages {
	a := ages{pending: sets.New[string]()}
	s.recall(name, func(known *stall) {
		if known.since == nil {
			known.first, known.since = now, make(map[string]time.Time)
		}
		gone := func(namespace string) bool {
			_, still := slices.BinarySearch(missing, namespace)
			return !still
		}
		maps.DeleteFunc(known.since, func(namespace string, _ time.Time) bool { return gone(namespace) })
		maps.DeleteFunc(known.reasons, func(namespace string, _ reason) bool { return gone(namespace) })
		began := known.first
		if changed.After(began) {
			began = changed
		}
		for _, namespace := range missing {
			since, found := known.since[namespace]
			if !found {
				since = now
				known.since[namespace] = now
			}
			if since.Sub(began) < patience {
				a.pending.Insert(namespace)
			}
			if left := patience - now.Sub(since); left <= 0 {
				a.ripe = append(a.ripe, namespace)
			} else if a.next == 0 || left < a.next {
				a.next = left
			}
		}
	})
	return a
}

// unknown are those of the namespaces whose reason has to be found out, or found out
// again.
func (s stalls) unknown(name string, missing []string, now time.Time) (unknown []string) {
	s.recall(name, func(known *stall) {
		unknown = slices.DeleteFunc(slices.Clone(missing), func(namespace string) bool {
			why, found := known.reasons[namespace]
			// What may pass is asked again soon, but not before all others had their turn.
			valid := sooner + 2*soon*time.Duration(len(missing)/atOnce)
			if why.theirs {
				valid = later
			}
			return found && now.Sub(why.asked) < valid
		})
	})
	return unknown
}

// note records why a namespace has no copy.
func (s stalls) note(name string, why failure, now time.Time) {
	s.recall(name, func(known *stall) {
		since := now
		if before := known.reasons[why.Namespace]; before.coming && why.coming {
			since = before.since
		}
		if known.reasons == nil {
			known.reasons = make(map[string]reason)
		}
		known.reasons[why.Namespace] = reason{why, now, since}
	})
}

// known is what was found out about the namespaces, in their order. A copy that has been
// coming for very long does not come, for a reason that a dry run does not show: it is
// rejected for what it holds, while an empty one is accepted, or it is undone again and
// again. The latter a tenant can do, so neither is held against the ClusterPullSecret.
func (s stalls) known(name string, missing []string, now time.Time) (failures []failure) {
	s.recall(name, func(known *stall) {
		for _, namespace := range missing {
			why, found := known.reasons[namespace]
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
	})
	return failures
}

// tell reports whether something is to be reported of a ClusterPullSecret, which it is
// once.
func (s stalls) tell(name, what string) (tell bool) {
	s.recall(name, func(known *stall) {
		tell = known.told != what
		known.told = what
	})
	return tell
}

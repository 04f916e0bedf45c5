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

// diagnoses holds what is known about the missing copies of each ClusterPullSecret.
type diagnoses struct{ *memory.Store[diagnosis] }

// diagnosis records since when copies of a ClusterPullSecret are missing, and why.
type diagnosis struct {
	// changed is when the source last changed, and began is when this process first counted
	// the copies after that.
	changed, began time.Time
	// since is when the copy of each namespace was first found missing.
	since map[string]time.Time
	// findings are the causes of missing copies, by namespace.
	findings map[string]finding
	// reported is the last value that reportOnce reported.
	reported string
}

// finding is the result of the last probe of a namespace.
type finding struct {
	failure
	probed time.Time
	// since is the first of the consecutive probes by which the copy was unblocked.
	since time.Time
}

// recall calls do with the diagnosis of a ClusterPullSecret.
func (s diagnoses) recall(name string, do func(known *diagnosis)) {
	s.Do(types.NamespacedName{Name: name}, func(known *diagnosis) bool {
		do(known)
		return true
	})
}

// absences summarizes for how long copies have been missing.
type absences struct {
	// overdue are the namespaces whose copies have been missing for gracePeriod or
	// longer, sorted. next is the time until another one is overdue, or zero.
	overdue []string
	next    time.Duration
	// pending are the namespaces without a copy since this process first counted after the
	// source changed, or soon after that. A namespace that loses its copy later, or asks for one
	// later, does not affect the condition Distributed, however often it does so.
	pending sets.Set[string]
}

// track records which namespaces, sorted by name, have no copy. changed is when the
// source last changed.
func (s diagnoses) track(name string, missing []string, changed, now time.Time) absences {
	a := absences{pending: sets.New[string]()}
	s.recall(name, func(known *diagnosis) {
		if known.since == nil {
			known.since = make(map[string]time.Time)
		}
		if known.began.IsZero() || !known.changed.Equal(changed) {
			// Not the time of the change: a busy process may count long after it.
			known.changed, known.began = changed, now
		}
		present := func(namespace string) bool {
			_, found := slices.BinarySearch(missing, namespace)
			return !found
		}
		maps.DeleteFunc(known.since, func(namespace string, _ time.Time) bool { return present(namespace) })
		maps.DeleteFunc(known.findings, func(namespace string, _ finding) bool { return present(namespace) })
		for _, namespace := range missing {
			since, found := known.since[namespace]
			if !found {
				since = now
				known.since[namespace] = now
			}
			if since.Sub(known.began) < gracePeriod {
				a.pending.Insert(namespace)
			}
			if left := gracePeriod - now.Sub(since); left <= 0 {
				a.overdue = append(a.overdue, namespace)
			} else if a.next == 0 || left < a.next {
				a.next = left
			}
		}
	})
	return a
}

// due returns the namespaces to probe: those without a finding, and those whose finding
// has expired.
func (s diagnoses) due(name string, missing []string, now time.Time) (due []string) {
	s.recall(name, func(known *diagnosis) {
		due = slices.DeleteFunc(slices.Clone(missing), func(namespace string) bool {
			why, found := known.findings[namespace]
			// A transient failure expires soon, but not before all other namespaces were probed.
			valid := transientRetryInterval + 2*batchInterval*time.Duration(len(missing)/probeBatch)
			if why.tenant {
				valid = retryInterval
			}
			return found && now.Sub(why.probed) < valid
		})
	})
	return due
}

// record records the result of a probe.
func (s diagnoses) record(name string, why failure, now time.Time) {
	s.recall(name, func(known *diagnosis) {
		since := now
		if before := known.findings[why.Namespace]; before.unblocked && why.unblocked {
			since = before.since
		}
		if known.findings == nil {
			known.findings = make(map[string]finding)
		}
		known.findings[why.Namespace] = finding{why, now, since}
	})
}

// failures returns the known failures of the namespaces, in their order. A copy that was
// unblocked for a long time and is still missing fails for a cause that the dry run does
// not show: it is rejected because of its contents, while the empty one is accepted, or
// it is removed again and again. A tenant can cause the latter, so neither counts against
// the ClusterPullSecret.
func (s diagnoses) failures(name string, missing []string, now time.Time) (failures []failure) {
	s.recall(name, func(known *diagnosis) {
		for _, namespace := range missing {
			why, found := known.findings[namespace]
			switch {
			case !found:
			case why.unblocked && now.Sub(why.since) >= stuckTimeout:
				failures = append(failures, failure{NamespaceFailure: v1alpha1.NamespaceFailure{
					Namespace: namespace, Reason: v1alpha1.ReasonDistributionFailed,
					Message: "The copy is rejected, or is removed again and again; see Events InternalError on the Namespace, in namespace default",
				}, tenant: true})
			default:
				failures = append(failures, why.failure)
			}
		}
	})
	return failures
}

// reportOnce reports whether a value differs from the last one, and records it.
func (s diagnoses) reportOnce(name, what string) (report bool) {
	s.recall(name, func(known *diagnosis) {
		report = known.reported != what
		known.reported = what
	})
	return report
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
)

// How long Knative and a node wait at most between two attempts, with a minute for the attempt
// itself.
const (
	untilKnative = (1000 + 60) * 1e9
	untilNode    = (300 + 60) * 1e9
)

// failedPull finds what to do about an image that could not be pulled although all images have a
// credential.
func (s *subject) failedPull() {
	switch used := s.used(); {
	case s.failure.rejected && s.tried() && len(used) > 0:
		s.rejection(used)
	case Worst(s.findings) == Error:
	case s.failure.rejected:
		s.find(RetryDue, Warning, "all images have a credential now, and the newest Revision failed before; "+s.nextAttempt(), s.retryNow(), s.retry())
	default:
		s.find(RetryDue, Warning, fmt.Sprintf("all images have a credential now, and the newest Revision failed: %s; %s", s.failure.message, s.nextAttempt()),
			"correct what it names, or "+s.retryNow(), s.retry())
	}
}

// rejection finds whether the registry rejects the present credential, or rejected an earlier one.
func (s *subject) rejection(used []coverage.Entry) {
	for _, entry := range used {
		if changed, due := s.changedSince(entry); due {
			s.find(RetryDue, Warning, fmt.Sprintf("Secret %s changed at %s, after the registry had rejected the newest Revision; %s", entry.Secret, changed.UTC().Format(rfc3339), s.nextAttempt()),
				s.retryNow(), s.retry())
			return
		}
	}
	var names []string
	for _, entry := range used {
		names = append(names, entry.Secret)
		secret := s.Secrets[entry.Secret]
		unread := Unread{"whether Secret " + entry.Secret + " changed after the attempt", "its managedFields do not say so"}
		if !rollout.ChangeKnown(&secret.Written) && !slices.Contains(s.unread, unread) {
			s.unread = append(s.unread, unread)
		}
	}
	slices.Sort(names)
	then := "retry"
	if s.retry() == "" {
		then = s.retryNow()
	}
	s.find(RejectedPull, Error, fmt.Sprintf("the registry rejects the credential of Secret %s: %s", strings.Join(slices.Compact(names), " or "), s.failure.message),
		"correct the credential if it is wrong or lacks the right to pull, and then "+then, s.retry())
}

// tried reports whether the failed Revision had the same list, so that its failure is about
// the present credentials or an earlier content of the same Secrets. Without the Revision, it is
// known that Knative has observed the template.
func (s *subject) tried() bool {
	newest := s.newest()
	if newest == nil {
		return s.Service.Status.ObservedGeneration == s.Service.Generation
	}
	return slices.Equal(merge.NamesOf(newest.Spec.ImagePullSecrets), s.current.List)
}

// used returns the entries with the credential of the image that failed, or of all images if the
// failure does not name one.
func (s *subject) used() []coverage.Entry {
	var all, failed []coverage.Entry
	for _, r := range s.results {
		entry, found := r.Verdicts[dockerconfig.TagResolution].Decisive()
		if !found || s.failure.container != "" {
			entry, found = r.Verdicts[dockerconfig.Kubelet].Decisive()
		}
		names := r.Name == s.failure.container || s.failure.container == "" && rollout.Mentions(s.failure.message, r.Reference)
		if !found || !r.Covered() || r.Kind == coverage.QueueProxy && !names {
			continue
		}
		all = append(all, entry)
		if names {
			failed = append(failed, entry)
		}
	}
	if len(failed) > 0 || s.failure.container != "" {
		return failed
	}
	return all
}

// changedSince reports whether a credential changed after the newest Revision failed, and may not
// have been tried since. The first condition is that of the controller. The others are
// what a report can add: an attempt after the change leaves a younger condition if its message
// differs, and comes for certain after the longest wait.
func (s *subject) changedSince(entry coverage.Entry) (latest metav1.Time, due bool) {
	secret := s.Secrets[entry.Secret]
	earliest := rollout.Changed(&secret.Written)
	latest = earliest
	if cps := s.clusterPullSecret(secret.Owner); cps != nil {
		earliest = rollout.ChangedCopy(&secret.Written, cps.Status.Source)
	}
	if entry.ServiceAccount && s.Account != nil {
		if listed := rollout.ListChanged(&s.Account.ObjectMeta); latest.Before(&listed) {
			earliest, latest = listed, listed
		}
	}
	wait := int64(untilKnative)
	if s.failure.node {
		wait = untilNode
	}
	newest := s.newest()
	due = (newest == nil || rollout.ChangedAfter(newest, earliest)) &&
		latest.Unix() > s.failure.at.Unix() && s.Now.Sub(latest.Time).Nanoseconds() <= wait
	return latest, due
}

// clusterPullSecret returns the ClusterPullSecret with a name, or nil.
func (o *Objects) clusterPullSecret(name string) *v1alpha1.ClusterPullSecret {
	i := slices.IndexFunc(o.Offered, func(cps *v1alpha1.ClusterPullSecret) bool { return cps.Name == name })
	if i < 0 {
		return nil
	}
	return o.Offered[i]
}

// failedAt returns when the newest Revision failed as it does now.
func (o *Objects) failedAt() (at metav1.Time) {
	conditions := o.Service.Status.Conditions
	newest := o.newest()
	if newest != nil {
		conditions = newest.Status.Conditions
	}
	for _, c := range conditions {
		if own := newest != nil || c.Type == servingv1.ServiceConditionConfigurationsReady; own && c.IsFalse() && at.Before(&c.LastTransitionTime.Inner) {
			at = c.LastTransitionTime.Inner
		}
	}
	return at
}

// nextAttempt says who tries again, and when.
func (s *subject) nextAttempt() string {
	if s.failure.node {
		return "the node tries again after up to 5 minutes"
	}
	return "Knative tries again after up to 1000 s"
}

// retry returns the command that ends the wait for the next attempt, or an empty string if it
// would refuse to.
func (s *subject) retry() string {
	if newest := s.newest(); newest != nil && Retryable(s.Service, newest) != nil {
		return ""
	}
	return command("kn pullsecrets retry %s -n %s", s.Service.Name, s.Service.Namespace)
}

// retryNow says what to do about the wait.
func (s *subject) retryNow() string {
	if s.retry() == "" {
		return "wait for the next attempt"
	}
	return "retry now"
}

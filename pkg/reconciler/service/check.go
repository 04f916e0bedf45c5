// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/rollout"
)

// checkSecrets reports declared names whose Secret does not exist or cannot be used for
// pulling. Neither keeps a name out of the list: the kubelet ignores such an entry, and a
// Secret that is created later must not cost a Revision.
//
// The Secrets are read while the Service is not Ready, while any are missing, and once
// whenever a change is due, even if the read has to wait until after the change. Names of
// copies that the namespace may not have are always read, because a grant can be withdrawn
// from a Service that nobody touches.
//
// checkSecrets reports whether to requeue: a Secret of the user's enqueues nothing when it
// is created, even where it takes the place of a copy. Without rights on Secrets, nothing
// is checked.
func (r *Reconciler) checkSecrets(ctx context.Context, s *subject) bool {
	if !r.profile.UsesSecrets() {
		return false
	}
	names := s.declaration.Names()
	all := len(names) == 0 || !rollout.IsReady(s.Service) || r.metrics.missing.of(s.key) || r.attempts.unread(s.Service) ||
		(s.result.ListChanged || s.awaits) && !r.attempts.checked(s.Service, names)
	var asked []string
	withheld := map[string]*v1alpha1.ClusterPullSecret{}
	for _, name := range names {
		withheld[name] = s.offered.Withheld(name, s.namespace.Labels)
		if all || withheld[name] != nil {
			asked = append(asked, name)
		}
	}
	var known map[string]corev1.SecretType
	var retry time.Duration
	var err error
	if len(asked) > 0 {
		known, retry, err = r.secrets.TypesOf(ctx, s.key, s.began, asked)
	}
	if retry > 0 {
		// The previous findings stand until the next read.
		s.retry = retry
		r.attempts.setUnread(s.Service, all)
		return false
	}
	r.attempts.setUnread(s.Service, false)
	if err != nil {
		logging.FromContext(ctx).Warnw("Failed to check declared pull secrets", "secrets", asked, "error", err)
		r.metrics.missing.note(s.key, asked)
		return true
	}
	var found findings
	var lacking []string
	for _, name := range asked {
		secretType, exists := known[name]
		if !exists || !usable(secretType) {
			lacking = append(lacking, name)
		}
		switch {
		case exists && !usable(secretType):
			found.wrong = append(found.wrong, events.WithType(name, secretType))
		case exists:
		case withheld[name] != nil:
			found.withheld = append(found.withheld, name)
		default:
			found.miss(name, s.copied(name))
		}
	}
	recorder := controller.GetEventRecorder(ctx)
	if r.reporter.Report(recorder, s.Service, topicGrants, found.grants(s.Namespace)); all {
		r.reporter.Report(recorder, s.Service, topicSecrets, found.secrets(s.Namespace))
	}
	r.metrics.missing.note(s.key, lacking)
	return len(lacking) > 0
}

// findings are the problems with the Secrets that a Service declares.
type findings struct{ withheld, missing, late, wrong []string }

// miss notes a Secret that does not exist. A copy is reported only while its source is
// not ready, because otherwise it is created in a moment.
func (f *findings) miss(name string, copyOf *v1alpha1.ClusterPullSecret) {
	switch {
	case copyOf == nil:
		f.missing = append(f.missing, name)
	case !copyOf.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue():
		f.late = append(f.late, events.WithClusterPullSecret(name, copyOf.Name))
	}
}

func (f *findings) grants(namespace string) []events.Event {
	if len(f.withheld) == 0 {
		return nil
	}
	return []events.Event{events.NotGranted(namespace, f.withheld)}
}

func (f *findings) secrets(namespace string) []events.Event {
	var reports []events.Event
	if len(f.missing) > 0 {
		reports = append(reports, events.SecretMissing(namespace, f.missing))
	}
	if len(f.late) > 0 {
		reports = append(reports, events.CopyMissing(namespace, f.late))
	}
	if len(f.wrong) > 0 {
		reports = append(reports, events.SecretWrongType(namespace, f.wrong))
	}
	return reports
}

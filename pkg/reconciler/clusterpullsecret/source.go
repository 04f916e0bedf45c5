// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/controller"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/source"
)

// checkSource validates the source, and reports whether the contents of copies have changed, and
// when to check again, or zero. The facts of the last valid source stay in the status, because the
// copies are kept too.
func (r *Reconciler) checkSource(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (changed bool, after time.Duration, err error) {
	ref, status := cps.Spec.SecretRef, &cps.Status
	if !config.FromContext(ctx).AllowsSource(ref.Namespace) {
		r.endVerification(ctx, cps)
		status.MarkSourceNotAllowed(ref, fmt.Sprintf("namespace %s is not in source-namespaces of ConfigMap %s", ref.Namespace, config.Name))
		return false, 0, nil
	}
	r.watch(ref)
	facts, err := r.sources.Read(ctx, source.ScopeOf(cps))
	var (
		missing   *source.NotFoundError
		copied    *source.CopyError
		wrongType *dockerconfig.WrongTypeError
		invalid   *dockerconfig.InvalidError
		uncovered *dockerconfig.UncoveredError
	)
	switch {
	case errors.As(err, &missing):
		status.MarkSourceNotFound(ref)
	case errors.As(err, &copied):
		status.MarkSourceNotAllowed(ref, copied.Error())
	case errors.As(err, &wrongType):
		status.MarkSourceWrongType(ref, wrongType.Type)
	case errors.As(err, &invalid):
		markAndReport(ctx, cps, events.SourceInvalid, func() { status.MarkSourceInvalid(ref, invalid.Error()) })
	case errors.As(err, &uncovered):
		markAndReport(ctx, cps, events.SourceInvalid, func() { status.MarkSourceLacks(ref, uncovered.Registries) })
	case err != nil:
		return false, 0, err
	default:
		return r.useSource(ctx, cps, facts)
	}
	r.endVerification(ctx, cps)
	return false, 0, nil
}

// useSource puts a valid source into the status, unless that would replace good copies by
// worse ones. Its results are those of checkSource.
func (r *Reconciler) useSource(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts) (changed bool, after time.Duration, err error) {
	status := &cps.Status
	if changed, err = r.sourceChanged(cps, facts); err != nil {
		return false, 0, err
	}
	if changed {
		if until, holds := r.holdExpired(ctx, cps, facts); holds {
			return false, until, nil
		}
	}
	if r.holdsBack(ctx, cps, facts, changed) {
		return false, 0, nil
	}
	r.markValid(ctx, cps, facts)
	status.Registries, status.Expires = facts.Registries, expiresOf(facts)
	if changed {
		status.Source = &v1alpha1.SourceStatus{ResourceVersion: facts.ResourceVersion, LastChanged: new(metav1.NewTime(r.now()))}
		status.MarkDistributing()
	}
	// Unchanged contents equal those of that version.
	facts.ResourceVersion = status.Source.ResourceVersion
	r.sources.Know(source.ScopeOf(cps), facts.ResourceVersion, facts)
	return changed, 0, nil
}

// markAndReport sets the condition of the source, and records its message as an Event if
// the message changed.
func markAndReport(ctx context.Context, cps *v1alpha1.ClusterPullSecret, event func(message string) events.Event, mark func()) {
	before := sourceCondition(cps)
	mark()
	if after := sourceCondition(cps); before == nil || before.Message != after.Message {
		e := event(after.Message)
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
}

// sourceChanged reports whether the contents of copies differ from those that the status
// stands for. A change of labels only does not count, and causes no write of a copy.
//
// The status has no spec.registries to compare with. Its registries are sufficient: of one
// version of a source, the keys of a copy determine their credentials. Keys that the status does
// not show are compared by the digest.
func (r *Reconciler) sourceChanged(cps *v1alpha1.ClusterPullSecret, facts source.Facts) (bool, error) {
	status := cps.Status.Source
	if status == nil || !slices.Equal(cps.Status.Registries, facts.Registries) {
		return true, nil
	}
	known, isKnown := r.sources.Known(source.ScopeOf(cps), status.ResourceVersion)
	sameVersion := status.ResourceVersion == facts.ResourceVersion
	if sameVersion && !facts.Hidden {
		return false, nil
	}
	if isKnown && (known.Digest != facts.Digest || cps.Spec.Verify == nil) {
		return known.Digest != facts.Digest, nil
	}
	copies, err := source.CopiesOf(r.secrets, cps.Name)
	if err != nil {
		return false, err
	}
	// This process does not know that version, so it is compared with its copies. A copy
	// with other contents must be rewritten in any case, which only happens once the
	// status names the version to write.
	same, other := source.Compare(copies, status.ResourceVersion, facts.Digest)
	if isKnown || sameVersion {
		// The Namespace reconciler repairs no copy from a source of which neither the status nor
		// a copy says that it was verified.
		return other && !same, nil
	}
	return other || !same, nil
}

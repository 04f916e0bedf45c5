// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/controller"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/source"
)

// topicExpiry is the topic of Events about the expiry of a credential.
const topicExpiry = "expiry"

// minNotice is the least time between the Event that announces the expiry of a credential and
// its expiry, if the credential lives for long enough.
const minNotice = time.Hour

// reportExpiry reports when the first credential of the copies expires, and that it has
// expired. It returns the delay until there is more to report. A source that is no longer valid
// changes nothing, because the copies are kept.
func (r *Reconciler) reportExpiry(ctx context.Context, cps *v1alpha1.ClusterPullSecret) time.Duration {
	life, now := r.lifeOf(cps), r.now()
	r.metrics.noteExpires(cps.Name, life.Expires)
	var (
		applies []events.Event
		next    time.Duration
	)
	if !life.Expires.IsZero() && !life.Expires.After(now) {
		applies = append(applies, events.CredentialExpired(cps.Spec.SecretRef, life.Expires.Time))
		life = r.nextLifeOf(cps)
	}
	if !life.Expires.IsZero() {
		left := life.Expires.Sub(now)
		if notice := noticeOf(life); left <= notice {
			applies, next = append(applies, events.CredentialExpires(cps.Spec.SecretRef, life.Expires.Time)), left
		} else {
			next = left - notice
		}
	}
	if _, all := r.reporter.Report(controller.GetEventRecorder(ctx), cps, topicExpiry, applies); !all {
		next = sooner(next, events.RetryAfter)
	}
	return next
}

// noticeOf returns how long before the expiry of a credential it is announced: a fifth of its
// life, and at least an hour, but no more than a quarter of its life. A tool that replaces tokens
// of an hour after half of it would otherwise cause an Event each time.
func noticeOf(life dockerconfig.Life) time.Duration {
	lives := max(life.Expires.Sub(life.Begins.Time), 0)
	return min(max(lives/5, minNotice), lives/4)
}

// lifeOf returns the life of the credential of the copies that expires first. If the credential
// does not say when it was issued, its life begins with the last change of the source.
func (r *Reconciler) lifeOf(cps *v1alpha1.ClusterPullSecret) (life dockerconfig.Life) {
	status := &cps.Status
	if status.Source == nil {
		return life
	}
	known, _ := r.sources.Known(source.ScopeOf(cps), status.Source.ResourceVersion)
	life.Begins = known.Life.Begins
	if status.Expires != nil {
		life.Expires = *status.Expires
	}
	// The status may leave out a hidden credential that expires sooner.
	if hidden := known.Life.Expires; !hidden.IsZero() && (life.Expires.IsZero() || hidden.Before(&life.Expires)) {
		life.Expires = hidden
	}
	if life.Expires.IsZero() {
		return life
	}
	if life.Begins.IsZero() && status.Source.LastChanged != nil {
		life.Begins = *status.Source.LastChanged
	}
	if life.Begins.IsZero() {
		life.Begins = cps.CreationTimestamp
	}
	return life
}

// nextLifeOf returns the life of the credential that expires next, where others have expired. It
// begins with the last change of the source.
func (r *Reconciler) nextLifeOf(cps *v1alpha1.ClusterPullSecret) (life dockerconfig.Life) {
	known, _ := r.sources.Known(source.ScopeOf(cps), cps.Status.Source.ResourceVersion)
	for _, expires := range known.Expiries {
		if expires.After(r.now()) && (life.Expires.IsZero() || expires.Before(&life.Expires)) {
			life.Expires = expires
		}
	}
	if life.Begins = cps.CreationTimestamp; cps.Status.Source.LastChanged != nil {
		life.Begins = *cps.Status.Source.LastChanged
	}
	return life
}

// markValid marks the source as valid, with what is probably a mistake in it.
func (r *Reconciler) markValid(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts) {
	ref, status := cps.Spec.SecretRef, &cps.Status
	switch {
	case facts.Life.Expired(metav1.NewTime(r.now())):
		status.MarkSourceExpired(ref, facts.Life.Expires)
	case len(facts.Remarks) > 0:
		markAndReport(ctx, cps, events.SourceQuestionable, func() { status.MarkSourceQuestionable(ref, facts.Remarks) })
	default:
		status.MarkSourceReady()
	}
}

// replacement is an expired credential of a changed source, and the one of the copies that it would
// replace, which is not known to have expired.
type replacement struct {
	expired metav1.Time
	// good is when the one of the copies expires, or zero if that is not known.
	good metav1.Time
}

// replacedByExpired returns what a changed source would replace by expired credentials, in the order
// of the registries. Each registry of either is compared, so an entry that is new, or that has
// expired in the copies too, does not hold up the others. An entry for a host also replaces one for
// a path, and the other way around.
func (r *Reconciler) replacedByExpired(cps *v1alpha1.ClusterPullSecret, facts source.Facts) (all []replacement) {
	over := func(expires metav1.Time) bool {
		return dockerconfig.Life{Expires: expires}.Expired(metav1.NewTime(r.now()))
	}
	if cps.Status.Source == nil || !over(facts.Life.Expires) {
		return nil
	}
	copies := r.contentsOfCopies(cps, facts)
	after, before := slices.Collect(maps.Keys(facts.Credentials)), slices.Collect(maps.Keys(copies.credentials))
	registries := slices.Compact(slices.Sorted(slices.Values(slices.Concat(after, before))))
	would, have := dockerconfig.FactsOf(after), dockerconfig.FactsOf(before)
	for _, registry := range registries {
		is, found := would.Preceding(registry)
		if !found || !over(facts.Expiries[is]) {
			continue
		}
		was, found := have.Preceding(registry)
		if !found || copies.credentials[was] == facts.Credentials[is] {
			continue
		}
		if good := copies.expires(was, facts.Expiries[is]); !over(good) {
			all = append(all, replacement{facts.Expiries[is], good})
		}
	}
	return all
}

// contents are what is known of the copies of a ClusterPullSecret.
type contents struct {
	// credentials are digests by registry, which are empty if they are not known.
	credentials map[string]string
	// expires returns when the credential for a registry expires, or zero. other is when the one
	// expires that would replace it.
	expires func(registry string, other metav1.Time) metav1.Time
}

// contentsOfCopies returns what the copies of a ClusterPullSecret with a changed source have. If this
// process has not seen that, because it has just started, it is what the status says: the
// registries, and the first expiry. That is the expiry of a single credential, and of one of several
// if it is that of the source too, which has the same credential then. All others are not known
// to have expired, and keys that the status does not show may be in the copies.
func (r *Reconciler) contentsOfCopies(cps *v1alpha1.ClusterPullSecret, facts source.Facts) contents {
	status := &cps.Status
	// What is known of another spec.registries is not in the copies yet.
	known, isKnown := r.sources.Known(source.ScopeOf(cps), status.Source.ResourceVersion)
	if isKnown && slices.Equal(known.Registries, status.Registries) {
		return contents{known.Credentials, func(registry string, _ metav1.Time) metav1.Time { return known.Expiries[registry] }}
	}
	if status.Source.ResourceVersion == facts.ResourceVersion {
		// Only spec.registries has changed.
		same := maps.Clone(facts.Credentials)
		maps.DeleteFunc(same, func(registry, _ string) bool { return !slices.Contains(status.Registries, registry) })
		return contents{same, func(registry string, _ metav1.Time) metav1.Time { return facts.Expiries[registry] }}
	}
	unknown := make(map[string]string, len(status.Registries))
	for registry := range facts.Credentials {
		if !slices.Contains(facts.Registries, registry) {
			unknown[registry] = ""
		}
	}
	for _, registry := range status.Registries {
		unknown[registry] = ""
	}
	return contents{unknown, func(registry string, other metav1.Time) metav1.Time {
		// Two credentials hardly expire in the same second.
		if status.Expires != nil && status.Expires.Equal(&other) {
			return other
		}
		if !slices.Contains(status.Registries, registry) {
			return metav1.Time{}
		}
		return grant.ExpiresOf(cps)
	}}
}

// holdExpired reports whether a changed source is held, because it would replace credentials by
// expired ones, and after which delay that ends, or zero if that is not known.
func (r *Reconciler) holdExpired(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts) (until time.Duration, holds bool) {
	all := r.replacedByExpired(cps, facts)
	if len(all) == 0 {
		return 0, false
	}
	r.endVerification(ctx, cps)
	markAndReport(ctx, cps, events.SourceExpired, func() { cps.Status.MarkSourceHeldExpired(cps.Spec.SecretRef, all[0].expired) })
	for _, one := range all {
		if one.good.IsZero() {
			return 0, true
		}
		until = max(until, one.good.Sub(r.now()))
	}
	return until, true
}

// expiresOf returns when the first credential expires, as the status has it. If the status shows a
// single one, readers take the time for that one's, so it must not be that of a hidden one.
func expiresOf(facts source.Facts) *metav1.Time {
	expires := facts.Life.Expires
	if grant.Single(facts.Registries) {
		expires = facts.ShownExpires
	}
	if expires.IsZero() {
		return nil
	}
	return &expires
}

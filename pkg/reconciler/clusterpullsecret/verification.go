// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/controller"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/rollout"
	"pullsecrets.dev/pkg/source"
	"pullsecrets.dev/pkg/verify"
)

const (
	// topicVerification is the topic of Events about rejected credentials.
	topicVerification = "verification"
	// checkTimeout is how long a changed source waits for the result of its check: the time of
	// the check itself, in which it may wait for others, and that of the read before it.
	checkTimeout = verify.MaxTime + 5*time.Second
	// rejectedRetry and unknownRetry are when a check without a good result is repeated, if
	// that is sooner than spec.verify.interval. A registry may need a while to know a new
	// credential.
	rejectedRetry, unknownRetry = 5 * time.Minute, 10 * time.Minute
)

// checker asks registries; it is a *verify.Checker.
type checker interface {
	Check(ctx context.Context, config dockerconfig.Config, questions []verify.Question, named bool) []verify.Answer
}

// verifications holds what is known of the credential of each ClusterPullSecret with
// spec.verify.
type verifications struct{ *memory.Store[verification] }

// verification is the last check of a credential.
type verification struct {
	of subject
	// started is when the current check started, or zero. verdict is that of the last one,
	// whose result is empty before the first.
	started time.Time
	verdict verify.Verdict
	// due is when the next check starts.
	due time.Time
	// dead are the digests of the credentials in the copies that the last check of them
	// rejected. They are still known when the source has changed.
	dead sets.Set[string]
}

// subject is what a verdict is about: the contents of copies, and the images that are asked
// for.
type subject struct {
	scope          source.Scope
	digest, images string
}

func subjectOf(cps *v1alpha1.ClusterPullSecret, facts source.Facts) subject {
	return subject{source.ScopeOf(cps), facts.Digest, strings.Join(cps.Spec.Verify.Images, "\n")}
}

// verify returns what is known of the credential of a valid source, and starts a check if one
// is due. changed means that it differs from that of the copies. While its first check runs,
// pending is true, for at most checkTimeout. A check runs in a goroutine of its own, so that a
// registry that does not answer blocks no other ClusterPullSecret.
func (r *Reconciler) verify(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts, changed bool) (verdict verify.Verdict, pending bool) {
	now, of, start := r.now(), subjectOf(cps, facts), false
	r.verifications.Do(keyFor(cps.Name), func(v *verification) bool {
		if v.of != of {
			*v = verification{of: of, dead: v.dead}
			if stood := cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted); stood.IsTrue() && !changed && sameImages(cps) {
				// A process that has just started does not repeat all checks at once.
				v.verdict, v.due = verify.Verdict{Result: verify.Accepted}, now.Add(rand.N(intervalOf(cps)))
			}
		}
		if !v.started.IsZero() && now.Sub(v.started) >= checkTimeout {
			v.started = time.Time{}
			v.conclude(verify.Verdict{Result: verify.Unknown, Message: "the check did not end"}, cps, now)
		}
		if start = v.started.IsZero() && !now.Before(v.due); start {
			v.started = now
		}
		verdict, pending = v.verdict, v.verdict.Result == ""
		return true
	})
	if start && !r.startCheck(ctx, cps, facts, of) {
		verdict, pending = r.conclude(cps, of, verify.Verdict{Result: verify.Unknown, Message: nothingToAsk}), false
	}
	return verdict, pending
}

// nothingToAsk is why a credential is not verified if there is no image.
const nothingToAsk = "no Service in the selected namespaces uses an image whose registry the source names"

// sameImages reports whether the condition is about the current spec.
func sameImages(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.ObservedGeneration == cps.Generation
}

func intervalOf(cps *v1alpha1.ClusterPullSecret) time.Duration {
	if cps.Spec.Verify.Interval != nil {
		return max(cps.Spec.Verify.Interval.Duration, v1alpha1.MinVerifyInterval)
	}
	return v1alpha1.DefaultVerifyInterval
}

// conclude records the verdict of a check, and when the next one is due.
func (v *verification) conclude(verdict verify.Verdict, cps *v1alpha1.ClusterPullSecret, now time.Time) {
	after := intervalOf(cps)
	switch verdict.Result {
	case verify.Rejected:
		after = min(after, rejectedRetry)
	case verify.Unknown:
		after = min(after, unknownRetry)
	}
	v.started, v.verdict = time.Time{}, verdict
	v.due = now.Add(after + rand.N(after/10))
}

// conclude records a verdict, unless the credential has changed meanwhile.
func (r *Reconciler) conclude(cps *v1alpha1.ClusterPullSecret, of subject, verdict verify.Verdict) verify.Verdict {
	r.verifications.Do(keyFor(cps.Name), func(v *verification) bool {
		if v.of == of {
			v.conclude(verdict, cps, r.now())
		}
		return v.of != subject{}
	})
	return verdict
}

// plan is what a check asks. open are the answers to what cannot be asked, and named means that
// the platform team named the images.
type plan struct {
	questions []verify.Question
	open      []verify.Answer
	named     bool
}

func (r *Reconciler) plan(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts) (p plan) {
	if p.named = len(cps.Spec.Verify.Images) > 0; !p.named {
		var unasked []string
		p.questions, unasked = verify.Plan(facts.Registries, r.candidates(ctx, cps), rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
		p.open = verify.Unasked(unasked)
		return p
	}
	var uncovered []string
	p.questions, uncovered = verify.PlanFor(facts.Registries, cps.Spec.Verify.Images)
	for _, image := range uncovered {
		p.open = append(p.open, verify.Answer{
			Question: verify.Question{Registry: "image " + image, Image: image},
			Result:   verify.Unknown, Why: "the source has no key with its registry",
		})
	}
	return p
}

// startCheck starts a check, and reports whether there is anything to ask.
func (r *Reconciler) startCheck(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts, of subject) bool {
	p := r.plan(ctx, cps, facts)
	if len(p.questions) == 0 && len(p.open) == 0 {
		return false
	}
	cps = cps.DeepCopy() // The caller changes its status.
	r.inBackground(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
		defer cancel()
		verdict, current := r.check(ctx, of, facts.ResourceVersion, p)
		if current {
			r.metrics.noteCheck(ctx, verdict.Result)
			r.conclude(cps, of, verdict)
		} else {
			r.verifications.Do(keyFor(cps.Name), func(v *verification) bool {
				if v.of == of {
					v.started = time.Time{}
				}
				return v.of != subject{}
			})
		}
		r.enqueue(cps.Name)
	})
	return true
}

// check asks the questions. current is false if the source has changed since they were
// planned. The credential is held for as long as the check takes.
func (r *Reconciler) check(ctx context.Context, of subject, version string, p plan) (verdict verify.Verdict, current bool) {
	held, facts, release, err := r.sources.Hold(ctx, of.scope, version)
	if err != nil {
		return verify.Verdict{Result: verify.Unknown, Message: "the source could not be read"}, true
	}
	defer release()
	if facts.Digest != of.digest {
		return verify.Verdict{}, false
	}
	answers := r.checker.Check(ctx, held, p.questions, p.named)
	return verify.Judge(append(answers, p.open...), p.named), true
}

// candidates returns the images of Services in the namespaces that a ClusterPullSecret selects.
func (r *Reconciler) candidates(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (all []verify.Candidate) {
	selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
	if err != nil {
		return nil // It grants nothing.
	}
	namespaces, _ := r.namespaces.List(selector) // A cache does not fail.
	for _, namespace := range namespaces {
		if !namespace.DeletionTimestamp.IsZero() || config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
			continue
		}
		services, _ := r.services.Services(namespace.Name).List(labels.Everything())
		for _, svc := range services {
			// Not whether the Service is Ready: a failing ingress says nothing about a credential.
			proven := rollout.IsKnownToHaveBeenReady(svc) && r.uses(svc, grant.SecretName(cps))
			for _, image := range catalog.Images(svc) {
				if !image.QueueProxy {
					all = append(all, verify.Candidate{Namespace: namespace.Name, Image: image.Reference, Proven: proven})
				}
			}
		}
	}
	return all
}

// uses reports whether the Pods of a Service use a Secret. They have the list of the template, or
// if that is empty, the one of their ServiceAccount, see pkg/coverage.
func (r *Reconciler) uses(svc *servingv1.Service, secret string) bool {
	list := svc.Spec.Template.Spec.ImagePullSecrets
	if len(list) == 0 {
		account, err := r.accounts.ServiceAccounts(svc.Namespace).Get(merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName))
		if err != nil {
			return false // It does not exist. A cache does not fail.
		}
		list = account.ImagePullSecrets
	}
	return slices.Contains(merge.NamesOf(list), secret)
}

// holdsBack sets the conditions by what is known of a credential, and reports whether it must
// not replace copies: it is rejected and they may have a good one, or its first check still runs. The first credential
// replaces nothing, so it is never held back.
func (r *Reconciler) holdsBack(ctx context.Context, cps *v1alpha1.ClusterPullSecret, facts source.Facts, changed bool) bool {
	ref, status := cps.Spec.SecretRef, &cps.Status
	if cps.Spec.Verify == nil {
		r.endVerification(ctx, cps)
		return false
	}
	verdict, pending := r.verify(ctx, cps, facts, changed)
	replaces := changed && status.Source != nil
	holds := replaces && (pending || r.worsens(cps, facts, verdict))
	if !changed && !pending {
		r.noteDead(cps.Name, facts, verdict)
	}
	var applies []events.Event
	switch {
	case pending && replaces:
		status.MarkCredentialPending(ref)
		status.MarkSourceUnverified(ref)
	case pending:
		status.MarkCredentialPending(ref)
	case verdict.Result == verify.Rejected:
		status.MarkCredentialRejected(ref, verdict.Message)
		applies = append(applies, events.CredentialRejected(ref, verdict.Message, holds))
		if holds {
			status.MarkSourceRejected(ref, verdict.Message)
		}
	case verdict.Result == verify.Accepted:
		status.MarkCredentialAccepted()
	default:
		status.MarkCredentialUnverified(ref, verdict.Message)
	}
	if !pending {
		rejected := verdict.Result == verify.Rejected
		r.metrics.noteRejected(cps.Name, &rejected)
		r.reporter.Report(controller.GetEventRecorder(ctx), cps, topicVerification, applies)
	}
	return holds
}

// noSource is why a credential is not verified if there is none.
const noSource = "the source is not ready"

// endVerification drops all that is known of a credential that is not verified, or of which there
// is no usable source.
func (r *Reconciler) endVerification(ctx context.Context, cps *v1alpha1.ClusterPullSecret) {
	if cps.Spec.Verify == nil {
		cps.Status.ClearCredentialAccepted()
	} else {
		cps.Status.MarkCredentialUnverified(cps.Spec.SecretRef, noSource)
	}
	r.verifications.Forget(keyFor(cps.Name))
	r.metrics.noteRejected(cps.Name, nil)
	r.reporter.Report(controller.GetEventRecorder(ctx), cps, topicVerification, nil)
}

// worsens reports whether a changed source has a rejected credential where the copies have
// another one that may be good. An entry that has long been dead does not hold up the others. If
// this process does not know what the copies have, any rejected credential counts.
func (r *Reconciler) worsens(cps *v1alpha1.ClusterPullSecret, facts source.Facts, verdict verify.Verdict) (worse bool) {
	copies := r.contentsOfCopies(cps, facts).credentials
	r.verifications.Do(keyFor(cps.Name), func(v *verification) bool {
		worse = slices.ContainsFunc(verdict.Rejected, func(registry string) bool {
			before, has := copies[registry]
			return !has || before != facts.Credentials[registry] && !v.dead.Has(before)
		})
		return v.of != subject{}
	})
	return worse
}

// noteDead records which credentials of the copies are rejected.
func (r *Reconciler) noteDead(name string, facts source.Facts, verdict verify.Verdict) {
	r.verifications.Do(keyFor(name), func(v *verification) bool {
		if verdict.Result != verify.Unknown {
			v.dead = sets.New[string]()
			for _, registry := range verdict.Rejected {
				v.dead.Insert(facts.Credentials[registry])
			}
		}
		return v.of != subject{}
	})
}

// untilCheck returns the delay until the next check of a credential, or until the current one
// has to end. It is zero if there is none.
func (r *Reconciler) untilCheck(name string) (left time.Duration) {
	r.verifications.Do(keyFor(name), func(v *verification) bool {
		switch {
		case v.of == subject{}:
			return false
		case !v.started.IsZero():
			left = v.started.Add(checkTimeout).Sub(r.now())
		default:
			left = v.due.Sub(r.now())
		}
		left = max(left, 0) // It is past while the source is not valid, which nothing but an event ends.
		return true
	})
	return left
}

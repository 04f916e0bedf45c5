// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/merge"
)

// effects finds images that are not covered, and what to do once they are.
func (s *subject) effects() {
	for _, result := range s.results {
		s.uncovered(result, nil)
	}
	s.expiring()
	s.useless()
	if s.failure.pull && !s.uncoveredImages() {
		s.failedPull()
	}
}

// uncovered adds the finding about an image that is not covered, once for both readers if
// they fail for the same reason.
func (s *subject) uncovered(r coverage.Result, revision *servingv1.Revision) {
	resolution, kubelet := r.Verdicts[dockerconfig.TagResolution], r.Verdicts[dockerconfig.Kubelet]
	switch {
	case same(resolution, kubelet):
		s.verdict(r, resolution, "tag resolution and the kubelet", revision)
	default:
		s.verdict(r, resolution, "tag resolution", revision)
		s.verdict(r, kubelet, "the kubelet", revision)
	}
}

// same reports whether two verdicts are about the same Secret and reason.
func same(a, b coverage.Verdict) bool {
	e, _ := a.Decisive()
	f, _ := b.Decisive()
	return a.Reason == b.Reason && e.Secret == f.Secret && e.Key == f.Key && e.Better == f.Better
}

// verdict adds the finding of one verdict.
func (s *subject) verdict(r coverage.Result, v coverage.Verdict, reader string, revision *servingv1.Revision) {
	if v.Reason.OK() || v.Reason == coverage.NotChecked {
		return
	}
	entry, _ := v.Decisive()
	about := about{Result: r, Verdict: v, entry: entry}
	about.code, about.fact, about.remedy = Code(v.Reason), v.Message(), v.Remedy()
	s.refine(&about)
	if about.code == "" {
		return
	}
	severity := s.severityIn(revision, about)
	if severity == "" {
		return
	}
	where := fmt.Sprintf("%s %s, image %s", r.Kind, r.Name, quoted(r.Reference))
	if r.Kind == coverage.QueueProxy {
		where = fmt.Sprintf("the %s, image %s", r.Kind, quoted(r.Reference))
	}
	if revision != nil {
		where = "Revision " + revision.Name + ", " + where
	}
	s.find(about.code, severity, fmt.Sprintf("%s: %s (%s)", where, about.fact, reader), about.remedy, about.command)
}

// about is a verdict on the way to a finding.
type about struct {
	coverage.Result
	coverage.Verdict
	entry                 coverage.Entry
	code                  Code
	fact, remedy, command string
}

// refine says more about a verdict than one pull secret list alone can. It clears the code if
// another finding covers the verdict.
func (s *subject) refine(a *about) {
	switch a.Reason {
	case coverage.NotListed:
		s.refineNotListed(a)
	case coverage.Missing:
		s.refineMissing(a)
	case coverage.NotGranted:
		a.command = s.selectNamespace(a.entry.Secret)
	case coverage.WrongType:
		a.remedy, a.command = s.retype(a.entry.Secret, a.remedy), s.create(a.entry.Secret, a.host())
	case coverage.Malformed, coverage.Expired, coverage.NoCredential:
		s.refineContent(a, a.entry.Secret, s.Secrets[a.entry.Secret].Replaceable.Key)
	case coverage.WrongKey:
		s.refineWrongKey(a)
	case coverage.Shadowed:
		first := a.First().Secret
		s.refineContent(a, first, s.Secrets[first].Replaceable.Key)
	case coverage.InvalidName:
		a.remedy = removeName
	case coverage.NoMatch:
		s.refineNoMatch(a)
	case coverage.NoPullSecrets:
		if Worst(s.findings) == Error {
			a.code = "" // A cause was found before.
			return
		}
		a.command = s.declareCommand(placeholder)
	}
	s.refineQueueProxy(a)
}

// refineQueueProxy says more about the queue-proxy, which nobody lists in a template. That of
// Knative's releases is public.
func (s *subject) refineQueueProxy(a *about) {
	if a.Kind != coverage.QueueProxy || a.code == "" {
		return
	}
	if a.Reason == coverage.Malformed || a.code == InvalidName {
		a.code = "" // It is the same for every image.
	}
	if !a.Reason.Anonymous() {
		return
	}
	if isPublic(a.Result) && s.failure.container != a.Name {
		a.code = ""
		return
	}
	if a.Reason == coverage.Missing && s.mayBeCopy(a.entry.Secret) {
		return
	}
	if slices.Contains([]coverage.Reason{coverage.NoMatch, coverage.NoPullSecrets, coverage.Missing, coverage.WrongType, coverage.NotGranted}, a.Reason) {
		a.code, a.fact = QueueProxy, "no pull secret covers the queue-proxy, which runs in every Pod"
		a.remedy, a.command = "declare a pull secret for its registry for the Namespace", s.declareNamespace(placeholder)
	}
}

// isPublic reports whether an image is that of the queue-proxy in Knative's releases.
func isPublic(r coverage.Result) bool {
	return r.Kind == coverage.QueueProxy && strings.HasPrefix(r.Reference, publicQueueProxy)
}

// refineNotListed finds out why a Secret with a credential is not in the list.
func (s *subject) refineNotListed(a *about) {
	secret := a.entry.Secret
	declared := slices.ContainsFunc(slices.Concat(s.next.Added, s.due.Added), func(e merge.Entry) bool { return e.Name == secret })
	withheld := slices.ContainsFunc(s.next.Withheld, func(e merge.Entry) bool { return e.Name == secret })
	switch {
	case declared, withheld:
		a.code = "" // See deferred and withheldNames.
	case a.entry.ServiceAccount:
		a.code = AccountHidden
		a.fact = fmt.Sprintf("Secret %s of ServiceAccount %s has the credential, but Kubernetes ignores the ServiceAccount's list, because the template has its own", secret, s.account())
		a.remedy, a.command = "add it to the Service", s.declareCommand(secret)
	default:
		a.command = s.declareCommand(secret)
		a.remedy = "declare it for the Service or its Namespace"
		if why := s.grantsUnread(); why != "" {
			a.remedy = "unless it is declared already, which was not checked (" + why + "), " + a.remedy
		}
		if s.excluded != "" || s.declaration.Policy.Disabled {
			a.code = "" // See optedOut.
		}
	}
}

// refineWrongKey says how to correct a key. Of Docker Hub, the two readers need different keys for
// one path, so there is no command that writes one key.
func (s *subject) refineWrongKey(a *about) {
	key := a.entry.Better
	if !dockerconfig.KeyCovers(key, a.Reference) {
		a.remedy, key = "add the key "+quoted(key)+", and keep this one for the other reader", ""
	}
	s.refineContent(a, a.entry.Secret, key)
}

// refineContent says how to write the credential in a Secret under a key: at the source if it is a
// copy. The source holds no further credential if the copy has none and is of the source as it is
// now.
func (s *subject) refineContent(a *about, secret, key string) {
	known := s.Secrets[secret]
	if known.Owner == "" {
		a.command = replace(s.Service.Namespace, secret, known.Replaceable, key)
		if a.Reason == coverage.Expired && !known.Expires.IsZero() {
			a.remedy += ", and correct its annotation " + pullsecrets.ExpiresAnnotation
		}
		return
	}
	a.remedy = fmt.Sprintf("the Secret is a copy: correct the source of ClusterPullSecret %s, and the copy follows", known.Owner)
	cps := s.clusterPullSecret(known.Owner)
	if cps == nil {
		a.command = describe(known.Owner)
		return
	}
	source := known.Replaceable
	if len(cps.Spec.Registries) > 0 || !isCurrent(cps, known) || !cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue() {
		source = Replaceable{} // The copy does not say what the source has.
	}
	a.command = replace(cps.Spec.SecretRef.Namespace, cps.Spec.SecretRef.Name, source, key)
}

// refineNoMatch finds a key for another path of the same host.
func (s *subject) refineNoMatch(a *about) {
	a.command = s.declareCommand(placeholder)
	host := a.host()
	for _, e := range a.Entries {
		for _, entry := range s.Secrets[e.Secret].Facts.Entries {
			keyHost, path, hasPath := strings.Cut(entry.Key, "/")
			if keyHost == host && hasPath && !e.Unread {
				a.code = OtherPath
				a.fact = fmt.Sprintf("key %s of Secret %s is for the path /%s alone, and does not match %s", quoted(entry.Key), e.Secret, Line(path), quoted(a.Repository))
				a.remedy = "use a key for the host, or for the path of the image; other images may need this one"
				a.command = editSecret(s.Service.Namespace, e.Secret)
				if owner := s.Secrets[e.Secret].Owner; owner != "" {
					a.remedy = fmt.Sprintf("the Secret is a copy: have ClusterPullSecret %s cover the image, by its source or spec.registries", owner)
					a.command = describe(owner)
				}
				return
			}
		}
	}
}

// host returns the host at which the reader looks for the image.
func (a *about) host() string {
	host, _, _ := strings.Cut(a.Repository, "/")
	if host == "docker.io" || host == "index.docker.io" {
		return "https://index.docker.io/v1/"
	}
	return host
}

// severityIn is severity for an image of an earlier Revision, or of the newest one if it is nil. Of
// an earlier one, only its condition counts.
func (s *subject) severityIn(revision *servingv1.Revision, a about) Severity {
	if revision == nil {
		return severity(s.failure, a)
	}
	f := failure{ready: string(metav1.ConditionUnknown)}
	if ready := revision.Status.GetCondition(servingv1.RevisionConditionReady); ready != nil {
		f.ready = string(ready.Status)
	}
	return severity(f, a)
}

// severity returns how bad an uncovered image is, by what is observed of its Revision, or an empty
// string for what is no finding.
func severity(f failure, a about) Severity {
	failed := f.pull && (f.container == "" || f.container == a.Name)
	unready := f.ready != string(metav1.ConditionTrue)
	switch a.like() {
	case QueueProxy:
		switch {
		case f.container == a.Name:
			return Error
		case unready && f.ready != "Unknown" && !f.rejected:
			return Warning
		}
		return ""
	case NoMatch, NoPullSecrets, OtherPath, NotListed:
		switch {
		case failed:
			return Error
		case unready, a.code == OtherPath && !a.ByDigest:
			return Warning
		}
		return "" // A Service that is Ready may use public images.
	case AccountHidden, WrongKey, NotGranted, Missing, WrongType, NoCredential:
		if failed {
			return Error
		}
		return Warning
	}
	return Error
}

// publicQueueProxy is where Knative's releases have their images.
const publicQueueProxy = "gcr.io/knative-releases/"

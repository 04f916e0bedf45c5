// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"pullsecrets.dev/pkg/config"
)

// webhooks checks that the webhook answers, its order and its certificates.
func (i *inspection) webhooks() {
	switch {
	case i.InstalledProfile() == config.InjectOnly:
		i.unknown("webhook answers", "not checked (the dry run is a ClusterPullSecret, which profile "+string(config.InjectOnly)+" has not)")
	case !i.Served:
		i.unknown("webhook answers", "not checked (the API server does not serve ClusterPullSecrets)")
	case !i.Asked:
		i.unknown("webhook answers", "not checked (the dry run did not show it)")
	case i.Answer != "":
		i.failed("webhook answers", "no", found(WebhookUnreachable, Error, "webhook", "the API server does not reach the webhook: "+Line(i.Answer),
			"see docs/troubleshooting.md#the-api-server-does-not-reach-the-webhook"))
	default:
		i.ok("webhook answers", "a dry run was admitted")
	}
	if i.Webhooks == nil {
		i.unknown("webhook configurations", "not checked (cannot list webhook configurations)")
		return
	}
	i.configurations()
	i.order()
	i.certificates()
}

// order checks that Services get their pull secrets before Knative's webhook sees them. The API server
// calls webhooks in the order of the names of their configurations.
func (i *inspection) order() {
	switch ours, theirs := i.first(injectWebhook), i.first(knativeWebhook); {
	case ours == "":
	case theirs == "":
		i.unknown("webhook order", "Knative's webhook "+knativeWebhook+" was not found")
	case ours > theirs:
		f := i.lacking(WebhookOrder, "MutatingWebhookConfiguration "+ours, "its webhook "+injectWebhook+" is called after that of "+theirs+", by the names of the configurations")
		f.Remedy += ", then delete this configuration"
		if f.Command != "" {
			f.Command += command(" && kubectl delete mutatingwebhookconfigurations %s", ours)
		}
		i.failed("webhook order", "wrong", f)
	default:
		i.ok("webhook order", ours+" is called before "+theirs)
	}
}

// first returns the name of the first mutating configuration with a webhook, or an empty string.
func (i *inspection) first(webhook string) (name string) {
	for _, w := range i.Webhooks {
		if w.Mutating && slices.Contains(w.Webhooks, webhook) && (name == "" || w.Name < name) {
			name = w.Name
		}
	}
	return name
}

// requiredWebhook is a webhook configuration, which has the name of its webhook.
type requiredWebhook struct {
	name     string
	mutating bool
	// secrets are those that only the profile full has.
	secrets bool
	lacks   string
}

// kind returns the kind of the webhook configuration.
func (w requiredWebhook) kind() string {
	if w.mutating {
		return "MutatingWebhookConfiguration"
	}
	return "ValidatingWebhookConfiguration"
}

// is reports whether it is the webhook configuration that was read, which may have been renamed.
func (w requiredWebhook) is(read Webhook) bool {
	return w.mutating == read.Mutating && slices.Contains(read.Webhooks, w.name)
}

// requiredWebhooks are the webhook configurations of the installation, with what a cluster lacks
// without them. The API server admits what it calls no webhook for.
var requiredWebhooks = []requiredWebhook{
	{injectWebhook, true, false, "new Services get no pull secrets at once"},
	{"bind.pullsecrets.dev", true, false, "new ServiceAccounts get no pull secrets at once"},
	{"defaulting.pullsecrets.dev", true, true, "ClusterPullSecrets get no defaults"},
	{"validation.pullsecrets.dev", false, true, "invalid ClusterPullSecrets are admitted"},
	{"config.pullsecrets.dev", false, false, "invalid settings are admitted"},
}

// configurations checks that the webhook configurations exist.
func (i *inspection) configurations() {
	failed, exist := false, 0
	for _, required := range requiredWebhooks {
		at := slices.IndexFunc(i.Webhooks, required.is)
		switch exists := at >= 0; {
		case exists && required.secrets && i.Profile == config.InjectOnly:
			failed = true
			left := i.Webhooks[at].Name
			i.failed("webhook configurations", left+" is left", found(Leftover, Error, required.kind()+" "+left,
				"it is left of another profile, and no program serves it, so changes of ClusterPullSecrets fail", "delete it").
				with(command("kubectl delete "+strings.ToLower(required.kind())+"s %s", left)))
			continue
		case exists:
			exist++
			continue
		case required.secrets && i.InstalledProfile() != config.Full:
			continue
		}
		failed = true
		i.failed("webhook configurations", required.name+" is missing", i.lacking(MissingObject, required.kind()+" "+required.name, "no configuration has its webhook, so "+required.lacks))
	}
	if !failed {
		i.ok("webhook configurations", fmt.Sprintf("%d exist", exist))
	}
}

// certificates checks the CA bundles of the installation's webhooks.
func (i *inspection) certificates() {
	failed, checked := false, 0
	for _, w := range i.Webhooks {
		left := i.InstalledProfile() == config.InjectOnly && slices.ContainsFunc(requiredWebhooks, func(r requiredWebhook) bool { return r.secrets && r.is(w) })
		if left || !slices.ContainsFunc(w.Webhooks, func(webhook string) bool { return strings.HasSuffix(webhook, ".pullsecrets.dev") }) {
			continue
		}
		checked++
		object := "webhook configuration " + w.Name
		switch {
		case !w.CA:
			failed = true
			i.failed("certificates", w.Name, found(Certificate, Error, object, "it has no CA bundle, so the API server cannot call it", "see the log of the webhook").
				with("kubectl -n pullsecrets-system logs -l app.kubernetes.io/component=webhook --prefix --tail=-1"))
		case !w.Expires.IsZero() && w.Expires.Sub(i.Now.Time) < renewable:
			failed = true
			i.failed("certificates", w.Name, found(Certificate, Error, object, fmt.Sprintf("its CA bundle is valid until %s, and was not renewed", w.Expires.UTC().Format(rfc3339)), "see the log of the webhook").
				with("kubectl -n pullsecrets-system logs -l app.kubernetes.io/component=webhook --prefix --tail=-1"))
		}
	}
	if !failed && checked > 0 {
		i.ok("certificates", "valid")
	}
}

// policies checks that each policy is there and bound.
func (i *inspection) policies() {
	if i.Policies == nil {
		i.unknown("policies", "not checked (cannot list validatingadmissionpolicies)")
		return
	}
	failed := false
	for _, policy := range requiredPolicies {
		bound, exists := i.Policies[policy]
		if exists && bound {
			continue
		}
		failed = true
		message := "it has no binding with the action Deny, so it restricts nothing"
		if !exists {
			message = "it does not exist"
		}
		i.failed("policies", policy, i.lacking(PolicyUnbound, "ValidatingAdmissionPolicy "+policy, message))
	}
	if i.policyOfProfile() || failed {
		return
	}
	bound := len(requiredPolicies)
	if i.InstalledProfile() == config.InjectOnly {
		bound++
	}
	i.ok("policies", fmt.Sprintf("%d bound", bound))
}

// injectOnlyPolicy rejects ClusterPullSecrets. The profile inject-only alone has it.
const injectOnlyPolicy = "inject-only.pullsecrets.dev"

// policyOfProfile checks the policy that only one profile has, and reports whether that failed. An
// upgrade to another profile by kubectl apply leaves it. Nothing is said if the controller does not show
// the profile.
func (i *inspection) policyOfProfile() (failed bool) {
	bound, exists := i.Policies[injectOnlyPolicy]
	const object = "ValidatingAdmissionPolicy " + injectOnlyPolicy
	var f Finding
	switch full := i.Profile == config.Full; {
	case i.Profile == "", full && !exists, !full && bound:
		return false
	case full:
		f = found(Leftover, Warning, object, "it is left of another profile, and rejects nothing", "delete it")
		if bound {
			f = found(Leftover, Error, object, "it is left of another profile, and rejects every ClusterPullSecret", "delete it with its binding")
		}
		f = f.with("kubectl delete --ignore-not-found validatingadmissionpolicybindings,validatingadmissionpolicies " + injectOnlyPolicy)
	case exists:
		f = i.lacking(PolicyUnbound, object, "it has no binding with the action Deny, so ClusterPullSecrets are admitted, and nothing reconciles them")
	default:
		f = i.lacking(PolicyUnbound, object, "it does not exist, so ClusterPullSecrets are admitted, and nothing reconciles them")
	}
	i.failed("policies", injectOnlyPolicy, f)
	return true
}

// lacking is the finding of an object of the installation that does not exist or lacks a part. There
// is a command for the profile full alone: over another one, release.yaml would install full.
func (i *inspection) lacking(code Code, object, message string) Finding {
	switch i.InstalledProfile() {
	case config.Full:
		return found(code, Error, object, message, "apply the manifests of the release again").with("kubectl apply -f release.yaml")
	case config.InjectOnly:
		return found(code, Error, object, message, "apply your overlay with the component inject-only again")
	}
	return found(code, Error, object, message, "apply the manifests that it was installed from again")
}

// leaders checks that somebody holds each lease of the controller: each reconciler has its own.
func (i *inspection) leaders() {
	if i.Leases == nil {
		i.unknown("leader", "not checked (cannot list leases in namespace pullsecrets-system)")
		return
	}
	var holders, stale []string
	for _, l := range current(i.Leases) {
		if l.Holder == "" || l.Renewed.IsZero() || i.Now.Sub(l.Renewed.Time).Seconds() > float64(l.Seconds) {
			stale = append(stale, l.Name)
		} else if !slices.Contains(holders, l.Holder) {
			holders = append(holders, l.Holder)
		}
	}
	if len(holders) > 0 && len(stale) == 0 {
		i.ok("leader", strings.Join(holders, ", "))
		return
	}
	detail, message := "none", "no controller has renewed its lease, so nothing is reconciled"
	remedy := "see the log of the controller"
	if len(holders) > 0 {
		detail = fmt.Sprintf("%d leases without", len(stale))
		message = "not renewed, so what they are for is not reconciled: " + strings.Join(stale, ", ")
		remedy += "; delete a lease that an earlier release left"
	}
	i.failed("leader", detail, found(NoLeader, Error, "leases in namespace pullsecrets-system", message, remedy).
		with("kubectl -n pullsecrets-system logs -l app.kubernetes.io/component=controller --prefix --tail=-1"))
}

// current returns the leases without those of an earlier number of buckets. Each reconciler has
// one lease for each bucket, whose name ends in its number and their count.
func current(leases []Lease) (now []Lease) {
	buckets := func(l Lease) string { return l.Name[strings.LastIndexByte(l.Name, '-')+1:] }
	var newest Lease
	for _, l := range leases {
		if newest.Renewed.Before(&l.Renewed) {
			newest = l
		}
	}
	for _, l := range leases {
		if buckets(l) == buckets(newest) {
			now = append(now, l)
		}
	}
	return now
}

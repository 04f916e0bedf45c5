// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/config"
)

// configuration returns the configuration of a webhook.
func configuration(name string, mutating bool) Webhook {
	return Webhook{Name: name, Mutating: mutating, Webhooks: []string{name}, CA: true, Expires: metav1.Unix(1e6, 0)}
}

// renamed renames the configuration of the webhook for Services.
func renamed(name string) func(*Installation) {
	return func(in *Installation) { in.Webhooks[0].Name = name }
}

// installed returns an installation in order.
func installed(change func(*Installation)) *Installation {
	in := &Installation{
		Kubernetes: "v1.36.3", Knative: "v1.23.0", Version: "v1.0.0", Profile: config.Full, Served: true, Rights: true, Asked: true,
		Deployments: map[string]int32{"controller": 1, "webhook": 2}, Policies: map[string]bool{},
		Webhooks: []Webhook{configuration(injectWebhook, true), configuration(knativeWebhook, true)},
		Settings: SettingsValid,
		Leases:   []Lease{{Name: "controller.x.00-of-01", Holder: "a", Renewed: metav1.Unix(990, 0), Seconds: 15}},
		Now:      metav1.Unix(1000, 0),
	}
	for _, policy := range requiredPolicies {
		in.Policies[policy] = true
	}
	for _, w := range requiredWebhooks[1:] {
		in.Webhooks = append(in.Webhooks, configuration(w.name, w.mutating))
	}
	if change != nil {
		change(in)
	}
	return in
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		reason string
		change func(*Installation)
		// code is that of the only finding, or empty.
		code Code
		// unknown is the number of checks without a result.
		unknown int
	}{
		{"in order", nil, "", 0},
		{"an old Kubernetes", func(in *Installation) { in.Kubernetes = "v1.33.9" }, OldVersion, 0},
		{"a version of a provider", func(in *Installation) { in.Kubernetes = "v1.35.2-gke.100" }, "", 0},
		{"an old Knative", func(in *Installation) { in.Knative = "v1.15.0" }, OldVersion, 0},
		{"an unknown Knative", func(in *Installation) { in.Knative = "" }, "", 1},
		{"no Knative", func(in *Installation) { in.KnativeMissing = true }, MissingObject, 0},
		{"no API", func(in *Installation) { in.Served = false }, NotInstalled, 1},
		{"no settings, so the defaults apply", func(in *Installation) { in.Settings = SettingsMissing }, "", 0},
		{"unknown settings", func(in *Installation) { in.Settings = "" }, "", 1},
		{"no validation", func(in *Installation) {
			in.Webhooks = slices.DeleteFunc(in.Webhooks, func(w Webhook) bool { return w.Name == "validation.pullsecrets.dev" })
		}, MissingObject, 0},
		{"an invalid setting", func(in *Installation) { in.SettingsError = "backfill: no" }, InvalidSetting, 0},
		{"a missing right", func(in *Installation) { in.Denied = []string{"list secrets"} }, MissingRight, 0},
		{"unknown rights", func(in *Installation) { in.Rights = false }, "", 1},
		{"no Deployment", func(in *Installation) { in.Deployments["webhook"] = -1 }, MissingObject, 0},
		{"no replica", func(in *Installation) { in.Deployments["webhook"] = 0 }, Unavailable, 0},
		{"unknown Deployments", func(in *Installation) { in.Deployments = nil }, "", 2},
		{"no answer", func(in *Installation) { in.Answer = "context deadline exceeded" }, WebhookUnreachable, 0},
		{"the profile inject-only", injectOnly(nil), "", 1},
		{"the profile inject-only without its policy", injectOnly(func(in *Installation) { delete(in.Policies, injectOnlyPolicy) }), PolicyUnbound, 1},
		{"the profile inject-only with an unbound policy", injectOnly(func(in *Installation) { in.Policies[injectOnlyPolicy] = false }), PolicyUnbound, 1},
		{"a webhook configuration of the profile full", injectOnly(func(in *Installation) {
			in.Webhooks = append(in.Webhooks, Webhook{Name: "validation.pullsecrets.dev", Webhooks: []string{"validation.pullsecrets.dev"}}) // Nobody renews its CA bundle.
		}), Leftover, 1},
		{"the policy of the profile inject-only", func(in *Installation) { in.Policies[injectOnlyPolicy] = true }, Leftover, 0},
		{"that policy without its binding", func(in *Installation) { in.Policies[injectOnlyPolicy] = false }, Leftover, 0},
		{"that policy, and an unknown profile", func(in *Installation) {
			in.Deployments, in.Profile, in.Policies[injectOnlyPolicy] = nil, "", true
		}, "", 3},
		{"an unknown profile, without what only the profile full has", injectOnly(func(in *Installation) {
			in.Profile, in.Asked = "", true
			delete(in.Policies, injectOnlyPolicy)
		}), "", 0},
		{"not asked", func(in *Installation) { in.Asked = false }, "", 1},
		{"no webhook", func(in *Installation) { in.Webhooks = in.Webhooks[1:] }, MissingObject, 0},
		{"a renamed configuration that is called after Knative's", renamed("zz-inject"), WebhookOrder, 0},
		{"one that is called before", renamed("a-inject"), "", 0},
		{"one that nobody renews the CA bundle of", func(in *Installation) { renamed("a-inject")(in); in.Webhooks[0].CA = false }, Certificate, 0},
		{"one that is called after, beside the right one", func(in *Installation) {
			in.Webhooks = append(in.Webhooks, in.Webhooks[0])
			renamed("zz-inject")(in)
		}, "", 0},
		{"a configuration without its webhook", func(in *Installation) { in.Webhooks[0].Webhooks = nil }, MissingObject, 0},
		{"a configuration of the profile full with another name", injectOnly(func(in *Installation) {
			w := configuration("validation.pullsecrets.dev", false)
			w.Name = "other"
			in.Webhooks = append(in.Webhooks, w)
		}), Leftover, 1},
		{"no webhook of Knative", func(in *Installation) { in.Webhooks = slices.Delete(in.Webhooks, 1, 2) }, "", 1},
		{"unknown webhooks", func(in *Installation) { in.Webhooks = nil }, "", 1},
		{"no CA", func(in *Installation) { in.Webhooks[0].CA = false }, Certificate, 0},
		{"an old CA", func(in *Installation) { in.Webhooks[0].Expires = metav1.NewTime(in.Now.Add(time.Hour)) }, Certificate, 0},
		{"no policy", func(in *Installation) { delete(in.Policies, requiredPolicies[0]) }, PolicyUnbound, 0},
		{"an unbound policy", func(in *Installation) { in.Policies[requiredPolicies[0]] = false }, PolicyUnbound, 0},
		{"unknown policies", func(in *Installation) { in.Policies = nil }, "", 1},
		{"a cluster with MutatingAdmissionPolicies, and none is installed", func(in *Installation) {
			in.MutatingPolicies, in.OutagePolicies = true, map[string]string{"MutatingAdmissionPolicy other": ""}
		}, OutagePolicies, 0},
		{"the policies for an outage", withOutage(func(map[string]string) {}), "", 0},
		{"a missing binding of one", withOutage(func(p map[string]string) { delete(p, outagePolicies[1]) }), OutagePolicies, 0},
		{"an old one", withOutage(func(p map[string]string) { p[outagePolicies[0]] = "v0.9.0" }), OutagePolicies, 0},
		{"unknown policies for an outage", func(in *Installation) { in.MutatingPolicies = true }, "", 1},
		{"before, with MutatingAdmissionPolicies", func(in *Installation) {
			*in = Installation{Before: true, Kubernetes: "v1.36.0", Knative: "1.23.0", Rights: true, MutatingPolicies: true}
		}, "", 0},
		{"an old lease", func(in *Installation) { in.Leases[0].Renewed = metav1.Unix(900, 0) }, NoLeader, 0},
		{"an old lease beside one that is held", func(in *Installation) {
			in.Leases = append(in.Leases, Lease{Name: "controller.y.00-of-01", Holder: "a", Renewed: metav1.Unix(900, 0), Seconds: 15})
		}, NoLeader, 0},
		{"a released lease beside one that is held", func(in *Installation) {
			in.Leases = append(in.Leases, Lease{Name: "controller.a.00-of-01", Renewed: metav1.Unix(999, 0), Seconds: 15})
		}, NoLeader, 0},
		{"an old lease of another number of buckets", func(in *Installation) {
			in.Leases = append(in.Leases, Lease{Name: "controller.x.01-of-02", Holder: "a", Renewed: metav1.Unix(900, 0), Seconds: 15})
		}, "", 0},
		{"no lease", func(in *Installation) { in.Leases = []Lease{} }, NoLeader, 0},
		{"unknown leases", func(in *Installation) { in.Leases = nil }, "", 1},
		{"before, in order", func(in *Installation) {
			*in = Installation{Before: true, Kubernetes: "v1.34.0", Knative: "1.16.0", Rights: true}
		}, "", 0},
		{"before, without rights", func(in *Installation) {
			*in = Installation{Before: true, Kubernetes: "v1.34.0", Knative: "1.16.0", Rights: true, Denied: []string{"create namespaces"}}
		}, MissingRight, 0},
	} {
		checks, findings := Check(installed(test.change))
		unknown, failed := 0, 0
		bad := len(slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Severity == Info }))
		for _, c := range checks {
			if c.OK == nil {
				unknown++
			} else if !*c.OK {
				failed++
			}
		}
		switch {
		case unknown != test.unknown:
			t.Errorf("%s: %d checks are unknown, want %d: %+v", test.reason, unknown, test.unknown, checks)
		case failed != bad:
			t.Errorf("%s: %d checks failed, %d findings", test.reason, failed, bad)
		case test.code == "" && len(findings) > 0, test.code != "" && (len(findings) != 1 || findings[0].Code != test.code):
			t.Errorf("%s: findings\n%s\nwant %q", test.reason, listed(findings), test.code)
		}
	}
}

// No command installs another profile over the one that is installed.
func TestRemedyKeepsTheProfile(t *testing.T) {
	const full, overlay, unknown = "Apply the manifests of the release again", "Apply your overlay with the component inject-only again", "Apply the manifests that it was installed from again"
	noController := func(in *Installation) { in.Deployments["controller"], in.Profile = -1, "" }
	unread := func(in *Installation) { in.Deployments, in.Profile = nil, "" }
	noInjection := func(in *Installation) {
		in.Webhooks = slices.DeleteFunc(in.Webhooks, func(w Webhook) bool { return w.Name == injectWebhook })
	}
	for _, test := range []struct {
		reason  string
		changes []func(*Installation)
		code    Code
		remedy  string
		command string
	}{
		{"the profile full", []func(*Installation){noInjection}, MissingObject, full, "kubectl apply -f release.yaml"},
		{"the profile full lacks a right", []func(*Installation){func(in *Installation) { in.Denied = []string{"list secrets"} }}, MissingRight, full, "kubectl apply -f release.yaml"},
		{"the profile full with a renamed configuration", []func(*Installation){renamed("zz inject")}, WebhookOrder, full + ", then delete this configuration",
			"kubectl apply -f release.yaml && kubectl delete mutatingwebhookconfigurations 'zz inject'"},
		{"inject-only with a renamed configuration", []func(*Installation){injectOnly(renamed("zz-inject"))}, WebhookOrder, overlay + ", then delete this configuration", ""},
		{"inject-only", []func(*Installation){injectOnly(noInjection)}, MissingObject, overlay, ""},
		{"inject-only lacks a right", []func(*Installation){injectOnly(func(in *Installation) { in.Denied = []string{"list namespaces"} })}, MissingRight, overlay, ""},
		{"inject-only without its controller", []func(*Installation){injectOnly(noController)}, MissingObject, overlay, ""},
		{"inject-only, and Deployments may not be read", []func(*Installation){injectOnly(unread), noInjection}, MissingObject, overlay, ""},
		{"an unknown profile without its controller", []func(*Installation){noController}, MissingObject, unknown, ""},
		{"an unknown profile without injection", []func(*Installation){unread, noInjection}, MissingObject, unknown, ""},
		{"an unknown profile without its API", []func(*Installation){unread, func(in *Installation) { in.Served = false }}, NotInstalled, unknown, ""},
		{"an unknown profile without a policy", []func(*Installation){unread, func(in *Installation) { delete(in.Policies, requiredPolicies[0]) }}, PolicyUnbound, unknown, ""},
		{"an unknown profile lacks a right", []func(*Installation){unread, func(in *Installation) { in.Denied = []string{"list namespaces"} }}, MissingRight, unknown, ""},
		{"an unknown profile, and policies may not be read", []func(*Installation){unread, noInjection, func(in *Installation) { in.Policies = nil }}, MissingObject, unknown, ""},
	} {
		_, findings := Check(installed(func(in *Installation) {
			for _, change := range test.changes {
				change(in)
			}
		}))
		if len(findings) != 1 || findings[0].Code != test.code || findings[0].Remedy != test.remedy || findings[0].Command != test.command {
			t.Errorf("%s: findings\n%s\nwant %s, %q, %q", test.reason, listed(findings), test.code, test.remedy, test.command)
		}
	}
}

// injectOnly has the profile inject-only, with a change.
func injectOnly(change func(*Installation)) func(*Installation) {
	return func(in *Installation) {
		in.Profile, in.Asked, in.Policies[injectOnlyPolicy] = config.InjectOnly, false, true
		in.Webhooks = slices.DeleteFunc(in.Webhooks, func(w Webhook) bool {
			return slices.ContainsFunc(requiredWebhooks, func(r requiredWebhook) bool { return r.secrets && r.name == w.Name })
		})
		if change != nil {
			change(in)
		}
	}
}

// withOutage has the policies for an outage, with a change.
func withOutage(change func(map[string]string)) func(*Installation) {
	return func(in *Installation) {
		in.MutatingPolicies, in.OutagePolicies = true, map[string]string{}
		for _, object := range outagePolicies {
			in.OutagePolicies[object] = in.Version
		}
		change(in.OutagePolicies)
	}
}

// Each policy of the manifests is checked, and no other.
func TestEachPolicyIsRequired(t *testing.T) {
	want := inManifests(t, "7*.yaml", `(?m)^kind: ValidatingAdmissionPolicy\nmetadata:\n  name: (\S+)$`)
	if got := slices.Sorted(slices.Values(requiredPolicies)); !slices.Equal(got, want) {
		t.Errorf("the required policies are %q, those of the manifests %q", got, want)
	}
	for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
		if got := inManifests(t, "../kustomize/components/inject-only/policy.yaml", `(?m)^kind: `+kind+`\nmetadata:\n  name: (\S+)$`); !slices.Equal(got, []string{injectOnlyPolicy}) {
			t.Errorf("the objects of kind %s in the profile inject-only are %q, want %s", kind, got, injectOnlyPolicy)
		}
	}
	var webhooks []string
	for _, w := range requiredWebhooks {
		webhooks = append(webhooks, w.name)
	}
	slices.Sort(webhooks)
	if want := inManifests(t, "60*.yaml", `(?m)^kind: (?:Mutating|Validating)WebhookConfiguration\nmetadata:\n  name: (\S+)$`); !slices.Equal(webhooks, want) {
		t.Errorf("the required webhook configurations are %q, those of the manifests %q", webhooks, want)
	}
	if got := inManifests(t, "60*.yaml", `(?m)^  - name: (\S+\.pullsecrets\.dev)$`); !slices.Equal(got, webhooks) {
		t.Errorf("the webhooks of the manifests are %q, want one in each configuration, with its name", got)
	}
	var outage []string
	for _, kind := range []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} {
		for _, name := range inManifests(t, "outage/*.yaml", `(?m)^kind: `+kind+`\nmetadata:\n  name: (\S+)$`) {
			outage = append(outage, kind+" "+name)
		}
	}
	if got := slices.Sorted(slices.Values(outagePolicies)); !slices.Equal(got, slices.Sorted(slices.Values(outage))) {
		t.Errorf("the policies for an outage are %q, those of the manifests %q", got, outage)
	}
}

// inManifests returns what an expression matches in files of config, sorted.
func inManifests(t *testing.T, pattern, expression string) (want []string) {
	t.Helper()
	files, err := filepath.Glob("../../config/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("found no policies: %v", err)
	}
	name := regexp.MustCompile(expression)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range name.FindAllSubmatch(content, -1) {
			want = append(want, string(match[1]))
		}
	}
	slices.Sort(want)
	return want
}

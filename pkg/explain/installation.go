// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
)

// Installation is what was read of an installation, or of the cluster before there is one.
// Pointers and maps are nil for what could not be read.
type Installation struct {
	// Before means that the cluster is checked before the installation.
	Before bool
	// Kubernetes and Knative are versions such as v1.36.3, and Version that of the
	// installation. They are empty if they are not known.
	Kubernetes, Knative, Version string
	KnativeMissing               bool
	// Profile is that of the controller, or empty if the controller does not show it, see
	// [Installation.InstalledProfile].
	Profile config.Profile
	// Served reports whether the API server serves ClusterPullSecrets.
	Served bool
	// Deployments are the available replicas by name, or -1 for a missing Deployment.
	Deployments map[string]int32
	// Settings is the state of config-pullsecrets, or empty if it could not be read. SettingsError is why it is invalid, or empty.
	Settings, SettingsError string
	Webhooks                []Webhook
	// Answer is how the webhook answered a dry run: an error, or empty. Asked means that it
	// was asked.
	Answer string
	Asked  bool
	// Policies report for each policy of the installation whether a binding makes it reject requests.
	Policies map[string]bool
	// MutatingPolicies reports whether the API server has MutatingAdmissionPolicies.
	// OutagePolicies are the versions of the policies and their bindings, by kind and name.
	MutatingPolicies bool
	OutagePolicies   map[string]string
	Leases           []Lease
	// Denied are rights that were found to be missing.
	Denied []string
	// Rights reports whether rights were checked.
	Rights bool
	Now    metav1.Time
}

// InstalledProfile returns the profile: that of the controller, or else inject-only if its policy is
// there. It returns an empty string if nothing shows the profile, which is then not taken for full: the
// rights of full, and its manifests, are more than another profile may have.
func (in *Installation) InstalledProfile() config.Profile {
	if _, exists := in.Policies[injectOnlyPolicy]; exists && in.Profile == "" {
		return config.InjectOnly
	}
	return in.Profile
}

// The values of Settings.
const (
	SettingsValid   = "valid"
	SettingsMissing = "missing"
)

// Webhook is a webhook configuration.
type Webhook struct {
	Name     string
	Mutating bool
	// Webhooks are the names of its webhooks. They say what it is, also if it was renamed.
	Webhooks []string
	// CA reports whether it has a CA bundle, which is valid until Expires if that is known.
	CA      bool
	Expires metav1.Time
}

// Lease is a lease of the leader election.
type Lease struct {
	Name, Holder string
	Renewed      metav1.Time
	// Seconds is how long it is valid after that.
	Seconds int32
}

// Checked is the result of one check.
type Checked struct {
	Check string `json:"check"`
	// OK is nil if it could not be checked.
	OK     *bool  `json:"ok"`
	Detail string `json:"detail"`
}

const (
	// leastKubernetes and leastKnative are the oldest minor versions that work.
	leastKubernetes = 34
	leastKnative    = 16
	// injectWebhook is a webhook that must be called before knativeWebhook.
	injectWebhook  = "inject.pullsecrets.dev"
	knativeWebhook = "webhook.serving.knative.dev"
	// renewable is how long before its end a CA bundle is expected to have been renewed: a day.
	renewable = 24 * 60 * 60 * 1e9
)

// requiredPolicies are the policies that restrict the programs.
var requiredPolicies = []string{
	"secrets.controller.pullsecrets.dev", "serviceaccounts.controller.pullsecrets.dev", "services.controller.pullsecrets.dev",
	"clusterpullsecrets.controller.pullsecrets.dev", "revisions.controller.pullsecrets.dev", "retries.controller.pullsecrets.dev",
	"leases.pullsecrets.dev", "webhooks.webhook.pullsecrets.dev",
}

// inspection collects the results of checks.
type inspection struct {
	*Installation
	checks   []Checked
	findings []Finding
}

// Check checks an installation, or whether a cluster is fit for one.
func Check(in *Installation) ([]Checked, []Finding) {
	i := &inspection{Installation: in}
	i.version("Kubernetes", in.Kubernetes, leastKubernetes)
	if in.KnativeMissing {
		i.failed("Knative Serving", "not found", found(MissingObject, Error, "Knative Serving", "the cluster has no Knative Serving", "install it first"))
	} else {
		i.version("Knative Serving", in.Knative, leastKnative)
	}
	i.rights()
	if in.Before {
		i.unused()
		i.outagePossible()
		return i.checks, sorted(i.findings)
	}
	i.api()
	i.programs()
	i.webhooks()
	i.policies()
	i.outage()
	i.leaders()
	return i.checks, sorted(i.findings)
}

func (i *inspection) ok(check, detail string) {
	yes := true
	i.checks = append(i.checks, Checked{check, &yes, detail})
}

func (i *inspection) unknown(check, detail string) {
	i.checks = append(i.checks, Checked{check, nil, detail})
}

func (i *inspection) failed(check, detail string, f Finding) {
	no := false
	i.checks = append(i.checks, Checked{check, &no, detail})
	i.findings = append(i.findings, f)
}

// version checks the minor version of a program.
func (i *inspection) version(program, version string, least int) {
	minor, known := minorOf(version)
	switch {
	case !known:
		i.unknown(program, "version not known")
	case minor < least:
		i.failed(program, version, found(OldVersion, Error, program, fmt.Sprintf("version %s is older than 1.%d", version, least), "upgrade it"))
	default:
		i.ok(program, version)
	}
}

// minorOf returns the minor version of v1.MINOR.
func minorOf(version string) (int, bool) {
	rest, found := strings.CutPrefix(strings.TrimPrefix(version, "v"), "1.")
	digits, _, _ := strings.Cut(rest, ".")
	minor, err := strconv.Atoi(strings.TrimRight(digits, "+"))
	return minor, found && err == nil
}

func (i *inspection) rights() {
	who := "rights of the controller"
	if i.Before {
		who = "rights to install"
	}
	switch {
	case !i.Rights:
		i.unknown(who, "not checked (cannot create subjectaccessreviews)")
	case len(i.Denied) > 0:
		message := "missing: " + strings.Join(i.Denied, ", ")
		f := found(MissingRight, Error, who, message, "install as a cluster administrator")
		if !i.Before {
			f = i.lacking(MissingRight, who, message)
		}
		i.failed(who, fmt.Sprintf("%d missing", len(i.Denied)), f)
	case !i.Before && i.InstalledProfile() == "":
		i.ok(who, "those that every profile needs")
	default:
		i.ok(who, "complete")
	}
}

// unused checks that there is no other installation.
func (i *inspection) unused() {
	if i.Served {
		i.ok("API group "+pullsecrets.GroupName, "is served already; this would be an upgrade")
		return
	}
	i.ok("API group "+pullsecrets.GroupName, "unused")
}

func (i *inspection) api() {
	if !i.Served {
		i.failed("ClusterPullSecrets", "not served", i.lacking(NotInstalled, "API group "+pullsecrets.GroupName,
			"the API server does not serve ClusterPullSecrets"))
	} else if i.InstalledProfile() == config.InjectOnly {
		i.ok("ClusterPullSecrets", "off in profile "+string(config.InjectOnly))
	} else {
		i.ok("ClusterPullSecrets", "served")
	}
	if i.SettingsError != "" {
		i.failed("ConfigMap config-pullsecrets", "invalid", found(InvalidSetting, Error, "ConfigMap pullsecrets-system/config-pullsecrets", Line(i.SettingsError), "correct the setting").
			with("kubectl -n pullsecrets-system edit configmap config-pullsecrets"))
		return
	}
	switch i.Settings {
	case "":
		i.unknown("ConfigMap config-pullsecrets", "not checked (cannot get configmaps)")
	case SettingsMissing:
		i.ok("ConfigMap config-pullsecrets", "missing, so the defaults apply")
	default:
		i.ok("ConfigMap config-pullsecrets", i.Settings)
	}
}

func (i *inspection) programs() {
	for _, deployment := range []string{"controller", "webhook"} {
		check, object := "Deployment "+deployment, name("Deployment", pullsecrets.SystemNamespace, deployment)
		available, known := i.Deployments[deployment]
		switch {
		case !known:
			i.unknown(check, "not checked (cannot get deployments)")
		case available < 0:
			i.failed(check, "missing", i.lacking(MissingObject, object, "it does not exist"))
		case available == 0:
			i.failed(check, "not available", found(Unavailable, Error, object, "no replica is available", "see its Pods").
				with("kubectl -n "+pullsecrets.SystemNamespace+" describe pods"))
		default:
			i.ok(check, fmt.Sprintf("%d available, version %s", available, i.Version))
		}
	}
}

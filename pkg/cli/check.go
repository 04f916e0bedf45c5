// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/knative"
)

const versionLabel = "app.kubernetes.io/version"

func newCheck(o *options) *cobra.Command {
	before := false
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the installation, or with --pre whether a cluster is fit for it",
		Long: `Checks versions, rights, whether the API server reaches the webhook and calls it before
Knative's, certificates, policies and the leader. With --pre, checks a cluster before the
installation. To reach the webhook, it sends a dry run that stores nothing.`,
		Example: "  kn pullsecrets check\n  kn pullsecrets check --pre",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := o.newReader()
			if err != nil {
				return err
			}
			installation, err := r.installation(c.Context(), before)
			if err != nil {
				return err
			}
			checks, findings := explain.Check(installation)
			return o.print(&document{Command: "check", Result: checks, Findings: findings, NotChecked: r.unread}, func(p *printer) { p.checks(checks) })
		},
	}
	c.Flags().BoolVar(&before, "pre", false, "check a cluster before the installation")
	return c
}

func (p *printer) checks(checks []explain.Checked) {
	rows := [][]string{{"CHECK", "RESULT", "DETAIL"}}
	for _, c := range checks {
		result := "not checked"
		if c.OK != nil && *c.OK {
			result = "ok"
		} else if c.OK != nil {
			result = "failed"
		}
		rows = append(rows, []string{c.Check, result, explain.Line(c.Detail)})
	}
	p.table(rows)
}

// installation reads all that is checked.
func (r *reader) installation(ctx context.Context, before bool) (*explain.Installation, error) {
	in := &explain.Installation{Before: before, Now: r.now}
	version, err := r.kube.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	in.Kubernetes = version.GitVersion
	groups, err := r.kube.Discovery().ServerGroups()
	if err != nil {
		return nil, err
	}
	in.KnativeMissing = true
	for i := range groups.Groups {
		in.Served = in.Served || groups.Groups[i].Name == pullsecrets.GroupName
		in.KnativeMissing = in.KnativeMissing && groups.Groups[i].Name != "serving.knative.dev"
	}
	if err := r.knativeVersion(ctx, in); err != nil {
		return nil, err
	}
	if err := r.outagePolicies(ctx, in); err != nil {
		return nil, err
	}
	if before {
		return in, r.ownRights(ctx, in)
	}
	// The others depend on the profile, which a Deployment or a policy shows.
	if err := errors.Join(r.deployments(ctx, in), r.policies(ctx, in)); err != nil {
		return nil, err
	}
	r.ask(ctx, in)
	return in, errors.Join(r.controllerRights(ctx, in), r.checkSettings(ctx, in), r.webhooks(ctx, in), r.leases(ctx, in))
}

// knativeVersion reads the version of Knative Serving from the labels of its namespace or of its
// settings.
func (r *reader) knativeVersion(ctx context.Context, in *explain.Installation) error {
	namespace, err := r.kube.CoreV1().Namespaces().Get(ctx, knativeNamespace(), metav1.GetOptions{})
	readable, err := r.readable(err, "version of Knative", "get", "namespaces")
	if err != nil {
		return err
	}
	if readable {
		in.Knative = namespace.Labels[versionLabel]
	}
	if in.Knative == "" { // Not every way to install labels the namespace.
		cm, err := r.kube.CoreV1().ConfigMaps(knativeNamespace()).Get(ctx, knative.Deployment, metav1.GetOptions{})
		readable, err := r.readable(err, "version of Knative", "get", "configmaps in namespace "+knativeNamespace())
		if err != nil {
			return err
		}
		if readable {
			in.Knative = cm.Labels[versionLabel]
		}
	}
	if in.Knative != "" && !strings.HasPrefix(in.Knative, "v") {
		in.Knative = "v" + in.Knative
	}
	return nil
}

func (r *reader) deployments(ctx context.Context, in *explain.Installation) error {
	in.Deployments = map[string]int32{}
	for _, name := range []string{"controller", "webhook"} {
		d, err := r.kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		readable, err := r.readable(err, "Deployments of the installation", "get", "deployments in namespace "+pullsecrets.SystemNamespace)
		switch {
		case err != nil:
			return err
		case readable:
			in.Deployments[name], in.Version = d.Status.AvailableReplicas, d.Labels[versionLabel]
			if name == "controller" {
				in.Profile = profileOf(d)
			}
		case missing:
			in.Deployments[name] = -1
		}
	}
	return nil
}

// profileOf returns the profile of a Deployment, or an empty string if it does not show it: the value
// is that of another object, or one that the program rejects.
func profileOf(d *appsv1.Deployment) config.Profile {
	for _, container := range d.Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			if variable.Name != config.ProfileVariable {
				continue
			}
			profile, err := config.ParseProfile(variable.Value)
			if err != nil || variable.ValueFrom != nil {
				return ""
			}
			return profile
		}
	}
	return config.Full // Which is the default of the program.
}

func (r *reader) checkSettings(ctx context.Context, in *explain.Installation) error {
	cm, err := r.kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Get(ctx, config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		in.Settings = explain.SettingsMissing
	}
	readable, err := r.readable(err, "settings of the installation", "get", "configmaps in namespace "+pullsecrets.SystemNamespace)
	if readable {
		in.Settings = explain.SettingsValid
		if _, err := config.NewFromConfigMap(cm); err != nil {
			in.SettingsError = err.Error()
		}
	}
	return err
}

// webhooks reads the webhook configurations of the installation and Knative's.
func (r *reader) webhooks(ctx context.Context, in *explain.Installation) error {
	mutating, err := r.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	readable, err := r.readable(err, "webhook configurations", "list", "mutatingwebhookconfigurations")
	if err != nil || !readable {
		return err
	}
	found := []explain.Webhook{}
	add := func(name string, mutating bool, webhooks []string, configs []admissionv1.WebhookClientConfig) {
		w := explain.Webhook{Name: name, Mutating: mutating, Webhooks: webhooks, CA: true}
		for _, c := range configs {
			expires, has := expiryOf(c.CABundle)
			if w.CA = w.CA && has; w.Expires.IsZero() || !expires.IsZero() && expires.Before(&w.Expires) {
				w.Expires = expires
			}
		}
		found = append(found, w)
	}
	for i := range mutating.Items {
		var (
			names   []string
			configs []admissionv1.WebhookClientConfig
		)
		for j := range mutating.Items[i].Webhooks {
			names, configs = append(names, mutating.Items[i].Webhooks[j].Name), append(configs, mutating.Items[i].Webhooks[j].ClientConfig)
		}
		add(mutating.Items[i].Name, true, names, configs)
	}
	validating, err := r.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if readable, err = r.readable(err, "webhook configurations", "list", "validatingwebhookconfigurations"); err != nil || !readable {
		return err
	}
	for i := range validating.Items {
		var (
			names   []string
			configs []admissionv1.WebhookClientConfig
		)
		for j := range validating.Items[i].Webhooks {
			names, configs = append(names, validating.Items[i].Webhooks[j].Name), append(configs, validating.Items[i].Webhooks[j].ClientConfig)
		}
		add(validating.Items[i].Name, false, names, configs)
	}
	in.Webhooks = found
	return nil
}

// expiryOf returns when the first certificate of a CA bundle ends, and whether there is one.
func expiryOf(bundle []byte) (expires metav1.Time, has bool) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if end := metav1.NewTime(certificate.NotAfter); !has || end.Before(&expires) {
			expires = end
		}
		has = true
	}
	return expires, has
}

// ask has the API server call the webhook by a dry run, which stores nothing. The failure policy
// for ClusterPullSecrets is Fail, so an answer is certain.
func (r *reader) ask(ctx context.Context, in *explain.Installation) {
	if !in.Served || in.InstalledProfile() == config.InjectOnly {
		return
	}
	probe := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}
	probe.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "probe"}
	probe.Spec.NamespaceSelector = &metav1.LabelSelector{}
	_, err := r.ours.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	const what = "whether the API server reaches the webhook"
	switch {
	case err == nil:
		in.Asked = true
	case failedCall.MatchString(err.Error()):
		in.Asked, in.Answer = true, err.Error()
	case apierrors.IsForbidden(err) && !denied.MatchString(err.Error()):
		r.note(what, "cannot create "+clusterPullSecrets)
	default: // Another policy or webhook may have rejected it before ours was called.
		r.note(what, "the dry run was rejected: "+explain.Line(err.Error()))
	}
}

// failedCall matches how the API server reports that it could not call one of our webhooks.
var failedCall = regexp.MustCompile(`failed calling webhook "[a-z]+\.pullsecrets\.dev"`)

// denied matches how it reports that a policy or a webhook rejected a request, which is no lack of
// rights.
var denied = regexp.MustCompile(`denied (the )?request|webhook`)

func (r *reader) policies(ctx context.Context, in *explain.Installation) error {
	admission := r.kube.AdmissionregistrationV1()
	policies, err := admission.ValidatingAdmissionPolicies().List(ctx, metav1.ListOptions{})
	readable, err := r.readable(err, "policies", "list", "validatingadmissionpolicies")
	if err != nil || !readable {
		return err
	}
	bindings, err := admission.ValidatingAdmissionPolicyBindings().List(ctx, metav1.ListOptions{})
	if readable, err = r.readable(err, "policies", "list", "validatingadmissionpolicybindings"); err != nil || !readable {
		return err
	}
	in.Policies = map[string]bool{}
	for i := range policies.Items {
		in.Policies[policies.Items[i].Name] = false
	}
	for i := range bindings.Items {
		spec := &bindings.Items[i].Spec
		if _, exists := in.Policies[spec.PolicyName]; exists && slices.Contains(spec.ValidationActions, admissionv1.Deny) {
			in.Policies[spec.PolicyName] = true
		}
	}
	return nil
}

func (r *reader) leases(ctx context.Context, in *explain.Installation) error {
	leases, err := r.kube.CoordinationV1().Leases(pullsecrets.SystemNamespace).List(ctx, metav1.ListOptions{})
	readable, err := r.readable(err, "leader", "list", "leases in namespace "+pullsecrets.SystemNamespace)
	if err != nil || !readable {
		return err
	}
	in.Leases = []explain.Lease{}
	for i := range leases.Items {
		spec := &leases.Items[i].Spec
		if !strings.HasPrefix(leases.Items[i].Name, "controller.") {
			continue
		}
		l := explain.Lease{Name: leases.Items[i].Name}
		if spec.HolderIdentity != nil {
			l.Holder = *spec.HolderIdentity
		}
		if spec.RenewTime != nil {
			l.Renewed = metav1.NewTime(spec.RenewTime.Time)
		}
		if spec.LeaseDurationSeconds != nil {
			l.Seconds = *spec.LeaseDurationSeconds
		}
		in.Leases = append(in.Leases, l)
	}
	return nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/grant"
)

// Status is the state of Services and of ClusterPullSecrets.
type Status struct {
	Services           []ServiceStatus           `json:"services"`
	ClusterPullSecrets []ClusterPullSecretStatus `json:"clusterPullSecrets"`
}

// ServiceStatus is the state of one Service.
type ServiceStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Ready     string `json:"ready"`
	Covered   int    `json:"covered"`
	Total     int    `json:"total"`
	// NotChecked is the number of images whose coverage is not known.
	NotChecked int `json:"notChecked"`
	// Added are the entries that were added, and Missing those that are not in the cluster.
	Added   []string     `json:"added,omitempty"`
	Missing []string     `json:"missing,omitempty"`
	Expires *metav1.Time `json:"expires,omitempty"`
	// Reason is the code of the first finding.
	Reason Code `json:"reason,omitempty"`
}

// ClusterPullSecretStatus is the state of one ClusterPullSecret.
type ClusterPullSecretStatus struct {
	Name       string       `json:"name"`
	SecretName string       `json:"secretName"`
	Ready      string       `json:"ready"`
	Reason     string       `json:"reason,omitempty"`
	Registries []string     `json:"registries,omitempty"`
	Synced     string       `json:"synced,omitempty"`
	Expires    *metav1.Time `json:"expires,omitempty"`
}

// Overview returns the state of Services by their reports, and of ClusterPullSecrets.
func Overview(reports []Report, offered []*v1alpha1.ClusterPullSecret) (Status, []Finding) {
	s := Status{Services: []ServiceStatus{}, ClusterPullSecrets: []ClusterPullSecretStatus{}}
	var findings []Finding
	for i := range reports {
		s.Services = append(s.Services, serviceStatus(&reports[i]))
		findings = append(findings, reports[i].Findings...)
	}
	for _, cps := range offered {
		status, found := ofClusterPullSecret(cps)
		s.ClusterPullSecrets = append(s.ClusterPullSecrets, status)
		findings = append(findings, found...)
	}
	return s, sorted(findings)
}

func serviceStatus(r *Report) ServiceStatus {
	s := ServiceStatus{Namespace: r.Namespace, Name: r.Service, Ready: r.Ready, Covered: r.Covered, Total: r.Total}
	for i := range r.Images {
		unknown := func(v VerdictReport) bool { return v.Reason == coverage.NotChecked }
		if r.Images[i].Revision == "" && (unknown(r.Images[i].TagResolution) || unknown(r.Images[i].Kubelet)) {
			s.NotChecked++
		}
	}
	for _, e := range r.PullSecrets {
		if e.Origin != userOrigin && e.Origin != notListed && !e.OnlyAccount {
			s.Added = append(s.Added, e.Secret)
		}
		if slices.Contains([]string{stateMissing, statePending, stateNotGranted}, e.State) {
			s.Missing = append(s.Missing, e.Secret)
		}
		if e.Expires != nil && (s.Expires == nil || e.Expires.Before(s.Expires)) {
			s.Expires = e.Expires
		}
	}
	if len(r.Findings) > 0 {
		s.Reason = r.Findings[0].Code
	}
	return s
}

func ofClusterPullSecret(cps *v1alpha1.ClusterPullSecret) (ClusterPullSecretStatus, []Finding) {
	s := ClusterPullSecretStatus{
		Name: cps.Name, SecretName: grant.SecretName(cps), Ready: string(corev1.ConditionUnknown),
		Registries: cps.Status.Registries, Expires: cps.Status.Expires,
	}
	if n := cps.Status.Namespaces; n != nil {
		s.Synced = fmt.Sprintf("%d/%d", n.Synced, n.Wanted)
	}
	if c := cps.Status.GetCondition(apis.ConditionReady); c != nil {
		s.Ready, s.Reason = string(c.Status), c.Reason
	}
	var findings []Finding
	if cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsFalse() {
		findings = append(findings, sourceNotReady(Error, cps))
	}
	if cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted).IsFalse() {
		findings = append(findings, credentialRejected(Error, cps))
	}
	if c := cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed); c.IsFalse() {
		findings = append(findings, found(CopyPending, Warning, "ClusterPullSecret "+cps.Name, fmt.Sprintf("copies are not up to date (%s): %s", c.Reason, Line(c.Message)),
			"see which namespaces have none").with(describe(cps.Name)))
	}
	return s, findings
}

// sourceNotReady is the finding of a source that is not valid.
func sourceNotReady(severity Severity, cps *v1alpha1.ClusterPullSecret) Finding {
	c := cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
	return found(SourceNotReady, severity, "ClusterPullSecret "+cps.Name, fmt.Sprintf("its source is not valid (%s): %s", c.Reason, Line(c.Message)),
		"correct the source; the copies follow").with(describe(cps.Name))
}

// credentialRejected is the finding of a credential that the registry rejects.
func credentialRejected(severity Severity, cps *v1alpha1.ClusterPullSecret) Finding {
	c := cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted)
	return found(Rejected, severity, "ClusterPullSecret "+cps.Name, "the registry rejects its credential: "+Line(c.Message), "replace the credential in the source").with(describe(cps.Name))
}

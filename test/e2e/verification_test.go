// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// waitForCredential waits for a status of the condition CredentialAccepted.
func (p *platform) waitForCredential(status corev1.ConditionStatus, reason string) {
	p.t.Helper()
	p.waitForStatus("CredentialAccepted="+string(status)+" "+reason, func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionCredentialAccepted)
		return condition != nil && condition.Status == status && condition.Reason == reason
	})
}

// A rotation to a credential that the registry rejects leaves the copies as they are, and its
// correction is distributed. A registry that does not answer holds nothing up. Before verification
// is requested, the registry is not asked.
func TestVerificationOfARotation(t *testing.T) {
	t.Parallel()
	registry := newLoopbackRegistry(t)
	p := barePlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	rotate := func(password string) { p.keepSource(pullSecret(p.name, registry.host, password)) }
	registry.setPassword(p.name, "one")
	rotate("one")
	p.grant()
	before := n.waitForCopy(p.name, "one")
	image := registry.host + "/" + p.name + "/app"
	n.serve("app", []string{image + ":v1"})
	n.waitForDigest("app", image+"@"+imageDigest)
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	// Knative has asked. Our requests are marked.
	if asked := registry.agents("pullsecrets"); asked != 0 {
		t.Errorf("the registry got %d requests of the controller without spec.verify", asked)
	}
	// Verification starts once there is an image to ask for.
	p.patchGrant(map[string]any{"verify": map[string]any{"interval": "1m"}})
	p.waitForCredential(corev1.ConditionTrue, "")
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	if registry.agents("pullsecrets") == 0 {
		t.Error("the registry got no marked request with spec.verify")
	}

	rotate("two")
	p.waitForSource(v1alpha1.ReasonCredentialRejected, registry.host+": 401 Unauthorized", "existing copies are kept")
	p.waitForCredential(corev1.ConditionFalse, v1alpha1.ReasonCredentialRejected)
	p.waitForEvent("CredentialRejected", registry.host, "existing copies are kept")
	if after := n.copyOf(p.name); after == nil || !hasPassword(after, "one") || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the copy was changed: %v", after)
	}

	registry.setPassword(p.name, "three")
	rotate("three")
	if after := n.waitForCopy(p.name, "three"); after.UID != before.UID {
		t.Error("the copy was recreated, want it rotated in place")
	}
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	p.waitForCredential(corev1.ConditionTrue, "")

	registry.fail(http.StatusServiceUnavailable)
	rotate("four")
	n.waitForCopy(p.name, "four")
	p.waitForCredential(corev1.ConditionUnknown, v1alpha1.ReasonCredentialUnverified)
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)

	for _, request := range registry.requests() {
		if !strings.HasPrefix(request, p.name+" ") {
			t.Errorf("the registry was asked with another credential: %s", request)
		}
	}
}

// Of a host that only a tenant's image names, nothing is asked, whatever the credentials of the
// platform team match. The first credential is distributed although it cannot be verified.
func TestTenantNamesNoHostToVerify(t *testing.T) {
	t.Parallel()
	registry, other := newLoopbackRegistry(t), newLoopbackRegistry(t)
	p := barePlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	registry.setPassword(p.name, "one")
	source := pullSecret(p.name, registry.host, "one")
	source.Data[corev1.DockerConfigJsonKey] = encode(map[string]any{"auths": map[string]any{
		registry.host + "/" + p.name: map[string]string{"username": p.name, "password": "one"},
		// A wildcard matches the tenant's host as well, and so does the port.
		"127.*.0.1:" + port(other.host): map[string]string{"username": "wild", "password": "card"},
	}})
	p.keepSource(source)
	n.serve("theirs", []string{other.host + "/" + p.name + "/app:v1"})
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.Verify = &v1alpha1.Verify{} })
	n.waitForCopy(p.name, "one")
	p.waitForCredential(corev1.ConditionUnknown, v1alpha1.ReasonCredentialUnverified)
	// Knative's controller asks with the copy, as always. Ours asks only registries that are
	// keys, and marks its requests.
	n.serve("ours", []string{registry.host + "/" + p.name + "/app:v1"})
	p.patchGrant(map[string]any{"verify": map[string]any{"images": []string{registry.host + "/" + p.name + "/app:v1"}}})
	p.waitForCredential(corev1.ConditionTrue, "")
	if asked := other.agents("pullsecrets"); asked != 0 {
		t.Errorf("%d requests went to a host that only a tenant named", asked)
	}
	if asked := registry.agents("pullsecrets"); asked == 0 {
		t.Error("the registry of the platform team was not asked")
	}
}

func port(host string) string { return host[strings.LastIndex(host, ":")+1:] }

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
)

// failure is why a namespace has no copy.
type failure struct {
	v1alpha1.NamespaceFailure
	// conflict means that a user's Secret has the name of the copy.
	conflict bool
	// tenant means that the namespace itself causes the failure, for example by a Secret
	// or a quota.
	tenant bool
	// unblocked means that nothing prevents the copy from being written.
	unblocked bool
}

// prober finds out why a namespace has no copy, or has one that is outdated.
type prober func(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, outdated bool) failure

// maxText limits how much of an API server's message a status quotes.
const maxText = 200

// probeBy returns a prober that tries to create an empty copy, or to patch an outdated
// one, with a dry run. The API server answers with the actual cause.
func probeBy(client kubernetes.Interface) prober {
	return func(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, outdated bool) failure {
		secrets, name := client.CoreV1().Secrets(namespace), grant.SecretName(cps)
		var err error
		if outdated {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"0"}}}`, pullsecrets.SourceResourceVersionAnnotation)
			_, err = secrets.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dryRun, FieldManager: pullsecrets.FieldManager})
		} else {
			empty := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Type:       corev1.SecretTypeDockerConfigJson,
				Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
			}
			grant.SetCopyMetadata(&empty.ObjectMeta, cps, "0")
			_, err = secrets.Create(ctx, empty, metav1.CreateOptions{DryRun: dryRun, FieldManager: pullsecrets.FieldManager})
		}
		return classify(namespace, name, err)
	}
}

var dryRun = []string{metav1.DryRunAll}

// classify returns the failure that the answer to a probe describes.
func classify(namespace, name string, err error) failure {
	f := failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}}
	switch {
	case err == nil || apierrors.IsNotFound(err):
		// If it is not found, the copy or its Namespace was deleted meanwhile.
		f.unblocked = true
	case apierrors.IsAlreadyExists(err):
		f.conflict, f.tenant = true, true
		f.Reason, f.Message = v1alpha1.ReasonNameConflict, fmt.Sprintf("Secret %s is not a copy and is left unchanged; rename it, or label it to be adopted", name)
	default:
		f.tenant = (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) && !isPlatformFailure(err)
		// An error that is no answer of the API server has no reason.
		f.Reason, f.Message = cmp.Or(string(apierrors.ReasonForError(err)), v1alpha1.ReasonDistributionFailed), events.Cut(err.Error(), maxText)
	}
	return f
}

// isPlatformFailure reports whether an answer is about permissions that the controller
// should have. RBAC and the controller's own policies are the platform team's
// responsibility. Quotas and other policies are the namespace's.
func isPlatformFailure(err error) bool {
	text := err.Error()
	return strings.Contains(text, `User "`) && strings.Contains(text, `" cannot `) || strings.Contains(text, ".controller."+pullsecrets.GroupName)
}

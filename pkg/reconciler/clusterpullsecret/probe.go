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

// A failure is why a namespace has no copy.
type failure struct {
	v1alpha1.NamespaceFailure
	// conflict: a Secret of the user's has its name.
	conflict bool
	// theirs: it is the namespace's own doing, such as a Secret or a quota.
	theirs bool
	// coming: nothing is in the way.
	coming bool
}

// prober finds out why a namespace has no copy, or has one that is not up to date.
type prober func(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, outdated bool) failure

// maxText is how much of somebody else's message a status passes on.
const maxText = 200

// probeBy asks the API server to make an empty copy without making it, or to change one
// without changing it, which it answers with the very reason.
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
		return judgeAnswer(namespace, name, err)
	}
}

var dryRun = []string{metav1.DryRunAll}

func judgeAnswer(namespace, name string, err error) failure {
	f := failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}}
	switch {
	case err == nil || apierrors.IsNotFound(err):
		// One that is not found has gone meanwhile, or its Namespace has.
		f.coming = true
	case apierrors.IsAlreadyExists(err):
		f.conflict, f.theirs = true, true
		f.Reason, f.Message = v1alpha1.ReasonNameConflict, fmt.Sprintf("Secret %s is not ours; it is left alone", name)
	default:
		f.theirs = (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) && !ourOwn(err)
		// An answer that is not the API server's gives no reason.
		f.Reason, f.Message = cmp.Or(string(apierrors.ReasonForError(err)), v1alpha1.ReasonDistributionFailed), events.Cut(err.Error(), maxText)
	}
	return f
}

// ourOwn tells whether an answer is about rights that the controller should have: RBAC
// and the product's own policies are the platform team's, and quotas and the policies
// of others are the namespace's affair.
func ourOwn(err error) bool {
	text := err.Error()
	return strings.Contains(text, `User "`) && strings.Contains(text, `" cannot `) || strings.Contains(text, ".controller."+pullsecrets.GroupName)
}

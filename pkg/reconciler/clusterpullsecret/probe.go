// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// A failure is why a namespace has no copy.
type failure struct {
	v1alpha1.NamespaceFailure
	// conflict: a Secret of the user's has its name.
	conflict bool
	// theirs: it is the namespace's own doing, such as a Secret or a quota.
	theirs bool
}

// prober finds out why a namespace has no copy.
type prober func(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret) failure

// maxText is how much of somebody else's message a status passes on.
const maxText = 200

// probeBy asks the API server to make an empty copy without making it, which it
// answers with the very reason.
func probeBy(client kubernetes.Interface) prober {
	return func(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret) failure {
		name := grant.SecretName(cps)
		_, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
				pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: cps.Name,
			}},
			Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: pullsecrets.FieldManager})
		f := failure{NamespaceFailure: v1alpha1.NamespaceFailure{Namespace: namespace}}
		switch {
		case apierrors.IsAlreadyExists(err):
			f.conflict, f.theirs = true, true
			f.Reason, f.Message = v1alpha1.ReasonNameConflict, fmt.Sprintf("Secret %s is not ours, or its update fails; it is left alone", name)
		case err == nil:
			f.Reason, f.Message = v1alpha1.ReasonDistributing, "The copy is still to come"
		default:
			f.theirs = apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
			// An answer that is not the API server's gives no reason.
			f.Reason, f.Message = cmp.Or(string(apierrors.ReasonForError(err)), v1alpha1.ReasonDistributionFailed), cut(err.Error())
		}
		return f
	}
}

func cut(text string) string {
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText-1]) + "…"
	}
	return text
}

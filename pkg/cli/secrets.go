// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/grant"
)

// factsOf returns what is known of a Secret. Its data is not kept.
func factsOf(secret *corev1.Secret) explain.Secret {
	known := explain.Secret{Owner: grant.Owner(secret), Written: explain.WrittenOf(&secret.ObjectMeta)}
	known.State, known.Facts = coverage.Known, dockerconfig.Inspect(secret.Type, secret.Data)
	known.Expires, _ = annotation.Expires(secret.Annotations)
	known.Replaceable, known.Updatable = explain.ReplaceableOf(secret), explain.UpdatableOf(secret)
	return known
}

// pageSize is the number of Secrets that are read at once.
const pageSize = 250

// listSecrets reads the pull secrets of a namespace, if the caller may list them.
func (r *reader) listSecrets(ctx context.Context, namespace string, v *namespaceView) error {
	for _, secretType := range []corev1.SecretType{corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg} {
		options := metav1.ListOptions{Limit: pageSize, FieldSelector: fields.OneTermEqualSelector("type", string(secretType)).String()}
		for {
			page, err := r.kube.CoreV1().Secrets(namespace).List(ctx, options)
			if apierrors.IsForbidden(err) {
				// Single ones may be readable.
				r.note("Secrets in namespace "+namespace+" that the Service does not name", "cannot list secrets")
				return nil
			}
			if err != nil {
				return err
			}
			for i := range page.Items {
				if page.Items[i].Type == secretType {
					v.secrets[page.Items[i].Name] = factsOf(&page.Items[i])
				}
			}
			if options.Continue = page.Continue; options.Continue == "" {
				break
			}
		}
	}
	return nil
}

// maxNames is the number of names that are read one by one.
const maxNames = 128

// needSecrets reads those of the named Secrets that are not known yet. They do not exist, are of
// another type, or the caller may not list them.
func (r *reader) needSecrets(ctx context.Context, namespace string, names []string) error {
	v, err := r.view(ctx, namespace)
	if err != nil {
		return err
	}
	for _, name := range names[:min(len(names), maxNames)] {
		if _, known := v.secrets[name]; known || len(path.IsValidPathSegmentName(name)) > 0 || name == "" {
			continue // A name that is no part of a path makes the client fail; coverage reports it.
		}
		if !explain.IsName(name) {
			v.secrets[name] = explain.Secret{Secret: coverage.Secret{State: coverage.Absent}}
			continue // The API server lets no Secret have it.
		}
		secret, err := r.kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		absent := apierrors.IsNotFound(err)
		readable, err := r.readable(err, "Secrets in namespace "+namespace, "get", "secrets")
		switch {
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			continue // The name is none; coverage reports that.
		case err != nil:
			return err
		case readable:
			v.secrets[name] = factsOf(secret)
		case absent:
			v.secrets[name] = explain.Secret{Secret: coverage.Secret{State: coverage.Absent}}
		default:
			v.secrets[name] = explain.Secret{} // Unknown.
		}
	}
	return nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
)

// misplaced returns problems for the keys of our group on a Service, its template or a
// ServiceAccount that have no meaning there.
func (o *object) misplaced() []annotation.Problem {
	if o.account != nil {
		return annotation.Misplaced(annotation.OnServiceAccount, o.Metadata.Annotations, o.Metadata.Labels)
	}
	metadata, _ := o.Spec.Template["metadata"].(map[string]any)
	return append(annotation.Misplaced(annotation.OnService, o.Metadata.Annotations, o.Metadata.Labels),
		annotation.Misplaced(annotation.OnTemplate, keysOf(metadata["annotations"]), keysOf(metadata["labels"]))...)
}

// keysOf returns the keys of a JSON object, without values.
func keysOf(value any) map[string]string {
	object, _ := value.(map[string]any)
	keys := make(map[string]string, len(object))
	for key := range object {
		keys[key] = ""
	}
	return keys
}

// warnIfExcluded warns the owner of a Service that asks for pull secrets, by itself or by
// its Namespace, if the configuration excludes the Namespace. An exclude label on the
// Namespace itself causes no warning.
func warnIfExcluded(cfg *config.Config, namespace *corev1.Namespace, requested *object) []string {
	_, own := requested.Metadata.Annotations[pullsecrets.SecretsAnnotation]
	by := cfg.ExcludedBy(namespace.Name)
	if by == "" || !own && !annotation.ForNamespace(namespace.Annotations).OptsIn() {
		return nil
	}
	return []string{warnExcluded(namespace.Name, by)}
}

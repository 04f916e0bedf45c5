// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package knative

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/serving/pkg/deployment"

	"pullsecrets.dev/pkg/grant"
)

// imageKeys are the keys of config-deployment that concern images, in both spellings that
// Knative supports.
var imageKeys = []string{
	deployment.QueueSidecarImageKey, deployment.DeprecatedQueueSidecarImageKey,
	"registries-skipping-tag-resolving", "registriesSkippingTagResolving",
}

// imageSettings parses the keys that concern images with Knative's own parser. It ignores
// all other keys, whose values may only be valid in a newer Knative.
func imageSettings(cm *corev1.ConfigMap) (grant.ImageSettings, error) {
	data := maps.Clone(cm.Data)
	maps.DeleteFunc(data, func(key, _ string) bool { return !slices.Contains(imageKeys, key) })
	c, err := deployment.NewConfigFromMap(data)
	if err != nil {
		return grant.ImageSettings{}, err
	}
	return grant.ImageSettings{QueueProxy: c.QueueSidecarImage, Unresolved: c.RegistriesSkippingTagResolving}, nil
}

// compiledUnresolved returns Knative's default registries without tag resolution.
func compiledUnresolved() sets.Set[string] {
	c, err := deployment.NewConfigFromMap(map[string]string{deployment.QueueSidecarImageKey: "any"})
	if err != nil {
		return nil
	}
	return c.RegistriesSkippingTagResolving
}

// ImagesOf returns the settings of images in the ConfigMap config-deployment, or Knative's
// defaults for nil.
func ImagesOf(cm *corev1.ConfigMap) (grant.ImageSettings, error) {
	if cm == nil {
		return grant.ImageSettings{Unresolved: compiledUnresolved()}, nil
	}
	return imageSettings(cm)
}

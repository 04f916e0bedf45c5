// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Keys returns the keys of a docker config of type kubernetes.io/dockerconfigjson as they are
// written. It returns an empty string for a key that could be a misplaced credential.
//
// Whoever writes another docker config with the same keys replaces their credentials, and nothing
// else. So Keys fails if a reader rejects the text, which then may hold what nobody else has, and
// if the config has other fields than auths.
func Keys(text []byte) (keys []string, ok bool) {
	facts := Inspect(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text})
	if facts.Oversized || facts.Rejected != [Readers]*InvalidError{} {
		return nil, false
	}
	for field, auths := range inTextOrder(text) {
		if !strings.EqualFold(field, "auths") {
			return nil, false
		}
		for key, value := range inTextOrder(auths) {
			if registry, reason := registryOf(key); reason != "" || !looksLikeRegistry(registry) || hasPart(key, secretsIn(value)) {
				key = ""
			}
			keys = append(keys, key)
		}
	}
	return keys, true
}

// KeyCovers reports whether both readers find a credential with this key for an image.
func KeyCovers(key, image string) bool {
	registry, reason := registryOf(key)
	return reason == "" && Covers([]string{registry}, image)
}

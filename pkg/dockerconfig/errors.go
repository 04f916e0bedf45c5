// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
)

// WrongTypeError says that a Secret is of a type that is no docker config.
type WrongTypeError struct {
	// Type is the type of the Secret.
	Type corev1.SecretType
}

// Error names both the type and those that were expected.
func (e *WrongTypeError) Error() string {
	return fmt.Sprintf("type %s is neither %s nor %s",
		annotation.Quote(string(e.Type)), corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
}

// InvalidError says what is wrong with the docker config of a Secret. It holds
// no credential and nothing of the text that one may be in.
type InvalidError struct {
	// Key is the key of the Secret's data.
	Key string
	// Entry is the bad entry: its registry, quoted, or its number, counted from
	// 1 in the order of the text. It is empty where the whole is bad.
	Entry string
	// Reason says what was expected.
	Reason string
}

// Error returns one line.
func (e *InvalidError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("%s: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("%s: entry %s: %s", e.Key, e.Entry, e.Reason)
}

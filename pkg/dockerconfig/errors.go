// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
)

// WrongTypeError reports a Secret whose type is not that of a docker config.
type WrongTypeError struct {
	// Type is the type of the Secret.
	Type corev1.SecretType
}

// Error names the type and the expected ones.
func (e *WrongTypeError) Error() string {
	return fmt.Sprintf("type %s is neither %s nor %s",
		annotation.Quote(string(e.Type)), corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
}

// InvalidError reports what is wrong with the docker config of a Secret. It holds no
// credential and no part of a text that may contain one.
type InvalidError struct {
	// Key is the key of the Secret's data.
	Key string
	// Entry is the invalid entry: its registry, quoted, or its number in the order of the
	// text, from 1. It is empty if the whole config is invalid.
	Entry string
	// Reason says what is wrong or expected.
	Reason string
}

// Error returns one line.
func (e *InvalidError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("%s: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("%s: entry %s: %s", e.Key, e.Entry, e.Reason)
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Expires parses the annotation that says when the credentials of a pull Secret expire. The
// time is zero if there is no annotation, or if its value is invalid, which is the problem.
func Expires(annotations map[string]string) (metav1.Time, *Problem) {
	value, ok := annotations[pullsecrets.ExpiresAnnotation]
	if !ok {
		return metav1.Time{}, nil
	}
	if len(value) > MaxBytes {
		problem := tooLong(pullsecrets.ExpiresAnnotation, "it is ignored")
		return metav1.Time{}, &problem
	}
	var expires metav1.Time
	if err := expires.UnmarshalQueryParameter(strings.TrimSpace(value)); err != nil || expires.Unix() <= 0 {
		return metav1.Time{}, &Problem{
			Annotation: pullsecrets.ExpiresAnnotation,
			Item:       Quote(value),
			Reason:     "is not a time as in RFC 3339, such as 2026-01-31T12:00:00Z; it is ignored",
		}
	}
	return metav1.Unix(expires.Unix(), 0), nil
}

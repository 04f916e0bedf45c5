// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

// maxWarning is the maximum length of one warning. The API server truncates longer ones,
// and drops all of them beyond a total length
// (apiserver/pkg/endpoints/filters/warning.go).
const maxWarning = 120

func warn(format string, args ...any) string {
	text := []rune(fmt.Sprintf(format, args...))
	if len(text) > maxWarning {
		text = append(text[:maxWarning-1], '…')
	}
	return string(text)
}

func warnInvalid(problem annotation.Problem) string {
	return warn("%s", strings.TrimPrefix(problem.Error(), "annotation "))
}

func warnExcluded(namespace, by string) string {
	return warn("Namespace %s is excluded by %s: no pull secrets are injected", namespace, by)
}

func warnLedger(err error) string {
	return warn("%s is ignored: %v", pullsecrets.AddedAnnotation, err)
}

func warnInvalidNamespace(name string) string {
	return warn("Namespace %s has an invalid %s; correct it to inject pull secrets", name, pullsecrets.InjectAnnotation)
}

func warnNamedRevision(name string, due []merge.Entry) string {
	return warn("Revision name %s is unchanged; change it to add pull secrets %s", name, names(due))
}

func warnWithheld(account string, withheld []merge.Entry) string {
	return warn("ServiceAccount %s enforces mountable secrets; add pull secrets %s to it", account, names(withheld))
}

func warnNotGranted(namespace string, withheld []string) string {
	return warn("Namespace %s is not selected by the ClusterPullSecrets of pull secrets %s", namespace, strings.Join(withheld, ", "))
}

func warnPending(namespace string, pending []string) string {
	return warn("pull secrets %s may not exist yet in namespace %s; image pulls are retried", strings.Join(pending, ", "), namespace)
}

func warnNotInjected(err error) string {
	return warn("pull secrets were not injected: %v", err)
}

func names(entries []merge.Entry) string {
	all := make([]string, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.Name)
	}
	return strings.Join(all, ", ")
}

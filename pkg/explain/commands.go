// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/coverage"
)

const (
	// rfc3339 is the format of times in messages.
	rfc3339 = "2006-01-02T15:04:05Z"
	// soon is how long before its end a credential expires soon: a day.
	soon = 24 * 60 * 60 * 1e9
)

// create returns the command that creates a pull secret with a key, or a Secret of another type
// again, with the key that it has. It returns none for what may be a copy, because a Secret of that
// name would keep the copy away, and none for another type of Secret with content.
func (s *subject) create(secret, server string) string {
	known := s.Secrets[secret]
	switch {
	case s.mayBeCopy(secret):
		return ""
	case known.State == coverage.Absent, known.State == coverage.Ungranted:
		return createNew(s.Service.Namespace, secret, server)
	case known.Owner != "":
		return describe(known.Owner)
	case !known.Replaceable.OK:
		return ""
	}
	return recreate(s.Service.Namespace, secret, cmp.Or(known.Replaceable.Key, server))
}

// replace returns the command that writes the credential of a pull secret under a key, or opens it
// in an editor if more than a credential could be lost.
func replace(namespace, secret string, replaceable Replaceable, key string) string {
	if !replaceable.OK || key == "" {
		return editSecret(namespace, secret)
	}
	return rewrite(namespace, secret, key)
}

// editSecret returns the command that opens a Secret in an editor.
func editSecret(namespace, secret string) string {
	return command("kubectl -n %s edit secret %s", namespace, secret)
}

// retype returns what to do about a Secret that is no pull secret.
func (s *subject) retype(secret, otherwise string) string {
	if !s.Secrets[secret].Replaceable.OK {
		return "name another Secret with one of these types; this one has other content, labels or annotations"
	}
	return otherwise
}

// createNew returns the command that creates a pull secret, or an empty string if none can have
// the name.
func createNew(namespace, secret, server string) string {
	if !IsName(secret) {
		return ""
	}
	return command(`kubectl -n %s create secret docker-registry %s --docker-server=%s --docker-username=USER --docker-password="$TOKEN"`,
		namespace, secret, server)
}

// rewrite returns the command that writes the docker config of a pull secret, and nothing else of
// it. The API server rejects it for another type, which cannot be changed.
func rewrite(namespace, secret, server string) string {
	first := createNew(namespace, secret, server)
	if first == "" {
		return ""
	}
	return first + " --dry-run=client -o json" +
		command(" | kubectl -n %s patch secret %s --type=merge --patch-file=/dev/stdin", namespace, secret)
}

// recreate returns the command that deletes a Secret and creates it as a pull secret.
func recreate(namespace, secret, server string) string {
	first := createNew(namespace, secret, server)
	if first == "" {
		return ""
	}
	return first + " --dry-run=client -o yaml | kubectl replace --force -f -"
}

// declareCommand returns the command that declares another pull secret for the Service.
func (s *subject) declareCommand(secret string) string {
	if secret != placeholder && !IsName(secret) {
		return ""
	}
	names := append(slices.Clone(annotation.ForService(s.Service.Annotations).Secrets), secret)
	return s.annotate(pullsecrets.SecretsAnnotation + "=" + strings.Join(names, ","))
}

// declareNamespace returns the command that declares another pull secret for the Namespace.
func (s *subject) declareNamespace(secret string) string {
	var names []string
	if s.Namespace != nil {
		names = annotation.ForNamespace(s.Namespace.Annotations).Secrets
	}
	return command("kubectl annotate --overwrite namespace %s %s", s.Service.Namespace,
		pullsecrets.SecretsAnnotation+"="+strings.Join(append(slices.Clone(names), secret), ","))
}

// selectNamespace returns the command by which the platform team has a ClusterPullSecret select
// the namespace, if labels suffice for that.
func (s *subject) selectNamespace(secret string) string {
	cps := s.withheld(secret)
	if cps == nil || len(cps.Spec.NamespaceSelector.MatchExpressions) > 0 {
		return ""
	}
	if _, byName := cps.Spec.NamespaceSelector.MatchLabels[corev1.LabelMetadataName]; byName {
		return "" // It is another namespace's, and cannot be changed.
	}
	words := []string{s.Service.Namespace}
	for _, key := range slices.Sorted(maps.Keys(cps.Spec.NamespaceSelector.MatchLabels)) {
		words = append(words, key+"="+cps.Spec.NamespaceSelector.MatchLabels[key])
	}
	return command("kubectl label namespace"+strings.Repeat(" %s", len(words)), words...)
}

// shell returns a word for a shell, quoted where it could be more than a word.
func shell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/:,=@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

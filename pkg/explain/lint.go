// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/dockerconfig"
)

// Linted is what a docker config has.
type Linted struct {
	// Object is the Secret, or the file.
	Object string        `json:"object"`
	Keys   []LintedEntry `json:"keys"`
}

// LintedEntry is one key of a docker config, and the images that it matches for each reader.
type LintedEntry struct {
	Key           string       `json:"key"`
	TagResolution string       `json:"tagResolution,omitempty"`
	Kubelet       string       `json:"kubelet,omitempty"`
	Expires       *metav1.Time `json:"expires,omitempty"`
}

// defects are the codes and severities of mistakes.
var defects = map[dockerconfig.Defect]struct {
	code     Code
	severity Severity
	remedy   string
}{
	dockerconfig.BadConfig:         {InvalidConfig, Error, "correct the docker config"},
	dockerconfig.BadEntry:          {InvalidEntry, Error, "correct the entry; each needs auth, or username and password"},
	dockerconfig.NoNodeToken:       {UnusableToken, Error, "use auth, or username and password"},
	dockerconfig.NoImage:           {UselessKey, Warning, "correct the key, or remove it"},
	dockerconfig.OneReader:         {OneReader, Warning, "correct the key, or add one for the other reader"},
	dockerconfig.TrailingLineBreak: {LineBreak, Warning, "create the Secret from a value without the line break"},
	dockerconfig.Repeated:          {Duplicate, Warning, "keep one of the keys"},
	dockerconfig.HasExpired:        {Expired, Error, "replace the credential"},
}

// Lint checks a docker config offline. A key that no image matches is an error if no other key is
// of use.
func Lint(object string, secretType corev1.SecretType, data map[string][]byte, now metav1.Time) (Linted, []Finding) {
	entries, mistakes := dockerconfig.Lint(secretType, data, now)
	result := Linted{Object: object, Keys: []LintedEntry{}}
	usable := false
	for _, e := range entries {
		result.Keys = append(result.Keys, LintedEntry{
			Key: e.Entry, TagResolution: e.Images[dockerconfig.TagResolution], Kubelet: e.Images[dockerconfig.Kubelet], Expires: known(e.Expires),
		})
		usable = usable || e.Images[dockerconfig.Kubelet] != "" && e.Images[dockerconfig.TagResolution] != ""
	}
	var findings []Finding
	for _, m := range mistakes {
		d := defects[m.Defect]
		if d.code == UselessKey && !usable {
			d.severity = Error
		}
		message := m.Reason
		if m.Entry != "" {
			message = fmt.Sprintf("key %s: %s", quoted(m.Entry), m.Reason)
		}
		remedy := d.remedy
		switch {
		case m.Better != "" && d.code == OneReader:
			remedy = "use the key " + quoted(m.Better) + ", or add it"
		case m.Better != "":
			remedy = "use the key " + quoted(m.Better)
		}
		findings = append(findings, found(d.code, d.severity, object, message, remedy))
	}
	return result, sorted(findings)
}

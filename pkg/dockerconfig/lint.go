// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/annotation"
)

// Defect is the kind of a mistake that [Lint] finds.
type Defect int

// The defects.
const (
	// BadConfig: the whole config is invalid, so a reader fails on it or reads nothing.
	BadConfig Defect = iota
	// BadEntry: an entry is invalid, or has no credential.
	BadEntry
	// NoNodeToken: an entry has a token, which nodes do not use.
	NoNodeToken
	// NoImage: no image matches the key.
	NoImage
	// OneReader: only one of the two readers finds the key.
	OneReader
	// TrailingLineBreak: the credential ends with a line break.
	TrailingLineBreak
	// Repeated: several keys refer to one registry.
	Repeated
	// HasExpired: the credential has expired.
	HasExpired
)

// Mistake is one thing that is wrong with a docker config. It contains no part of a credential.
type Mistake struct {
	Defect Defect
	// Entry is the key, or the number of the entry in the order of the text if the key does
	// not look like one. It is empty if the whole config is meant.
	Entry string
	// Reason says what is wrong.
	Reason string
	// Better is the key to use instead, or empty.
	Better string
}

// Linted is one entry of a docker config.
type Linted struct {
	// Entry is as in [Mistake].
	Entry string
	// Images are for each reader the images that the key matches, such as ghcr.io/acme*. It
	// is empty if the reader finds the key for no image.
	Images [Readers]string
	// Expires is when the credential expires, or zero.
	Expires metav1.Time
}

// Lint returns the entries of a docker config in the order of the text, and all mistakes in it.
// Unlike [Parse], it does not stop at the first one.
func Lint(secretType corev1.SecretType, data map[string][]byte, now metav1.Time) ([]Linted, []Mistake) {
	key, ok := dataKeys[secretType]
	if !ok {
		return nil, []Mistake{{Defect: BadConfig, Reason: (&WrongTypeError{Type: secretType}).Error()}}
	}
	l := &linter{now: now, first: map[string]int{}, credentials: map[string]credential{}}
	text, found := data[key]
	switch {
	case !found:
		l.config("the Secret does not have the key " + key)
	case len(text) == 0:
		l.config("the value is empty; expected a docker config")
	case notObject(text) != "":
		l.config(notObject(text))
	case secretType == corev1.SecretTypeDockercfg:
		l.auths(text)
	default:
		l.configJSON(text)
	}
	l.uses()
	return l.entries, l.mistakes
}

// linter collects the mistakes in one config.
type linter struct {
	now      metav1.Time
	entries  []Linted
	mistakes []Mistake
	// registries are those of the entries, or empty for an invalid key.
	registries []string
	// first is the position of the first entry of a registry, and credentials its credential.
	first       map[string]int
	credentials map[string]credential
}

func (l *linter) config(reason string) {
	l.mistakes = append(l.mistakes, Mistake{Defect: BadConfig, Reason: reason})
}

func (l *linter) entry(defect Defect, entry, reason, better string) {
	l.mistakes = append(l.mistakes, Mistake{Defect: defect, Entry: entry, Reason: reason, Better: better})
}

// configJSON checks the data of type kubernetes.io/dockerconfigjson.
func (l *linter) configJSON(text []byte) {
	var config struct {
		Auths       occurrences `json:"auths"`
		CredsStore  occurrences `json:"credsStore"`
		CredHelpers occurrences `json:"credHelpers"`
		HTTPHeaders occurrences `json:"HttpHeaders"`
	}
	if json.Unmarshal(text, &config) != nil {
		l.config(objectExpected)
		return
	}
	for _, helpers := range []struct {
		field  string
		values occurrences
	}{{"credsStore", config.CredsStore}, {"credHelpers", config.CredHelpers}} {
		if slices.ContainsFunc(helpers.values, isSet) {
			l.config(helpers.field + ": credential helpers do not run on nodes; put the credentials into auths")
		}
	}
	for _, value := range config.HTTPHeaders {
		if json.Unmarshal(value, &map[string]string{}) != nil {
			l.config(headersExpected)
		}
	}
	if len(config.Auths) == 0 {
		l.config(`auths is missing; expected {"auths": {...}}`)
	}
	for _, value := range config.Auths {
		switch {
		case isNull(value):
		case !isObject(value):
			l.config(authsExpected)
		default:
			l.auths(value)
		}
	}
}

// auths checks an object with an entry for each registry.
func (l *linter) auths(text []byte) {
	for key, value := range inTextOrder(text) {
		l.one(key, value)
	}
	if len(l.entries) == 0 {
		l.config("expected at least one entry")
	}
}

// one checks one entry by itself.
func (l *linter) one(key string, value []byte) {
	number := len(l.entries) + 1
	registry, reason := registryOf(key)
	name := registry
	if reason != "" || !looksLikeRegistry(registry) || hasPart(registry, secretsIn(value)) {
		name = "entry " + strconv.Itoa(number)
	}
	linted := Linted{Entry: name}
	if reason != "" {
		l.entry(BadEntry, name, "key: "+reason, "")
		registry = ""
	}
	c, reason := credentialOf(value)
	switch {
	case strings.HasPrefix(reason, "identitytoken: "), strings.HasPrefix(reason, "registrytoken: "):
		l.entry(NoNodeToken, name, reason, "")
	case reason != "":
		l.entry(BadEntry, name, reason, "")
	default:
		if field := c.endsInNewline(); field != "" {
			l.entry(TrailingLineBreak, name, "the "+field+" ends with a line break, which is sent to the registry", "")
		}
		linted.Expires = c.expires()
		if !linted.Expires.IsZero() && !l.now.Before(&linted.Expires) {
			l.entry(HasExpired, name, "the credential expired at "+linted.Expires.UTC().Format("2006-01-02T15:04:05Z"), "")
		}
	}
	if first, seen := l.first[registry]; seen && registry != "" {
		text := fmt.Sprintf("it refers to the same registry as entry %d; keep one", first+1)
		if l.credentials[registry] != c {
			text = fmt.Sprintf("it refers to the same registry as entry %d, with another credential, and which of them is used is random; keep one", first+1)
		}
		l.entry(Repeated, name, text, "")
	} else if registry != "" {
		l.first[registry], l.credentials[registry] = number-1, c
	}
	l.entries, l.registries = append(l.entries, linted), append(l.registries, registry)
}

// uses finds what each key matches, which depends on all of them.
func (l *linter) uses() {
	all := FactsOf(slices.DeleteFunc(slices.Clone(l.registries), func(registry string) bool { return registry == "" }))
	for i, registry := range l.registries {
		if registry == "" {
			continue
		}
		u, better := useOf(registry, all), intended(registry)
		if better == registry {
			better = ""
		}
		if path, hub := strings.CutPrefix(registry, hubHost); hub && better == "" && (path == "" || path[0] == '/') {
			better = indexKey(path)
		}
		misspelled := better != ""
		shown, spelling := l.entries[i].Entry == registry, "only images with the same spelling match this key"
		if !shown && better != hubKey && (!isCut(registry, better) || !looksLikeRegistry(better)) {
			if better == strings.ToLower(registry) {
				spelling += "; use lower case"
			}
			better = ""
		}
		if u.kubelet {
			l.entries[i].Images[Kubelet] = matched(registry, shown)
		}
		if u.resolution {
			l.entries[i].Images[TagResolution] = matched(registry, shown)
		}
		if l.first[registry] != i {
			continue
		}
		name := l.entries[i].Entry
		switch {
		case !u.kubelet && !u.resolution:
			l.entry(NoImage, name, "no image matches this key", better)
		case !u.kubelet && !u.both:
			l.entry(OneReader, name, "no image that a node pulls matches this key", better)
		case !u.resolution && !u.both:
			l.entry(OneReader, name, "Knative's tag resolution finds this key for no image", better)
		case misspelled && u.kubelet && !strings.HasPrefix(registry+"/", hubHost+"/"):
			l.entry(NoImage, name, spelling, better)
		}
	}
}

// matched returns the images that a registry matches.
func matched(registry string, shown bool) string {
	host, path, hasPath := strings.Cut(registry, "/")
	if host == indexHost {
		host = hubHost
	}
	images := host + "/*"
	if hasPath {
		images = host + "/" + path + "*"
	}
	if shown {
		return strings.Trim(annotation.Quote(images), `"`)
	}
	return "images of this host"
}

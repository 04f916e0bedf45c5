// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Facts are what is known of a pull Secret without its credentials: what its readers make of
// it. Caches may keep them. They must not be changed.
type Facts struct {
	// WrongType is set for a Secret of another type, which the readers skip.
	WrongType *WrongTypeError
	// Rejected is for each reader why it rejects the Secret, or nil. A reader that rejects
	// a Secret fails for every image of a Pod that lists it.
	Rejected [Readers]*InvalidError
	// Entries are the entries in the order in which the readers try them.
	Entries []Entry
	// Oversized means that there are more than MaxEntries registries, or that they are longer
	// than MaxSize together. Then Entries is empty, and it is not known what the Secret covers.
	Oversized bool
}

// Whoever may write a Secret decides on its keys, and each is compared with each image. So
// [Inspect] keeps the entries of a Secret up to these bounds.
const (
	// MaxSize is the length of all registries of a Secret.
	MaxSize = 16 << 10
	// MaxEntries is the number of its registries. Short keys cost as much as long ones.
	MaxEntries = 256
)

// Entry is what is known of an entry.
type Entry struct {
	// Key is the registry of its key. If the key does not look like one, it could be a
	// misplaced credential, and Key is the number of the entry in the order of the text.
	Key string
	// Uses are what each reader makes of the entry.
	Uses [Readers]Use

	registry string
	at       location
}

// Use is what a reader makes of an entry that matches an image.
type Use struct {
	// Empty means that the entry has no credential that the reader sends, so that it asks
	// the registry anonymously.
	Empty bool
	// Expires is when the credential expires. It is zero if that is not known.
	Expires metav1.Time
}

// FactsOf returns what is known of a valid Secret with credentials for these registries, such
// as those of [Config.Registries] or in a status.
func FactsOf(registries []string) Facts {
	ordered := inOrder(registries)
	f := Facts{Entries: make([]Entry, 0, len(ordered))}
	for _, registry := range ordered {
		f.add(registry, registry, [Readers]Use{})
	}
	return f
}

// add appends an entry that can match an image.
func (f *Facts) add(key, registry string, uses [Readers]Use) {
	if at, ok := locate(registry); ok {
		f.Entries = append(f.Entries, Entry{Key: key, Uses: uses, registry: registry, at: at})
	}
}

// Size returns the length of all registries. It bounds the cost of [Reader.Matches].
func (f *Facts) Size() int {
	size := 0
	for i := range f.Entries {
		size += len(f.Entries[i].registry) + 1
	}
	return size
}

// Expires returns when the first credential of the Secret expires, or zero if that is not
// known of any.
func (f *Facts) Expires() (soonest metav1.Time) {
	for i := range f.Entries {
		for _, use := range f.Entries[i].Uses {
			soonest = sooner(soonest, use.Expires)
		}
	}
	return soonest
}

// Inspect returns what the readers make of a Secret. They accept more than [Parse] does. They
// skip a Secret of another type or without data (keychain.go:158-168, secrets.go:44-60).
func Inspect(secretType corev1.SecretType, data map[string][]byte) Facts {
	var f Facts
	key, ok := dataKeys[secretType]
	if !ok {
		f.WrongType = &WrongTypeError{Type: secretType}
		return f
	}
	text := data[key]
	if len(text) == 0 {
		return f
	}
	in := inspection{key: key, kept: map[string]kept{}, secrets: map[string]bool{}}
	switch reason := notObject(text); {
	case isNull(text): // Which is an empty map.
	case reason != "":
		in.rejectForBoth("", reason)
	case secretType == corev1.SecretTypeDockercfg:
		in.auths(text)
	default:
		in.configJSON(text)
	}
	in.finish(&f)
	return f
}

// inspection decodes the data of a Secret as both readers do.
type inspection struct {
	key      string
	number   int // of the current entry, from 1.
	rejected [Readers]*InvalidError
	// kept are the entries by key. As in the readers' maps, the last one of a key counts.
	kept map[string]kept
	// secrets are those of all entries.
	secrets map[string]bool
}

type kept struct {
	number int
	uses   [Readers]Use
}

// reject stores the first reason why a reader rejects the Secret.
func (in *inspection) reject(reader Reader, entry, reason string) {
	if in.rejected[reader] == nil {
		in.rejected[reader] = &InvalidError{Key: in.key, Entry: entry, Reason: reason}
	}
}

// rejectForBoth stores why both readers reject the Secret.
func (in *inspection) rejectForBoth(entry, reason string) {
	in.reject(TagResolution, entry, reason)
	in.reject(Kubelet, entry, reason)
}

// configJSON decodes the data of type kubernetes.io/dockerconfigjson.
func (in *inspection) configJSON(text []byte) {
	var config struct {
		Auths       occurrences `json:"auths"`
		HTTPHeaders occurrences `json:"HttpHeaders"`
	}
	if json.Unmarshal(text, &config) != nil {
		in.rejectForBoth("", objectExpected)
	}
	for _, value := range config.HTTPHeaders {
		if json.Unmarshal(value, &map[string]string{}) != nil {
			in.reject(Kubelet, "", headersExpected) // config.go:40-44.
		}
	}
	for _, value := range config.Auths {
		switch {
		case isNull(value):
			clear(in.kept) // As encoding/json does with the readers' maps.
		case isObject(value):
			in.auths(value)
		default:
			in.rejectForBoth("", authsExpected)
		}
	}
}

// auths decodes an object with an entry for each registry.
func (in *inspection) auths(text []byte) {
	for key, value := range inTextOrder(text) {
		in.number++
		in.entry(key, value)
	}
}

// entry decodes an entry.
func (in *inspection) entry(key string, value []byte) {
	name := nameOf(key, in.number, value)
	maps.Copy(in.secrets, secretsIn(value))
	var e entry
	if !isNull(value) && (!isObject(value) || json.Unmarshal(value, &e) != nil) {
		in.rejectForBoth(name, entryExpected)
		return
	}
	for reader := range Readers {
		if field := e.badField(reader); field != "" {
			in.reject(reader, name, field+stringExpected)
		}
	}
	c := credential{e.Username.value, e.Password.value}
	if e.Auth.value != "" {
		var reason string
		if c, reason = decodeAuth(e.Auth.value); reason != "" {
			in.rejectForBoth(name, reason)
			return
		}
	}
	in.kept[key] = kept{in.number, [Readers]Use{TagResolution: e.resolutionUse(c), Kubelet: c.kubeletUse()}}
}

// finish stores the result. The keys of one registry share one entry.
func (in *inspection) finish(f *Facts) {
	shared, size := map[string]kept{}, 0
	for _, key := range slices.Sorted(maps.Keys(in.kept)) {
		entry := in.kept[key]
		registry, ok := addressOf(key)
		if !ok {
			// keychain.go:182-188; the kubelet skips the entry (keyring.go:146-150).
			in.reject(TagResolution, nameOf(key, entry.number, nil), registryExpected)
			continue
		}
		registry = strings.Clone(registry) // The key may hold user info.
		if other, found := shared[registry]; found {
			entry = kept{min(entry.number, other.number), either(entry.uses, other.uses)}
		} else {
			size += len(registry) + 1
		}
		shared[registry] = entry
	}
	f.Rejected = in.rejected
	if f.Oversized = size > MaxSize || len(shared) > MaxEntries; f.Oversized {
		return
	}
	for _, registry := range inOrder(slices.Collect(maps.Keys(shared))) {
		entry := shared[registry]
		key := registry
		if _, reason := registryOf(registry); reason != "" || !looksLikeRegistry(registry) || hasPart(registry, in.secrets) {
			key = "entry " + strconv.Itoa(entry.number)
		}
		f.add(key, registry, entry.uses)
	}
}

// either returns the uses of two keys of one registry. It is random which of them tag
// resolution uses, so the worse counts (keychain.go:170-215). The kubelet tries both, so the
// better counts.
func either(a, b [Readers]Use) [Readers]Use {
	r, s, k, l := a[TagResolution], b[TagResolution], a[Kubelet], b[Kubelet]
	resolution := Use{Empty: r.Empty || s.Empty, Expires: sooner(r.Expires, s.Expires)}
	switch {
	case k.Empty:
		k = l
	case l.Empty:
	case k.Expires.IsZero() || l.Expires.IsZero():
		k.Expires = metav1.Time{}
	case k.Expires.Before(&l.Expires):
		k.Expires = l.Expires
	}
	return [Readers]Use{TagResolution: resolution, Kubelet: k}
}

// Intention is the key that a user most likely intended in place of another one, or beside it.
// It is known of few entries: those that are misspelled, or work for the other reader alone.
type Intention struct {
	// Entry is the position of the entry in its Facts.
	Entry int
	// Better is the key to use.
	Better string

	at location
	// index means that the kubelet tries the key for all images of Docker Hub.
	index bool
}

// Intentions returns the intended keys for a reader, in the order of the entries. They do not
// depend on the image, and computing them costs much more than [Intention.Finds]. So do it once
// for all images.
func (f *Facts) Intentions(r Reader) []Intention {
	found := []Intention{}
	for i := range f.Entries {
		if intention, ok := f.Entries[i].intention(r); ok {
			intention.Entry = i
			found = append(found, intention)
		}
	}
	return found
}

// intention returns the intended key of an entry for a reader, if it is another registry.
func (e *Entry) intention(r Reader) (Intention, bool) {
	better := intended(e.registry)
	if path, found := strings.CutPrefix(better, hubHost); r == TagResolution && found && (path == "" || path[0] == '/') {
		better = indexKey(path)
	}
	if better == e.registry {
		return Intention{}, false
	}
	registry, reason := registryOf(better)
	if reason != "" || registry == e.registry {
		return Intention{}, false
	}
	at, ok := locate(registry)
	return Intention{Better: better, at: at, index: r == Kubelet && registry == indexHost}, ok
}

// Finds reports whether the reader finds the intended key for an image, as one that is meant
// for it.
func (i *Intention) Finds(t Target) bool {
	return i.at.has(t.at) || i.index && strings.HasPrefix(t.Repository, hubHost+"/") // keyring.go:310-315.
}

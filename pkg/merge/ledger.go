// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Ledger maps the name of each added entry to its origin.
type Ledger map[string]Origin

// ParseLedger parses the annotation pullsecrets.dev/added. Every user can write it, so it
// is not trusted: text that is too long or not a JSON object of strings is an empty ledger
// and an error, and an item with an invalid name or origin is ignored and an error. An
// entry without an item counts as the user's. So a damaged ledger can leave an entry of
// ours in the list, and never removes one of the user's.
func ParseLedger(text string) (Ledger, error) {
	if text == "" {
		return nil, nil
	}
	var raw map[string]string
	if len(text) > MaxLedger || json.Unmarshal([]byte(text), &raw) != nil {
		return nil, errNotALedger
	}
	ledger := make(Ledger, len(raw))
	bad := 0
	for name, origin := range raw {
		if len(validation.IsDNS1123Subdomain(name)) > 0 || !Origin(origin).valid() {
			bad++
			continue
		}
		ledger[name] = Origin(origin)
	}
	if bad > 0 {
		return ledger, fmt.Errorf("%d items do not map a valid Secret name to service, namespace, clusterpullsecret/NAME or serviceaccount/NAME", bad)
	}
	return ledger, nil
}

// String returns the value of the annotation: JSON with sorted keys, so that equal ledgers
// are equal text. An empty ledger is the empty string, which means no annotation.
func (l Ledger) String() string {
	if len(l) == 0 {
		return ""
	}
	text, err := json.Marshal(map[string]Origin(l))
	if err != nil {
		// A map of strings always marshals.
		panic(err)
	}
	return string(text)
}

// errNotALedger does not quote the text, because a user may have put anything there.
var errNotALedger = errors.New("expected a JSON object that maps Secret names to origins")

// MaxLedger is the maximum length of a ledger in bytes. Thirty-two names each from a
// Service, a Namespace and ClusterPullSecrets, of maximum length and with the longest
// origins, take less than 52 KiB.
const MaxLedger = 64 << 10

// overlong is what caches keep of a ledger that is too long. It parses to the same result.
const overlong = "too long"

// CutLedger returns text of bounded length that parses to the same ledger.
func CutLedger(text string) string {
	if len(text) > MaxLedger {
		return overlong
	}
	return text
}

// maxAnnotations is the maximum size of all keys and values of an object's annotations
// (TotalAnnotationSizeLimitB in apimachinery's pkg/api/validation). room is how much of it
// stays free: Knative adds the names of users later, copies the annotations of a Service
// to its Route and Ingress, and adds more there.
const (
	maxAnnotations = 256 << 10
	room           = 1 << 10
)

// HasRoom reports whether this ledger fits into annotations in place of the one that is
// there. Where it does not, no entry is added, because its origin could not be recorded.
func HasRoom(annotations map[string]string, ledger string) bool {
	size := 0
	if ledger != "" {
		size = len(pullsecrets.AddedAnnotation) + len(ledger)
	}
	for key, value := range annotations {
		if key != pullsecrets.AddedAnnotation {
			size += len(key) + len(value)
		}
	}
	return size <= maxAnnotations-room && len(ledger) <= MaxLedger
}

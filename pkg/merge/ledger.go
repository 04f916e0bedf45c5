// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Origin says why the product added an entry.
type Origin string

const (
	// FromService is the secrets annotation of the Service.
	FromService Origin = "service"
	// FromNamespace is the secrets annotation of the Namespace.
	FromNamespace Origin = "namespace"

	clusterPullSecretPrefix = "clusterpullsecret/"
	serviceAccountPrefix    = "serviceaccount/"
)

// FromClusterPullSecret is the ClusterPullSecret of that name.
func FromClusterPullSecret(name string) Origin { return Origin(clusterPullSecretPrefix + name) }

// FromServiceAccount is the imagePullSecrets of the ServiceAccount of that name.
func FromServiceAccount(name string) Origin { return Origin(serviceAccountPrefix + name) }

// IsServiceAccount tells whether the entry was carried over from a ServiceAccount.
func (o Origin) IsServiceAccount() bool { return strings.HasPrefix(string(o), serviceAccountPrefix) }

// Kind is the origin without a name: service, namespace, clusterpullsecret or
// serviceaccount.
func (o Origin) Kind() string {
	kind, _, _ := strings.Cut(string(o), "/")
	return kind
}

// isClusterPullSecret tells whether the entry came from a ClusterPullSecret.
func (o Origin) isClusterPullSecret() bool {
	return strings.HasPrefix(string(o), clusterPullSecretPrefix)
}

// valid tells whether the product can have written this origin.
func (o Origin) valid() bool {
	if o == FromService || o == FromNamespace {
		return true
	}
	for _, prefix := range []string{clusterPullSecretPrefix, serviceAccountPrefix} {
		if name, ok := strings.CutPrefix(string(o), prefix); ok {
			return len(validation.IsDNS1123Subdomain(name)) == 0
		}
	}
	return false
}

// maxAnnotations is how many bytes the keys and values of an object's annotations
// may have in total (TotalAnnotationSizeLimitB in apimachinery's
// pkg/api/validation), and room is how many of them the product leaves free:
// Knative notes the names of users after us, copies the annotations of a Service
// to its Route and Ingress, and adds more there.
const (
	maxAnnotations = 256 << 10
	room           = 1 << 10
)

// HasRoom reports whether an object with these annotations may have this ledger in the
// place of the one that it has. Where it may not, nothing is injected, because nobody
// could tell where it came from: neither may the annotations grow too large, nor the
// ledger, which would be read as none.
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

// MaxLedger is how many bytes the text of a ledger may have. Thirty-two names each from a
// Service, a Namespace and ClusterPullSecrets, all of the greatest length and with the
// longest origins, have less than 52 KiB.
const MaxLedger = 64 << 10

// TooLong reports whether the ledger of a result would be read as none, so that it must
// not be written.
func (r Result) TooLong() bool { return len(r.Ledger.String()) > MaxLedger }

// overlong is what caches keep of a ledger that is too long. It is read alike.
const overlong = "too long"

// errNotALedger does not quote the input.
var errNotALedger = errors.New("expected a JSON object that maps Secret names to origins")

// CutLedger returns a text of bounded length that is read as the given one.
func CutLedger(text string) string {
	if len(text) > MaxLedger {
		return overlong
	}
	return text
}

// Ledger maps the name of each entry that the product added to its origin.
type Ledger map[string]Origin

// ParseLedger reads the annotation pullsecrets.dev/added. The annotation is
// within everybody's reach, so nothing in it is trusted more than it must be:
// text that is too long or not a JSON object of strings is an empty ledger and an error,
// and an item with an impossible name or origin is left out and an error. An
// entry that no ledger names counts as the user's, so a damaged ledger can make
// the product forget an entry, and never makes it take one away.
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

// String is the value of the annotation: JSON with sorted keys, so that equal
// ledgers are equal text. An empty ledger is the empty string, which stands for
// no annotation.
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

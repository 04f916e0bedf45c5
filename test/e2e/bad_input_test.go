// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"

	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

const (
	// maxAnnotations is the maximum size of all annotations of an object, keys and values
	// together.
	maxAnnotations = 256 << 10
	// maxMessage is the maximum length of an Event message.
	maxMessage = 1024
	// maxReports is the maximum number of Events for one bad annotation.
	maxReports = 10
)

// badSecrets are secrets annotations with invalid items. The valid names are injected,
// and the rest is reported in these words.
var badSecrets = []struct {
	name, value string
	want        []string
	reported    string
}{{
	name:     "almost 256 KiB",
	value:    "good-one," + strings.Repeat("x", maxAnnotations-2048) + ",good-two",
	want:     []string{"good-one"}, // The other name is beyond the 4 KiB that are read.
	reported: "the value is longer than 4096 bytes",
}, {
	name:     "control characters",
	value:    "good-one,red\x1b[31m\x00\x07,new\nline,\t good-two\n",
	want:     []string{"good-one", "good-two"},
	reported: `"red\x1b[31m\x00\a"`,
}, {
	name:     "letters that look like others",
	value:    "good-one,\u202eterces,g\u043e\u043ed,good-two",
	want:     []string{"good-one", "good-two"},
	reported: `"\u202eterces"`,
}, {
	name:     "slashes",
	value:    "good-one,kube-system/token,../../etc/passwd,good-two",
	want:     []string{"good-one", "good-two"},
	reported: `"kube-system/token"`,
}, {
	name:     "capitals",
	value:    "good-one,GHCR,good-two",
	want:     []string{"good-one", "good-two"},
	reported: `"GHCR"`,
}, {
	name:     "JSON",
	value:    `["good-one", "good-two"]`,
	reported: `"[\"good-one\""`,
}, {
	name:     "a thousand good names",
	value:    strings.Join(numbered("good-%04d", 1000), ","),
	want:     numbered("good-%04d", 32),
	reported: "at most 32 names are used; the last 377 are ignored",
}, {
	name:     "a thousand bad names",
	value:    "good-one," + strings.Join(numbered("Bad_%04d", 1000), ",") + ",good-two",
	want:     []string{"good-one"},
	reported: "more items are not DNS-1123 subdomains",
}}

func numbered(format string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// One bad item does not affect the others, on a Service or on a Namespace, and is
// reported in a readable message, whatever it contains.
func TestBadItemsAreReportedAndValidOnesInjected(t *testing.T) {
	t.Parallel()
	before := controllerRestarts(t.Context(), t)
	for _, bad := range badSecrets {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, withoutAdmission)
			n.apply("own-entries.yaml")
			n.annotate("app", pullsecrets.SecretsAnnotation, bad.value)
			n.waitForList("app", append([]string{"own-b", "own-a"}, bad.want...)...)
			n.waitForEvent(service("app"), "InvalidAnnotation", pullsecrets.SecretsAnnotation, bad.reported)
			n.checkReports(service("app"))

			n.annotate("app", pullsecrets.SecretsAnnotation, nil)
			n.waitForList("app", "own-b", "own-a")
			n.annotateNamespace(pullsecrets.SecretsAnnotation, bad.value)
			n.waitForEvent(n.namespace(), "InvalidAnnotation", pullsecrets.SecretsAnnotation, bad.reported)
			n.settle(bad.want...)
			n.waitForList("app", append([]string{"own-b", "own-a"}, bad.want...)...)
			n.checkReports(n.namespace())
		})
	}
	t.Cleanup(func() {
		if after := controllerRestarts(context.WithoutCancel(t.Context()), t); after != before {
			t.Errorf("controller crashed %d times", after-before)
		}
	})
}

// Anyone can damage or forge the ledger. Injected entries may then count as the owner's,
// but never the reverse.
func TestBadLedgerRemovesNothingOfTheOwners(t *testing.T) {
	t.Parallel()
	for _, bad := range forgedLedgers {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, withoutAdmission)
			n.applyAs("own-entries.yaml", "app", annotated(pullsecrets.AddedAnnotation, bad.ledger))
			n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
			n.waitForList("app", "own-b", "own-a", "ghcr")
			n.checkLedger("app", map[string]string{"ghcr": "namespace"})
			if bad.malformed {
				n.waitForEvent(service("app"), "InvalidAnnotation", pullsecrets.AddedAnnotation)
			}
			n.settle("ghcr")
			n.checkReports(service("app"))
			n.checkList("app", "own-b", "own-a", "ghcr")
		})
	}
}

func hugeLedger() string {
	ledger := map[string]string{}
	for _, name := range numbered("huge-%05d", 8000) {
		ledger[name] = "namespace"
	}
	return string(encode(ledger))
}

// If the annotations leave no room for the ledger, nothing is injected, because the
// origin of the entries would be lost. One Event reports it.
func TestNothingIsInjectedWithoutRoomForTheLedger(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("own-entries.yaml")
	n.waitForReady("app")
	used := len("example.com/filler")
	for key, value := range n.get("app").GetAnnotations() {
		used += len(key) + len(value)
	}
	n.annotate("app", "example.com/filler", strings.Repeat("x", maxAnnotations-used-10))
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "BackfillDenied", "ghcr (namespace)", "annotations are too large")
	n.settle("ghcr")
	n.checkUntouched("app")
	n.checkList("app", "own-b", "own-a")
	n.checkEvents(service("app"), "BackfillDenied", 1)
	counting.checkWrites("app", 0)
}

// checkReports checks that the Events about the object's annotations are bounded and
// printable.
func (n *tenant) checkReports(object about) {
	n.t.Helper()
	reports := n.events(object, "InvalidAnnotation")
	if len(reports) > maxReports {
		n.t.Errorf("%s %s has %d Events InvalidAnnotation, want at most %d", object.kind, object.name, len(reports), maxReports)
	}
	for _, report := range reports {
		if len(report.Message) >= maxMessage || !utf8.ValidString(report.Message) ||
			strings.ContainsFunc(report.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
			n.t.Errorf("Event message is %q, want at most %d printable bytes", report.Message, maxMessage)
		}
	}
}

// controllerRestarts returns how often the controller has crashed, if the cluster tells
// that.
func controllerRestarts(ctx context.Context, t *testing.T) int {
	t.Helper()
	e := env.Get(t)
	if e.Processes == nil {
		return 0
	}
	status, err := e.Processes.Get(ctx, "controller")
	if err != nil {
		t.Fatal(err)
	}
	return status.Restarts
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
)

// Facts are the inputs of Decide.
type Facts struct {
	Mode    config.Backfill
	Service *servingv1.Service
	Asked   annotation.Service
	// Declaration is what is declared for the Service.
	Declaration grant.Declaration
	Result      merge.Result
	// Denied: the API server rejected the change of this generation before.
	Denied bool
	// Full: the annotations have no room for a ledger.
	Full bool
	// Contested is how long to leave the Service alone, because the same entries are
	// removed again and again, or zero.
	Contested time.Duration
	// Culprit is the Service whose failed Revision pauses the namespace, or empty.
	Culprit string
}

// Action is the outcome for a change.
type Action int

// The values of Action.
const (
	// Skip leaves the Service as it is until its owner or the configuration changes.
	Skip Action = iota
	// Wait defers the change to a later time or event.
	Wait
	// Write changes the Service, as its copies and the rate allow.
	Write
)

// Reason is why a change is not written.
type Reason string

// The values of Reason.
const (
	// Disabled: the configuration wants neither a change nor a report.
	Disabled Reason = "Disabled"
	// NamedRevision: Knative rejects a change of a template that names its Revision.
	NamedRevision Reason = "NamedRevision"
	// Deferred: the change comes with the owner's next change of the template.
	Deferred Reason = "Deferred"
	// Denied: the API server rejected the change before.
	Denied Reason = "Denied"
	// NoRoom: the annotations have no room for the ledger, or it would be too long.
	NoRoom Reason = "NoRoom"
	// Contested: the same entries are removed again and again.
	Contested Reason = "Contested"
	// Paused: a Revision that the controller caused in the namespace failed.
	Paused Reason = "Paused"
)

// Decision is the outcome for a change, with its reason.
type Decision struct {
	Action Action
	Reason Reason
	// Until is how long to wait, or zero where an event enqueues the Service.
	Until time.Duration
	// Remedy is how to get a deferred change now.
	Remedy string
}

const (
	remedyReport = "config-pullsecrets has backfill: report"
	remedySafe   = "its images are given by tag, and a Revision now could run other code than was deployed; to get it now, annotate the Service itself with pullsecrets.dev/inject: "
)

// howToAsk returns the values of inject by which a Service may ask for its change.
func howToAsk(d grant.Declaration) string {
	if d.Ask() == annotation.Auto {
		return "auto, because declared excludes what ClusterPullSecrets declare"
	}
	return "declared or auto"
}

// Decide decides about a change. Permanent reasons precede those that pass with time.
func Decide(f Facts) Decision {
	listChanged := f.Result.ListChanged
	remedy, deferred := deferral(f)
	switch {
	case deferred && remedy == "":
		return Decision{Action: Skip, Reason: Disabled}
	case listChanged && f.Service.Spec.Template.Name != "":
		return Decision{Action: Skip, Reason: NamedRevision}
	case deferred:
		return Decision{Action: Skip, Reason: Deferred, Remedy: remedy}
	case f.Denied:
		return Decision{Action: Skip, Reason: Denied}
	case len(f.Result.Added) > 0 && f.Full, f.Result.TooLong():
		return Decision{Action: Skip, Reason: NoRoom}
	case f.Contested > 0:
		return Decision{Action: Wait, Reason: Contested, Until: f.Contested}
	case listChanged && f.Culprit != "":
		return Decision{Action: Wait, Reason: Paused}
	}
	return Decision{Action: Write}
}

// deferral reports whether the configured backfill mode defers the change, and the remedy,
// which is empty where nothing is to be reported. Mode safe never triggers a rollout that
// could resolve a tag to a new image, unless the Service's own annotation asks for it.
func deferral(f Facts) (remedy string, deferred bool) {
	if !f.Result.ListChanged {
		// The ledger alone makes no Revision.
		return "", f.Mode != config.BackfillSafe && f.Mode != config.BackfillAll
	}
	switch f.Mode {
	case config.BackfillAll:
		return "", false
	case config.BackfillReport:
		return remedyReport, true
	case config.BackfillDisabled:
		return "", true
	}
	if !WasReady(f.Service) || asks(f.Asked, f.Result) || Pinned(f.Service) {
		return "", false
	}
	return remedySafe + howToAsk(f.Declaration), true
}

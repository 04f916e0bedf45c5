// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// Verb is what to do with a copy.
type Verb string

const (
	// Nothing leaves the copy as it is.
	Nothing Verb = ""
	// Create creates the copy. If a Secret of that name exists, that is a conflict.
	Create Verb = "Create"
	// Update updates the copy in place, so that it keeps its UID.
	Update Verb = "Update"
	// Replace deletes a copy that cannot be updated in place. The event of its deletion
	// causes the new copy.
	Replace Verb = "Replace"
	// Remove deletes a copy that the namespace no longer needs.
	Remove Verb = "Remove"
	// Revoke deletes a copy that nothing grants. If it reappears, another writer created
	// it.
	Revoke Verb = "Revoke"
	// Release removes the finalizers of a copy that is being deleted.
	Release Verb = "Release"
	// Retain makes a copy an ordinary Secret, because of deletionPolicy.
	Retain Verb = "Retain"
	// Disown makes a copy an ordinary Secret, because a manifest of the namespace
	// contains it.
	Disown Verb = "Disown"
	// Ask requests a Fact that costs an API request. The caller reads it and decides
	// again.
	Ask Verb = "Ask"
)

// Fact names an input that Decide requests.
type Fact string

const (
	// FactGrant requests Situation.Grant.
	FactGrant Fact = "Grant"
	// FactReference requests Situation.Reference.
	FactReference Fact = "Reference"
	// FactSource requests Situation.Source.
	FactSource Fact = "Source"
)

// Action is a decision about a copy, with its reason.
type Action struct {
	Verb   Verb
	Reason string
	// Fact is the input that Ask requests.
	Fact Fact
	// After is when to decide again if no event causes it, or zero.
	After time.Duration
}

// Grant is the state of the grant of a labelled Secret.
type Grant string

const (
	// Granted means that the Secret is granted or must not be changed. If a cache is
	// stale, its next event requeues the Namespace.
	Granted Grant = "Granted"
	// Ended means that nothing grants the Secret.
	Ended Grant = "Ended"
	// EndedRetain means that nothing grants the Secret and that its ClusterPullSecret
	// retains copies.
	EndedRetain Grant = "EndedRetain"
)

// Reference is what refers to a copy that is no longer asked for.
type Reference string

const (
	// Unreferenced means that nothing refers to the copy.
	Unreferenced Reference = "Unreferenced"
	// ReferencedByCached means that a Service or a ServiceAccount refers to it, whose
	// changes cause events.
	ReferencedByCached Reference = "ReferencedByCached"
	// ReferencedByRevision means that only Revisions refer to it, whose deletions cause
	// no events.
	ReferencedByRevision Reference = "ReferencedByRevision"
)

const (
	// recheckReference is how often Revisions are listed, so that a copy is removed
	// within a minute of its last reference.
	recheckReference = 45 * time.Second
	// RecheckSource is when to decide again if a status that is due has not arrived.
	RecheckSource = 30 * time.Second
)

// Source is the source that Situation.Serving names.
type Source struct {
	Digest string
	// StatusStale means that the source has changed since the status was written.
	StatusStale bool
}

// Situation holds all inputs of Decide for one Secret name in a Namespace. Facts that
// cost an API request are empty until they are requested.
type Situation struct {
	// Have is the cached Secret of that name with our labels, or nil.
	Have *corev1.Secret
	// Serving is the ClusterPullSecret that grants the name to the Namespace, or nil.
	Serving *v1alpha1.ClusterPullSecret
	// IsSource means that the name is that of Serving's own source.
	IsSource bool
	// Wanted means that the Namespace asks for the copy.
	Wanted bool
	// SourceReady means that Serving's source is valid and in an allowed namespace.
	SourceReady bool
	// Abandoned means that Have belongs to another ClusterPullSecret, which is being
	// deleted.
	Abandoned bool
	// Unseen is how long to wait for the cache to show the last write, or zero.
	Unseen time.Duration
	// Backoff is the delay before the next restore.
	Backoff time.Duration

	Grant     Grant
	Reference Reference
	Source    *Source
}

// WantedCopy returns the desired state of the copy. Its Digest is empty until Source is
// known.
func (s Situation) WantedCopy() Wanted {
	w := Wanted{ClusterPullSecret: s.Serving, Version: s.Serving.Status.Source.ResourceVersion}
	if s.Source != nil {
		w.Digest = s.Source.Digest
	}
	return w
}

// Decide returns what to do with a copy. It depends on the Situation only.
func Decide(s Situation) Action {
	switch {
	case s.IsSource:
		return Action{Reason: "the name is that of the source"}
	case s.Unseen > 0:
		return Action{Reason: "the cache does not show the last write yet", After: s.Unseen}
	case s.Have == nil && s.Serving == nil:
		return Action{}
	case s.Have != nil && grant.TakenOver(&s.Have.ObjectMeta):
		return Action{Verb: Disown, Reason: "a manifest contains its data"}
	case s.Serving == nil:
		return revoke(s)
	case s.Have != nil && s.Have.DeletionTimestamp != nil:
		return Action{Verb: Release, Reason: "it is being deleted and will be recreated"}
	case !s.Wanted:
		return unwanted(s)
	}
	return serve(s)
}

// unwanted keeps a granted copy that is no longer asked for, and keeps it up to date,
// while something refers to it.
func unwanted(s Situation) Action {
	switch {
	case s.Have == nil:
		return Action{Reason: "it is not asked for"}
	case s.Abandoned:
		// The current ClusterPullSecret does not need the copy, so the deletionPolicy of the
		// previous one applies.
		return revoke(s)
	case s.Reference == "":
		return Action{Verb: Ask, Fact: FactReference}
	case s.Reference == Unreferenced:
		return removal(s, Remove, "it is not asked for and nothing refers to it")
	}
	action := serve(s)
	if s.Reference == ReferencedByRevision && (action.After == 0 || action.After > recheckReference) {
		action.After = recheckReference
	}
	return action
}

// serve brings the copy to its desired state.
func serve(s Situation) Action {
	switch {
	case !s.SourceReady && s.Have != nil && grant.Owner(s.Have) != s.Serving.Name:
		// It is the copy of a previous ClusterPullSecret. If that no longer grants it, it is
		// removed without waiting for its replacement.
		return revoke(s)
	case !s.SourceReady:
		return Action{Reason: "the source is not ready"}
	case s.Source == nil:
		return Action{Verb: Ask, Fact: FactSource}
	case s.Source.StatusStale:
		return Action{Reason: "the source has changed since its status was written", After: RecheckSource}
	}
	verb := Create
	if s.Have != nil {
		verb = match(s.Have, s.WantedCopy())
	}
	switch {
	case verb == Nothing:
		return Action{Reason: "it is up to date"}
	case s.Backoff > 0:
		return Action{Reason: "earlier restores were undone", After: s.Backoff}
	case verb == Replace:
		return removal(s, Replace, "it cannot be updated in place")
	}
	return Action{Verb: verb, Reason: "it differs from its desired state"}
}

// revoke removes a labelled Secret that nothing grants, whether or not something refers
// to it.
func revoke(s Situation) Action {
	switch {
	case s.Grant == "":
		return Action{Verb: Ask, Fact: FactGrant}
	case s.Grant == Granted:
		return Action{Reason: "it is granted or must not be changed"}
	case s.Have.DeletionTimestamp != nil:
		return Action{Verb: Release, Reason: "it is being deleted"}
	case s.Grant == EndedRetain:
		return Action{Verb: Retain, Reason: "deletionPolicy is Retain"}
	}
	return removal(s, Revoke, "nothing grants it")
}

// removal deletes a Secret, unless a manifest contains its data. Anyone can put our labels
// on such a Secret.
func removal(s Situation, verb Verb, reason string) Action {
	if grant.KeptBy(&s.Have.ObjectMeta) != "" {
		return Action{Verb: Disown, Reason: "a manifest contains its data"}
	}
	return Action{Verb: verb, Reason: reason}
}

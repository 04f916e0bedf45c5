// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// A Verb is what is done about a copy.
type Verb string

const (
	// Nothing is to be done.
	Nothing Verb = ""
	// Create makes the copy. Where the name is taken, that is a conflict.
	Create Verb = "Create"
	// Update writes the copy in place, so that it keeps its UID.
	Update Verb = "Update"
	// Replace deletes a copy that cannot be written in place. It is made anew when
	// its deletion is seen.
	Replace Verb = "Replace"
	// Remove deletes a copy that the namespace shall not have, or needs no more.
	Remove Verb = "Remove"
	// Revoke is Remove where nothing grants the copy. Somebody else has made it if it
	// comes back.
	Revoke Verb = "Revoke"
	// Release takes off the finalizers of a copy that is being deleted.
	Release Verb = "Release"
	// Retain makes a copy an ordinary Secret, as deletionPolicy says.
	Retain Verb = "Retain"
	// LetGo makes a Secret that was taken over its owner's again.
	LetGo Verb = "LetGo"
	// Ask has a fact found out that costs a request. Then it is decided anew.
	Ask Verb = "Ask"
)

// A Fact is what an Action asks for.
type Fact string

const (
	// FactGrant is Situation.Grant.
	FactGrant Fact = "Grant"
	// FactReference is Situation.Reference.
	FactReference Fact = "Reference"
	// FactSource is Situation.Source.
	FactSource Fact = "Source"
)

// Action is what is done about a copy, and why.
type Action struct {
	Verb   Verb
	Reason string
	// Fact is what is asked for.
	Fact Fact
	// After is when to decide anew where no event says so, if ever.
	After time.Duration
}

// Grant is what the API server says of the grant of a labelled Secret.
type Grant string

const (
	// Granted: the Secret is as it should be, or is none of ours to judge, and a cache
	// will say so in a moment.
	Granted Grant = "Granted"
	// Ended: nothing grants it.
	Ended Grant = "Ended"
	// EndedRetain: nothing grants it, and its ClusterPullSecret leaves copies behind.
	EndedRetain Grant = "EndedRetain"
)

// Reference is what refers to a copy that nobody asks for.
type Reference string

const (
	// Unreferenced: nothing does.
	Unreferenced Reference = "Unreferenced"
	// ReferencedByCached: a Service or a ServiceAccount does, whose change is an event.
	ReferencedByCached Reference = "ReferencedByCached"
	// ReferencedByRevision: a Revision alone does, of whose end there is no event.
	ReferencedByRevision Reference = "ReferencedByRevision"
)

const (
	// RecheckReference is when Revisions are listed again, so that a copy goes within a
	// minute of the last reference.
	RecheckReference = 45 * time.Second
	// RecheckSource is when to decide anew where a status should have come by then.
	RecheckSource = 30 * time.Second
)

// Source is what is known of the source that Situation.Serving names.
type Source struct {
	Digest string
	// Unjudged: it has changed since the status was written, which will say so.
	Unjudged bool
}

// Situation is everything that decides what becomes of the Secret of one name in a
// Namespace. Facts that cost a request are empty until they are asked for.
type Situation struct {
	// Have is the Secret of the name that has our labels, as cached, or nil.
	Have *corev1.Secret
	// Serving is the ClusterPullSecret that the Namespace may have under the name, or
	// nil.
	Serving *v1alpha1.ClusterPullSecret
	// IsSource: the name is that of Serving's very source.
	IsSource bool
	// Wanted: something in the Namespace asks for the copy.
	Wanted bool
	// SourceReady: Serving's source was found good, and lies where it may.
	SourceReady bool
	// Abandoned: Have belongs to another ClusterPullSecret, which is being deleted.
	Abandoned bool
	// Unseen is for how long a write of ours is waited for that the cache does not show.
	Unseen time.Duration
	// Backoff is how long the next repair has to wait.
	Backoff time.Duration

	Grant     Grant
	Reference Reference
	Source    *Source
}

// WantedCopy is what the copy should be, where Serving's source is known.
func (s Situation) WantedCopy() Wanted {
	w := Wanted{ClusterPullSecret: s.Serving, Version: s.Serving.Status.Source.ResourceVersion}
	if s.Source != nil {
		w.Digest = s.Source.Digest
	}
	return w
}

// Decide returns what is done about a copy. It is a function of the Situation alone.
func Decide(s Situation) Action {
	switch {
	case s.IsSource:
		return Action{Reason: "the source serves under its own name"}
	case s.Unseen > 0:
		return Action{Reason: "the cache does not show the last write yet", After: s.Unseen}
	case s.Have == nil && s.Serving == nil:
		return Action{}
	case s.Have != nil && grant.TakenOver(&s.Have.ObjectMeta):
		return Action{Verb: LetGo, Reason: "its owner keeps the data in a manifest"}
	case s.Serving == nil:
		return revoke(s)
	case s.Have != nil && s.Have.DeletionTimestamp != nil:
		return Action{Verb: Release, Reason: "it is being deleted, and is made anew"}
	case !s.Wanted:
		return unwanted(s)
	}
	return serve(s)
}

// unwanted keeps a granted copy that nobody asks for as long as something refers to it,
// and up to date until then.
func unwanted(s Situation) Action {
	switch {
	case s.Have == nil:
		return Action{Reason: "nobody asks for it"}
	case s.Abandoned:
		// The one that serves now has no use for it, so the deletionPolicy of the other
		// decides.
		return revoke(s)
	case s.Reference == "":
		return Action{Verb: Ask, Fact: FactReference}
	case s.Reference == Unreferenced:
		return remove(s, Remove, "nobody asks for it, and nothing refers to it")
	}
	action := serve(s)
	if s.Reference == ReferencedByRevision && (action.After == 0 || action.After > RecheckReference) {
		action.After = RecheckReference
	}
	return action
}

// serve makes the copy what it should be.
func serve(s Situation) Action {
	switch {
	case !s.SourceReady && s.Have != nil && grant.Owner(s.Have) != s.Serving.Name:
		// It is the copy of one that served here before. Where that grants it no longer,
		// it goes, and does not wait for what comes in its place.
		return revoke(s)
	case !s.SourceReady:
		return Action{Reason: "the source is not ready; what is there stays as it is"}
	case s.Source == nil:
		return Action{Verb: Ask, Fact: FactSource}
	case s.Source.Unjudged:
		return Action{Reason: "the source has changed since its status was written", After: RecheckSource}
	}
	verb := Create
	if s.Have != nil {
		verb = match(s.Have, s.WantedCopy())
	}
	switch {
	case verb == Nothing:
		return Action{Reason: "it is what it should be"}
	case s.Backoff > 0:
		return Action{Reason: "the last repairs were undone", After: s.Backoff}
	case verb == Replace:
		return remove(s, Replace, "it cannot be written in place")
	}
	return Action{Verb: verb, Reason: "it is not what it should be"}
}

// revoke takes away a labelled Secret that nothing grants, references or not.
func revoke(s Situation) Action {
	switch {
	case s.Grant == "":
		return Action{Verb: Ask, Fact: FactGrant}
	case s.Grant == Granted:
		return Action{Reason: "it is granted, or none of ours to judge"}
	case s.Have.DeletionTimestamp != nil:
		return Action{Verb: Release, Reason: "it is being deleted"}
	case s.Grant == EndedRetain:
		return Action{Verb: Retain, Reason: "deletionPolicy is Retain"}
	}
	return remove(s, Revoke, "nothing grants it")
}

// remove deletes no Secret whose data somebody keeps in a manifest, whoever has put our
// labels on it.
func remove(s Situation, verb Verb, reason string) Action {
	if grant.KeptBy(&s.Have.ObjectMeta) != "" {
		return Action{Verb: LetGo, Reason: "its owner keeps the data in a manifest"}
	}
	return Action{Verb: verb, Reason: reason}
}

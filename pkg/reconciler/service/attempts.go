// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
)

// attempts remembers the reconciler's own writes, to prevent loops.
type attempts struct{ *memory.Store[history] }

type history struct {
	uid types.UID
	// asked are the Service's own annotations. When they change, everything is retried.
	asked [2]string
	// noted is set if any field below is.
	noted bool
	// added are the names that were added before.
	added contest.Additions
	// contest counts how often names were added again.
	contest contest.Contest
	// replaced is the resourceVersion that the last write replaced.
	replaced string
	// denied is the generation whose change the API server rejected.
	denied int64
	// relabelled is set once the ledger alone was written.
	relabelled bool
	// checked are the names whose Secrets were read.
	checked []string
	// unread is set while a read of the Secrets has to wait. The Service may be Ready, and
	// its change written, before the answer comes.
	unread bool
}

// recall calls do with the history of a Service, which is empty if the Service was
// recreated or its own annotations changed. do returns whether it noted anything.
func (a attempts) recall(svc *servingv1.Service, do func(h *history) (noted bool)) {
	asked := [2]string{svc.Annotations[pullsecrets.SecretsAnnotation], svc.Annotations[pullsecrets.InjectAnnotation]}
	a.Do(keyOf(svc), func(h *history) bool {
		if h.uid != svc.UID || h.asked != asked {
			*h = history{uid: svc.UID, asked: asked}
		}
		h.noted = do(h) || h.noted
		return h.noted
	})
}

// contested returns the entries that somebody removes again and again, and how long to
// leave the Service alone, or zero. What lacks in a stale cache that does not show the last
// write yet was removed by nobody.
func (a attempts) contested(svc *servingv1.Service, r merge.Result) (again []merge.Entry, left time.Duration) {
	a.recall(svc, func(h *history) bool {
		if h.replaced != "" && h.replaced == svc.ResourceVersion {
			return false
		}
		restored := h.restored(svc, r)
		if len(restored) == 0 && (r.ListChanged || !h.relabelled) {
			return false
		}
		if left = h.contest.Left(time.Now()); left > 0 {
			again = restored
		}
		return true
	})
	return again, left
}

// restored returns the entries that a result adds although they were added before, by
// this process or according to the ledger.
func (h *history) restored(svc *servingv1.Service, r merge.Result) []merge.Entry {
	ledger, _ := merge.ParseLedger(svc.Annotations[pullsecrets.AddedAnnotation])
	again := h.added.Again(r)
	return slices.DeleteFunc(slices.Clone(r.Added), func(e merge.Entry) bool {
		_, listed := ledger[e.Name]
		return !listed && !slices.Contains(again, e)
	})
}

// wrote records a write, after which the Service has this resourceVersion. It is the same if the
// change was reverted in the same request.
func (a attempts) wrote(svc *servingv1.Service, version string, r merge.Result) {
	a.recall(svc, func(h *history) bool {
		if len(h.restored(svc, r)) > 0 || !r.ListChanged && h.relabelled {
			h.contest.Note(time.Now())
		}
		h.relabelled = h.relabelled || !r.ListChanged
		h.added.Wrote(r)
		if h.replaced = ""; version != svc.ResourceVersion {
			h.replaced = svc.ResourceVersion
		}
		return true
	})
}

// deny records that the API server rejected a change of this generation.
func (a attempts) deny(svc *servingv1.Service) {
	a.recall(svc, func(h *history) bool {
		h.denied = svc.Generation
		return true
	})
}

// wasDenied reports whether the API server rejected a change of this generation.
func (a attempts) wasDenied(svc *servingv1.Service) (denied bool) {
	a.recall(svc, func(h *history) bool {
		denied = h.denied == svc.Generation && svc.Generation != 0
		return false
	})
	return denied
}

// checked records that the Secrets of names are read now, and reports whether they had been
// read before.
func (a attempts) checked(svc *servingv1.Service, names []string) (before bool) {
	a.recall(svc, func(h *history) bool {
		before = slices.Equal(h.checked, names)
		h.checked = names
		return true
	})
	return before
}

// unread reports whether the Secrets of the Service are still to be read.
func (a attempts) unread(svc *servingv1.Service) (unread bool) {
	a.recall(svc, func(h *history) bool {
		unread = h.unread
		return false
	})
	return unread
}

// setUnread records whether the Secrets of the Service are still to be read.
func (a attempts) setUnread(svc *servingv1.Service, unread bool) {
	a.recall(svc, func(h *history) bool {
		h.unread = unread
		return unread
	})
}

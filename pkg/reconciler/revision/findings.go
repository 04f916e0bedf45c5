// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/memory"
)

// reportAfter is how long a finding must last before it is reported. A Service and its Secret
// are often created by the same manifest, in any order, and copies follow.
const reportAfter = 15 * time.Second

// findings holds what is found of Services with images that are not covered.
type findings struct{ *memory.Store[[]finding] }

// finding is a finding since a time. Its text is that of the Event.
type finding struct {
	since  time.Time
	told   bool
	reason coverage.Reason
	text   string
	images []string
}

// report records the Events of findings that lasted, and returns when to check again.
func (r *Reconciler) report(ctx context.Context, s *subject) reconciler.Event {
	now := r.now()
	var reports []events.Event
	var again time.Duration
	sooner := func(after time.Duration) {
		if again == 0 || after < again {
			again = max(after, time.Second)
		}
	}
	r.findings.Do(s.key, func(known *[]finding) bool {
		before := *known
		*known = nil
		for _, f := range s.found {
			event := events.NotCovered(f.Image, f.Cause, f.Remedy, len(f.References)-1)
			is := finding{since: now, reason: f.Reason, text: event.Message, images: f.References}
			for _, was := range before {
				if was.text == is.text {
					is.since = was.since
				}
			}
			if left := reportAfter - now.Sub(is.since); left > 0 {
				sooner(left)
			} else {
				is.told = true
				reports = append(reports, event)
			}
			*known = append(*known, is)
		}
		return len(*known) > 0
	})
	if _, all := r.reporter.Report(controller.GetEventRecorder(ctx), s.Service, topicUncovered, reports); !all {
		sooner(events.RetryAfter)
	}
	if !s.expires.IsZero() {
		sooner(s.expires.Sub(now))
	}
	if s.retryAfter > 0 {
		sooner(s.retryAfter)
	}
	if again > 0 {
		return controller.NewRequeueAfter(again)
	}
	return nil
}

// observe is the callback of the gauge. It counts images once for each reason, however many
// Services have them. A namespace without uncovered images has no series.
func (f findings) observe(_ context.Context, observer metric.Int64Observer) error {
	type series struct {
		namespace string
		reason    coverage.Reason
	}
	images := make(map[series]sets.Set[string])
	f.Each(func(service types.NamespacedName, all *[]finding) {
		for _, one := range *all {
			if !one.told {
				continue
			}
			key := series{service.Namespace, one.reason}
			if images[key] == nil {
				images[key] = sets.New[string]()
			}
			images[key].Insert(one.images...)
		}
	})
	for key, distinct := range images {
		observer.Observe(int64(distinct.Len()), metric.WithAttributes(
			attribute.String("namespace", key.namespace), attribute.String("reason", string(key.reason))))
	}
	return nil
}

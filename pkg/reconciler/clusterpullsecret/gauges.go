// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// gauges report what the cache has of each ClusterPullSecret. So they survive a restart,
// and every replica reports the same, whichever one leads.
type gauges struct {
	namespaces, ready metric.Int64ObservableGauge
	changed, delay    metric.Float64ObservableGauge
}

// observeStatus registers the gauges. Their cost depends on the number of
// ClusterPullSecrets, which only the platform team creates.
func observeStatus(all lister, now func() time.Time) error {
	meter := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/clusterpullsecret")
	var g gauges
	var errs [4]error
	g.namespaces, errs[0] = meter.Int64ObservableGauge("pullsecrets.distribution.namespaces",
		metric.WithDescription("Namespaces that ask for a copy of a ClusterPullSecret, by the state of the copy"), metric.WithUnit("{namespace}"))
	g.ready, errs[1] = meter.Int64ObservableGauge("pullsecrets.source.ready",
		metric.WithDescription("Whether the source of a ClusterPullSecret is valid (1) or not (0)"))
	g.changed, errs[2] = meter.Float64ObservableGauge("pullsecrets.source.changed",
		metric.WithDescription("When the credential of a ClusterPullSecret was last changed, in Unix seconds"), metric.WithUnit("s"))
	g.delay, errs[3] = meter.Float64ObservableGauge("pullsecrets.deletion.delay",
		metric.WithDescription("For how long the deletion of a ClusterPullSecret has waited for its copies"), metric.WithUnit("s"))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, cps := range list(all) {
			g.observe(o, cps, now())
		}
		return nil
	}, g.namespaces, g.ready, g.changed, g.delay)
	return err
}

// observe reports one ClusterPullSecret. One that is being deleted has no copies to
// distribute.
func (g gauges) observe(o metric.Observer, cps *v1alpha1.ClusterPullSecret, now time.Time) {
	name := attribute.String("cluster_pull_secret", cps.Name)
	if cps.DeletionTimestamp != nil {
		o.ObserveFloat64(g.delay, max(0, now.Sub(cps.DeletionTimestamp.Time).Seconds()), metric.WithAttributes(name))
		return
	}
	var n v1alpha1.NamespaceCounts
	if cps.Status.Namespaces != nil {
		n = *cps.Status.Namespaces
	}
	for state, count := range map[string]int32{
		"synced": n.Synced, "conflicted": n.Conflicted, "failed": n.Failed,
		"pending": max(0, n.Wanted-n.Synced-n.Conflicted-n.Failed),
	} {
		o.ObserveInt64(g.namespaces, int64(count), metric.WithAttributes(name, attribute.String("state", state)))
	}
	ready := int64(0)
	if cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue() {
		ready = 1
	}
	o.ObserveInt64(g.ready, ready, metric.WithAttributes(name))
	if source := cps.Status.Source; source != nil && source.LastChanged != nil {
		o.ObserveFloat64(g.changed, float64(source.LastChanged.Unix()), metric.WithAttributes(name))
	}
}

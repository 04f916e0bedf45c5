// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/grant"
)

// notGranted returns the names of copies, among those that are declared, which the
// Namespace may not have. Whether it has a Secret of its own under such a name is
// for the reconciler to find out.
func notGranted(all grant.Catalog, namespace *corev1.Namespace, declared []string) []string {
	return slices.DeleteFunc(slices.Clone(declared), func(name string) bool {
		cps := all.Withheld(name, namespace.Labels)
		return cps == nil || grant.IsSource(cps, namespace.Name, name)
	})
}

// onTheirWay returns the names of copies, among those that are declared, which by
// all that can be known without reading Secrets need not be there yet: those with a
// source that was never good, and those that this request is the first to ask for.
// Another Service may have asked before, which is not known here.
func onTheirWay(d grant.Declaration, namespace *corev1.Namespace, before, now serviceAsks, covers grant.Covers) []string {
	if len(d.Granted.Serving) == 0 {
		return nil
	}
	wantedWith := func(service serviceAsks) map[string]bool {
		asks := grant.NewAsks(d.OfNamespace)
		asks.AddService(service.Service, service.images)
		names := make(map[string]bool)
		for _, cps := range d.Granted.Wanted(asks, covers) {
			names[grant.SecretName(cps)] = true
		}
		return names
	}
	was, is := wantedWith(before), wantedWith(now)
	return slices.DeleteFunc(d.Names(), func(name string) bool {
		cps := d.Granted.Named(name)
		if cps == nil || !is[name] || grant.IsSource(cps, namespace.Name, name) {
			return true
		}
		return was[name] && cps.Status.Source != nil
	})
}

// serviceAsks is what a Service asks copies for.
type serviceAsks struct {
	annotation.Service
	images []grant.Image
}

// asks is what the Service asks for; nil, one that is new, asked for nothing.
func (o *object) asks() serviceAsks {
	if o == nil {
		return serviceAsks{}
	}
	return serviceAsks{annotation.ForService(o.Metadata.Annotations), o.images()}
}

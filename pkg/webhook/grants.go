// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/grant"
)

// notGranted returns those declared names of copies that are not granted to the
// Namespace. Whether the Namespace has its own Secret of such a name is left to the
// reconciler.
func notGranted(all grant.Catalog, namespace *corev1.Namespace, declared []string) []string {
	return slices.DeleteFunc(slices.Clone(declared), func(name string) bool {
		cps := all.Withheld(name, namespace.Labels)
		return cps == nil || grant.IsSource(cps, namespace.Name, name)
	})
}

// pendingCopies returns those declared names of copies that may not exist yet: those
// whose source was never valid, and those that this request is the first to ask for.
// Secrets are not read, and other Services that ask for the copy are not known here.
func pendingCopies(d grant.Declaration, namespace *corev1.Namespace, before, now serviceAsks, covers grant.Covers) []string {
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

// serviceAsks is what determines the copies that a Service asks for.
type serviceAsks struct {
	annotation.Service
	images []grant.Image
}

// asks returns what the Service asks for. A nil Service asks for nothing.
func (o *object) asks() serviceAsks {
	if o == nil {
		return serviceAsks{}
	}
	return serviceAsks{annotation.ForService(o.Metadata.Annotations), o.images()}
}

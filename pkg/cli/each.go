// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/explain"
)

// each reads what each of the Services depends on. With all namespaces, what fails for one
// Service is noted, so that no tenant hides those of others, unless it fails for all.
func (r *reader) each(ctx context.Context, namespace string, services []servingv1.Service, read func(*servingv1.Service) error) error {
	failed := 0
	for i := range services {
		err := read(&services[i])
		if err == nil {
			continue
		}
		if failed++; namespace != metav1.NamespaceAll || ctx.Err() != nil || failed == len(services) {
			return err
		}
		r.noteService(&services[i], err)
	}
	return nil
}

// noteService notes that a Service was not checked because of an error.
func (r *reader) noteService(svc *servingv1.Service, err error) {
	r.note("Service "+svc.Namespace+"/"+svc.Name, explain.Line(err.Error()))
}

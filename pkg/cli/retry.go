// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/explain"
)

// retried is the result of the command retry.
type retried struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Revision  string `json:"deletedRevision"`
	DryRun    bool   `json:"dryRun"`
}

func newRetry(o *options) *cobra.Command {
	dryRun := false
	c := o.ofService(&cobra.Command{
		Use:   "retry SERVICE",
		Short: "Have Knative build a failed Revision again at once",
		Long: `Deletes the newest Revision of a Service if it failed before it was ever Ready. Knative then
creates it again under the same name within seconds, instead of waiting for its back-off of
up to 1000 s. Any other Revision is refused. It needs the right to delete Revisions.`,
		Example: "  kn pullsecrets retry shop -n team-a",
	}, func(ctx context.Context, r *reader, namespace, service string) error {
		result, err := r.retry(ctx, namespace, service, dryRun)
		if err != nil {
			return err
		}
		return o.print(&document{Command: "retry", Result: result, quiet: true}, func(p *printer) {
			if dryRun {
				p.line("Revision %s/%s would be deleted (server dry run).", namespace, result.Revision)
				return
			}
			p.line("Revision %s/%s deleted; Knative creates it again.", namespace, result.Revision)
		})
	})
	c.Flags().BoolVar(&dryRun, "dry-run", false, "have the API server check the request, and delete nothing")
	return c
}

// retry deletes the newest Revision of a Service, if that does no harm.
func (r *reader) retry(ctx context.Context, namespace, service string, dryRun bool) (*retried, error) {
	svc, err := r.serving.ServingV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	name := svc.Status.LatestCreatedRevisionName
	if name == "" {
		return nil, fmt.Errorf("Service %s/%s has no Revision yet", namespace, svc.Name)
	}
	revisions := r.serving.ServingV1().Revisions(namespace)
	revision, err := revisions.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if err := explain.Retryable(svc, revision); err != nil {
		return nil, err
	}
	// Whatever changed since it was read makes the API server reject the request.
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &revision.UID, ResourceVersion: &revision.ResourceVersion}}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if err := revisions.Delete(ctx, name, options); err != nil {
		return nil, err
	}
	return &retried{namespace, svc.Name, name, dryRun}, nil
}

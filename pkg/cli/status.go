// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/explain"
)

func newStatus(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "List Services with the coverage of their images, and ClusterPullSecrets",
		Long: `Lists Services: how many of their images are covered, which pull secrets were added, which
are missing, when the first credential expires, and the code of the first finding.`,
		Example: "  kn pullsecrets status -A",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			namespace, err := o.namespace()
			if err != nil {
				return err
			}
			r, err := o.newReader()
			if err != nil {
				return err
			}
			settings, err := r.settings(c.Context())
			if err != nil {
				return err
			}
			services, err := r.serving.ServingV1().Services(namespace).List(c.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			var reports []explain.Report
			err = r.each(c.Context(), namespace, services.Items, func(svc *servingv1.Service) error {
				objects, err := r.objectsOf(c.Context(), settings, svc)
				if err == nil {
					reports = append(reports, explain.Service(objects))
				}
				return err
			})
			if err != nil {
				return err
			}
			status, findings := explain.Overview(reports, settings.Offered)
			return o.print(&document{Command: "status", Result: status, Findings: findings, NotChecked: r.unread},
				func(p *printer) { p.status(&status, o.output == "wide") })
		},
	}
	o.addAllNamespaces(c)
	return c
}

// status prints the state of Services and ClusterPullSecrets.
func (p *printer) status(s *explain.Status, wide bool) {
	rows := [][]string{{"NAMESPACE", "SERVICE", "READY", "COVERED", "ADDED", "MISSING", "EXPIRES", "REASON"}}
	for i := range s.Services {
		svc := &s.Services[i]
		covered := fmt.Sprintf("%d/%d", svc.Covered, svc.Total)
		if svc.NotChecked > 0 {
			covered += fmt.Sprintf(" (%d not checked)", svc.NotChecked)
		}
		rows = append(rows, []string{
			svc.Namespace, svc.Name, svc.Ready, covered, orNone(joined(svc.Added)), orNone(joined(svc.Missing)), moment(svc.Expires), orNone(string(svc.Reason)),
		})
	}
	if len(s.Services) == 0 {
		p.line("No Services.")
	} else {
		p.table(rows)
	}
	if len(s.ClusterPullSecrets) == 0 {
		return
	}
	p.line("")
	rows = [][]string{{"CLUSTERPULLSECRET", "SECRET", "READY", "REASON", "SYNCED", "EXPIRES"}}
	if wide {
		rows[0] = append(rows[0], "REGISTRIES")
	}
	for i := range s.ClusterPullSecrets {
		cps := &s.ClusterPullSecrets[i]
		row := []string{cps.Name, cps.SecretName, cps.Ready, orNone(cps.Reason), orNone(cps.Synced), moment(cps.Expires)}
		if wide {
			row = append(row, orNone(joined(cps.Registries)))
		}
		rows = append(rows, row)
	}
	p.table(slices.Clip(rows))
}

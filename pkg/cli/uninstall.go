// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/grant"
)

// ofInstallation selects the objects of config/.
const ofInstallation = "app.kubernetes.io/name=pullsecrets"

var (
	ownNamespaces = []string{pullsecrets.SystemNamespace, pullsecrets.SourcesNamespace}
	// inKnative are the names of the Roles and RoleBindings in the namespace of Knative Serving.
	inKnative = []string{"pullsecrets-controller", "pullsecrets-webhook"}
)

func newUninstall(o *options) *cobra.Command {
	dryRun, verify := false, false
	c := &cobra.Command{
		Use:   "uninstall --dry-run | --verify",
		Short: "Show what an installation holds, or that nothing is left of it",
		Long: `With --dry-run, lists what would be left or lost without the installation: entries that the
ledgers record, copies of credentials, and ClusterPullSecrets. With --verify, each of these
and each object of the installation is a finding, and so is what you may not read. It removes
nothing: docs/operations.md has the commands for that.`,
		Example: "  kn pullsecrets uninstall --dry-run\n  kn pullsecrets uninstall --verify",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dryRun == verify {
				return errors.New("expected either --dry-run or --verify")
			}
			r, err := o.newReader()
			if err != nil {
				return err
			}
			held, err := r.held(c.Context())
			if err != nil {
				return err
			}
			var findings []explain.Finding
			if verify {
				installed, err := r.installed(c.Context())
				if err != nil {
					return err
				}
				held = append(held, installed...)
				findings = explain.Leftovers(held, r.unread)
			}
			return o.print(&document{Command: "uninstall", Result: held, Findings: findings, NotChecked: r.unread, quiet: dryRun}, func(p *printer) { p.held(held, len(r.unread) > 0) })
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "list what the installation holds")
	c.Flags().BoolVar(&verify, "verify", false, "check that nothing is left")
	return c
}

func (p *printer) held(held []explain.Held, partly bool) {
	switch {
	case len(held) == 0 && partly:
		p.line("Nothing in what was checked.")
		return
	case len(held) == 0:
		p.line("Nothing.")
		return
	}
	rows := [][]string{{"KIND", "NAMESPACE", "NAME", "HOLDS"}}
	for _, h := range held {
		rows = append(rows, []string{h.Kind, orNone(h.Namespace), h.Name, h.What})
	}
	p.table(rows)
}

// resource returns a resource of the version v1.
func resource(group, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: name}
}

// metadataOf lists the metadata of objects in all namespaces, so that the API server sends no content, such as
// credentials. Without the right to, it notes what was not checked, and readable is false. So it is
// for a resource that the API server does not have.
func (r *reader) metadataOf(ctx context.Context, what string, of schema.GroupVersionResource, selector string) (objects []metav1.PartialObjectMetadata, readable bool, err error) {
	list, err := r.metadata.Resource(of).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if readable, err = r.readable(err, what, "list", of.GroupResource().String()); readable {
		objects = list.Items
	}
	return objects, readable, err
}

// held reads ledgers, copies and ClusterPullSecrets.
func (r *reader) held(ctx context.Context) ([]explain.Held, error) {
	held := []explain.Held{}
	for _, ledger := range []struct {
		kind string
		of   schema.GroupVersionResource
	}{{"Service", resource("serving.knative.dev", "services")}, {"ServiceAccount", resource("", "serviceaccounts")}} {
		objects, _, err := r.metadataOf(ctx, "ledgers of "+ledger.kind+"s", ledger.of, "")
		if err != nil {
			return nil, err
		}
		for i := range objects {
			if h := explain.LedgerOf(ledger.kind, objects[i].Namespace, objects[i].Name, objects[i].Annotations); h != nil {
				held = append(held, *h)
			}
		}
	}
	copies, _, err := r.metadataOf(ctx, "copies of credentials", resource("", "secrets"), grant.Copies)
	if err != nil {
		return nil, err
	}
	for i := range copies {
		if owner := grant.Owner(&corev1.Secret{ObjectMeta: copies[i].ObjectMeta}); owner != "" {
			held = append(held, explain.Held{Kind: "Secret", Namespace: copies[i].Namespace, Name: copies[i].Name, What: "copy of ClusterPullSecret " + owner})
		}
	}
	offered, err := r.ours.PullsecretsV1alpha1().ClusterPullSecrets().List(ctx, metav1.ListOptions{})
	if readable, err := r.readable(err, "ClusterPullSecrets", "list", clusterPullSecrets); err != nil || !readable {
		return held, err
	}
	for i := range offered.Items {
		cps := &offered.Items[i]
		held = append(held, explain.Held{Kind: "ClusterPullSecret", Name: cps.Name, What: "source " + cps.Spec.SecretRef.Namespace + "/" + cps.Spec.SecretRef.Name})
	}
	return held, nil
}

// installedNamespaces reads the namespaces of the installation by name. Helm creates them without
// labels.
func (r *reader) installedNamespaces(ctx context.Context) (held []explain.Held, err error) {
	for _, name := range ownNamespaces {
		_, err := r.metadata.Resource(resource("", "namespaces")).Get(ctx, name, metav1.GetOptions{})
		readable, err := r.readable(err, "Namespace objects of the installation", "get", "namespaces")
		if err != nil {
			return nil, err
		}
		if readable {
			held = append(held, explain.Held{Kind: "Namespace", Name: name, What: "object of the installation"})
		}
	}
	return held, nil
}

// installed reads the objects of the installation that are not in its namespaces, and these.
func (r *reader) installed(ctx context.Context) (held []explain.Held, err error) {
	const admission, rbac = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
	if held, err = r.installedNamespaces(ctx); err != nil {
		return nil, err
	}
	for _, k := range []struct {
		kind string
		of   schema.GroupVersionResource
		// only are the names that count, or nil for all.
		only []string
	}{
		{"MutatingWebhookConfiguration", resource(admission, "mutatingwebhookconfigurations"), nil},
		{"ValidatingWebhookConfiguration", resource(admission, "validatingwebhookconfigurations"), nil},
		{"ValidatingAdmissionPolicy", resource(admission, "validatingadmissionpolicies"), nil},
		{"ValidatingAdmissionPolicyBinding", resource(admission, "validatingadmissionpolicybindings"), nil},
		{"MutatingAdmissionPolicy", mutatingPolicies, nil},
		{"MutatingAdmissionPolicyBinding", mutatingBindings, nil},
		{"ClusterRole", resource(rbac, "clusterroles"), nil},
		{"ClusterRoleBinding", resource(rbac, "clusterrolebindings"), nil},
		// Knative may be in any namespace. Those in our own are removed with it.
		{"Role", resource(rbac, "roles"), inKnative},
		{"RoleBinding", resource(rbac, "rolebindings"), inKnative},
	} {
		objects, _, err := r.metadataOf(ctx, k.kind+" objects of the installation", k.of, ofInstallation)
		if err != nil {
			return nil, err
		}
		for i := range objects {
			o := &objects[i]
			if (k.only == nil || slices.Contains(k.only, o.Name)) && !slices.Contains(ownNamespaces, o.Namespace) {
				held = append(held, explain.Held{Kind: k.kind, Namespace: o.Namespace, Name: o.Name, What: "object of the installation"})
			}
		}
	}
	groups, err := r.kube.Discovery().ServerGroups()
	if err != nil {
		return nil, err
	}
	for i := range groups.Groups {
		if groups.Groups[i].Name == pullsecrets.GroupName {
			held = append(held, explain.Held{Kind: "APIGroup", Name: pullsecrets.GroupName, What: "object of the installation"})
		}
	}
	return held, nil
}

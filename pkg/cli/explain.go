// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/merge"
)

func newExplain(o *options) *cobra.Command {
	return o.ofService(&cobra.Command{
		Use:   "explain SERVICE",
		Short: "Show whether each image of a Service is covered, why, and what to do",
		Long: `Shows every image of a Service against every pull secret, for both readers: tag
resolution by Knative's controller, and the kubelet. Shows why each pull secret is in the
list, what the next change of the template adds, and what fails with the command that
corrects it.`,
		Example: "  kn pullsecrets explain shop -n team-a",
	}, func(ctx context.Context, r *reader, namespace, name string) error {
		objects, err := r.serviceObjects(ctx, namespace, name)
		if err != nil {
			return err
		}
		report := explain.Service(objects)
		return o.print(&document{Command: "explain", Result: report, Findings: report.Findings, NotChecked: report.Unread},
			func(p *printer) { p.explanation(&report, o.output == "wide") })
	})
}

// ofService completes a command whose argument is the name of a Service.
func (o *options) ofService(c *cobra.Command, run func(ctx context.Context, r *reader, namespace, name string) error) *cobra.Command {
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = o.completeServices
	c.RunE = func(c *cobra.Command, args []string) error {
		namespace, err := o.namespace()
		if err != nil {
			return err
		}
		r, err := o.newReader()
		if err != nil {
			return err
		}
		return run(c.Context(), r, namespace, args[0])
	}
	return c
}

// serviceObjects reads all that the explanation of a Service depends on.
func (r *reader) serviceObjects(ctx context.Context, namespace, name string) (*explain.Objects, error) {
	svc, err := r.serving.ServingV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	settings, err := r.settings(ctx)
	if err != nil {
		return nil, err
	}
	o, err := r.objectsOf(ctx, settings, svc)
	if err != nil {
		return nil, err
	}
	selector := metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + name}
	revisions, err := r.serving.ServingV1().Revisions(namespace).List(ctx, selector)
	readable, err := r.readable(err, "Revisions", "list", "revisions.serving.knative.dev in namespace "+namespace)
	if err != nil {
		return nil, err
	}
	if readable {
		for i := range revisions.Items {
			o.Revisions = append(o.Revisions, &revisions.Items[i])
		}
	}
	if err := r.otherAccounts(ctx, o); err != nil {
		return nil, err
	}
	pods, err := r.kube.CoreV1().Pods(namespace).List(ctx, selector)
	if readable, err = r.readable(err, "Pods, so errors of nodes are not known", "list", "pods in namespace "+namespace); err != nil {
		return nil, err
	}
	if readable {
		for i := range pods.Items {
			o.Pods = append(o.Pods, &pods.Items[i])
		}
	}
	events, err := r.kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("source", explain.EventSource).String()})
	if readable, err = r.readable(err, "Events", "list", "events in namespace "+namespace); err != nil {
		return nil, err
	}
	if readable {
		o.Events = slices.DeleteFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Kind == "Service" && e.InvolvedObject.Name != name
		})
	}
	o.Unread = r.unread
	return o, nil
}

// otherAccounts reads the ServiceAccounts of earlier Revisions, and the Secrets that they list.
func (r *reader) otherAccounts(ctx context.Context, o *explain.Objects) error {
	o.Accounts = map[string]*corev1.ServiceAccount{}
	var secrets []string
	for _, name := range o.OtherAccounts() {
		account, err := r.account(ctx, o.Service.Namespace, name)
		if err != nil {
			return err
		}
		if account.unknown {
			continue
		}
		o.Accounts[name] = account.account
		if account.account != nil {
			secrets = append(secrets, merge.NamesOf(account.account.ImagePullSecrets)...)
		}
	}
	return r.needSecrets(ctx, o.Service.Namespace, secrets)
}

// objectsOf reads the namespace, the ServiceAccount and the Secrets of a Service.
func (r *reader) objectsOf(ctx context.Context, settings explain.Settings, svc *servingv1.Service) (*explain.Objects, error) {
	v, err := r.view(ctx, svc.Namespace)
	if err != nil {
		return nil, err
	}
	account, err := r.account(ctx, svc.Namespace, merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName))
	if err != nil {
		return nil, err
	}
	o := &explain.Objects{
		Settings: settings, Service: svc, Namespace: v.namespace,
		Account: account.account, AccountUnknown: account.unknown, Now: r.now,
	}
	if err := r.needSecrets(ctx, svc.Namespace, o.Names()); err != nil {
		return nil, err
	}
	o.Secrets, o.Unread = v.secrets, r.unread
	return o, nil
}

// completeServices completes the names of Services.
func (o *options) completeServices(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(args, func(r *reader, namespace string) ([]string, error) {
		all, err := r.serving.ServingV1().Services(namespace).List(c.Context(), metav1.ListOptions{})
		return namesOf(all, err)
	})
}

// completeNamespaces completes the names of Namespaces.
func (o *options) completeNamespaces(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(nil, func(r *reader, _ string) ([]string, error) {
		all, err := r.kube.CoreV1().Namespaces().List(c.Context(), metav1.ListOptions{})
		return namesOf(all, err)
	})
}

// complete completes the first argument by names of objects.
func (o *options) complete(args []string, list func(*reader, string) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace, err := o.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	r, err := o.newReader()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := list(r, namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// explanation prints the report about a Service.
func (p *printer) explanation(r *explain.Report, wide bool) {
	p.line("Service %s/%s: %d of %d images covered, newest Revision %s is %s", r.Namespace, r.Service, r.Covered, r.Total, orNone(r.Revision), readiness(r.Ready))
	if r.Failure != "" {
		p.line("  %s", r.Failure)
	}
	p.line("")
	if len(r.PullSecrets) == 0 {
		p.line("No pull secrets in the list or the ServiceAccount.")
	} else {
		rows := [][]string{{"PULL SECRET", "ADDED FOR", "DECLARED BY", "STATE", "REGISTRIES", "EXPIRES"}}
		for _, e := range r.PullSecrets {
			rows = append(rows, []string{e.Secret, e.Origin, orNone(joined(e.Declared)), e.State, orNone(joined(e.Registries)), moment(e.Expires)})
		}
		p.table(rows)
	}
	for i := range r.Images {
		p.line("")
		p.image(&r.Images[i], wide)
	}
	if r.Next.When != "" {
		p.line("")
		for _, e := range r.Next.Add {
			p.line("To be added %s: %s (%s)", r.Next.When, e.Secret, e.Origin)
		}
		for _, e := range r.Next.Remove {
			p.line("To be removed %s: %s (%s)", r.Next.When, e.Secret, e.Origin)
		}
	}
}

// image prints one image against every pull secret.
func (p *printer) image(i *explain.ImageReport, wide bool) {
	title := fmt.Sprintf("%s %s", i.Kind, i.Name)
	if string(i.Kind) == i.Name {
		title = i.Name
	}
	if i.Revision != "" {
		title += " of Revision " + i.Revision
	}
	p.line("%s: %s", title, shownImage(i.Image))
	rows := [][]string{{"  PULL SECRET", "TAG RESOLUTION", "KUBELET"}}
	var order []string
	cells := map[string][2]string{}
	set := func(entries []explain.MatchReport, reader int) {
		for _, e := range entries {
			if _, seen := cells[e.Secret]; !seen {
				order = append(order, e.Secret)
			}
			c := cells[e.Secret]
			c[reader] = match(e, wide)
			cells[e.Secret] = c
		}
	}
	set(i.TagResolution.Entries, 0)
	set(i.Kubelet.Entries, 1)
	for _, secret := range order {
		rows = append(rows, []string{"  " + orNone(secret), orNone(cells[secret][0]), orNone(cells[secret][1])})
	}
	rows = append(rows, []string{"  result", string(i.TagResolution.Reason), string(i.Kubelet.Reason)})
	p.table(rows)
}

// match returns what one pull secret has for an image.
func match(e explain.MatchReport, wide bool) string {
	text := string(e.Reason)
	if e.Key != "" {
		text += " " + e.Key
	}
	if e.Unread {
		text += " (not read)"
	}
	if wide && e.Expires != nil {
		text += " until " + moment(e.Expires)
	}
	return text
}

// shownImage returns the reference of an image that may be unknown.
func shownImage(reference string) string {
	if reference == "" {
		return "not checked (its reference is not known)"
	}
	return explain.Line(reference)
}

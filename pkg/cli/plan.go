// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/explain"
)

// optIn is what a Namespace would declare.
type optIn struct{ secrets, inject string }

func newPlan(o *options) *cobra.Command {
	var (
		in   optIn
		file string
	)
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what an opt-in of a Namespace would change",
		Long: `Shows what happens to each Service if its Namespace declares pull secrets: changed now,
deferred until its next change, or not at all; and how many Revisions and Pods that starts,
and how long it takes. Without --secrets and --inject, the annotations are those that the
Namespace has. With -f, it reads manifests from a file instead of the cluster. It writes
nothing.`,
		Example: `  kn pullsecrets plan -n team-a --secrets ghcr
  kubectl get namespaces,ksvc,serviceaccounts -A -o yaml | kn pullsecrets plan -f - --secrets ghcr`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if problems := annotation.ForNamespace(in.annotations()).Problems; len(problems) > 0 {
				return problems[0]
			}
			all, settings, unread, err := o.objectsToPlan(c.Context(), file)
			if err != nil {
				return err
			}
			for _, objects := range all {
				objects.Namespace = in.applied(objects.Namespace)
			}
			if err := o.readDeclared(c.Context(), file, all); err != nil {
				return err
			}
			plan, findings := explain.Planned(all, settings)
			return o.print(&document{Command: "plan", Result: plan, Findings: findings, NotChecked: unread(), quiet: true}, func(p *printer) { p.plan(&plan) })
		},
	}
	c.Flags().StringVar(&in.secrets, "secrets", "", "pull secrets that the Namespace would declare, separated by commas")
	c.Flags().StringVar(&in.inject, "inject", "", "mode that the Namespace would have: declared, auto or disabled")
	c.Flags().StringVarP(&file, "filename", "f", "", "file with manifests to read instead of the cluster, or - for the standard input")
	o.addAllNamespaces(c)
	return c
}

// annotations are those of the flags.
func (in optIn) annotations() map[string]string {
	annotations := map[string]string{}
	if in.secrets != "" {
		annotations[pullsecrets.SecretsAnnotation] = in.secrets
	}
	if in.inject != "" {
		annotations[pullsecrets.InjectAnnotation] = in.inject
	}
	return annotations
}

// applied returns a Namespace with the annotations of the flags.
func (in optIn) applied(namespace *corev1.Namespace) *corev1.Namespace {
	if namespace == nil {
		return nil
	}
	namespace = namespace.DeepCopy()
	for key, value := range in.annotations() {
		metav1.SetMetaDataAnnotation(&namespace.ObjectMeta, key, value)
	}
	return namespace
}

// namespaceOfFile is the namespace of manifests that name none. The kubeconfig does not count, so
// that a file is read without one.
func (o *options) namespaceOfFile() string {
	if o.flags.Namespace != nil {
		return cmp.Or(*o.flags.Namespace, metav1.NamespaceDefault)
	}
	return metav1.NamespaceDefault
}

// objectsToPlan reads the Services of the cluster or of a file. The function returns what could
// not be read so far.
func (o *options) objectsToPlan(ctx context.Context, file string) ([]*explain.Objects, explain.Settings, func() []explain.Unread, error) {
	nothing := func() []explain.Unread { return nil }
	if file != "" {
		text, err := o.readFile(file)
		if err != nil {
			return nil, explain.Settings{}, nothing, err
		}
		all, settings, err := objectsIn(text, o.namespaceOfFile(), o.now())
		if err == nil && len(all) == 0 {
			err = errors.New(file + " has no Knative Service")
		}
		return all, settings, nothing, err
	}
	namespace, err := o.namespace()
	if err != nil {
		return nil, explain.Settings{}, nothing, err
	}
	r, err := o.newReader()
	if err != nil {
		return nil, explain.Settings{}, nothing, err
	}
	settings, err := r.settings(ctx)
	if err != nil {
		return nil, settings, nothing, err
	}
	services, err := r.serving.ServingV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, settings, nothing, err
	}
	var all []*explain.Objects
	err = r.each(ctx, namespace, services.Items, func(svc *servingv1.Service) error {
		objects, err := r.objectsOf(ctx, settings, svc)
		if err == nil {
			all = append(all, objects)
		}
		return err
	})
	if err != nil {
		return nil, settings, nothing, err
	}
	o.reader = r
	return all, settings, func() []explain.Unread { return r.unread }, nil
}

// readDeclared reads Secrets that only the planned annotations name.
func (o *options) readDeclared(ctx context.Context, file string, all []*explain.Objects) error {
	if file != "" {
		return nil
	}
	for _, objects := range all {
		err := o.reader.needSecrets(ctx, objects.Service.Namespace, objects.Names())
		if err != nil && (!o.allNamespaces || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			o.reader.noteService(objects.Service, err)
		}
	}
	return nil
}

func (p *printer) plan(plan *explain.Plan) {
	rows := [][]string{{"NAMESPACE", "SERVICE", "CHANGED", "ADD", "REMOVE", "MIN-SCALE", "NOTE"}}
	counts := map[explain.Outcome]int{}
	for i := range plan.Services {
		s := &plan.Services[i]
		counts[s.Outcome]++
		rows = append(rows, []string{s.Namespace, s.Name, string(s.Outcome), orNone(origins(s.Add)), orNone(origins(s.Remove)), fmt.Sprint(s.MinScale), orNone(s.Note)})
	}
	if len(plan.Services) == 0 {
		p.line("No Services.")
		return
	}
	p.table(rows)
	var parts []string
	for _, outcome := range []explain.Outcome{explain.Now, explain.Later, explain.Named, explain.AtCreation, explain.Nothing, explain.NotKnown} {
		if counts[outcome] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[outcome], outcome))
		}
	}
	p.line("")
	p.line("Services: %s.", strings.Join(parts, ", "))
	pace := "without a limit of the rate"
	if plan.PerMinute > 0 {
		pace = fmt.Sprintf("in about %d min at %d per minute", max(plan.Minutes, 1), plan.PerMinute)
	}
	least := ""
	if counts[explain.NotKnown] > 0 {
		least = "at least "
	}
	switch {
	case plan.Revisions == 0 && least != "":
		p.line("Revisions that the controller creates: not checked.")
	case plan.Revisions == 0:
		p.line("No Revision is created.")
	default:
		p.line("Revisions that the controller creates: %s%d, %s. Pods that these start by min-scale: %s%d.", least, plan.Revisions, pace, least, plan.Pods)
	}
}

func origins(entries []explain.OriginReport) string {
	var texts []string
	for _, e := range entries {
		texts = append(texts, e.Secret+" ("+e.Origin+")")
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

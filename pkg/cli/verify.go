// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/verify"
)

func newVerify(o *options) *cobra.Command {
	var images []string
	c := &cobra.Command{
		Use:   "verify SECRET|CLUSTERPULLSECRET",
		Short: "Ask the registries whether they accept the credentials of a pull secret",
		Long: `Sends a request for a manifest to the registries of a pull secret, with its credential, as
each of the two readers would: tag resolution and the kubelet. Without --image, it asks for
images of Services: in the namespace of the Secret, or in the namespaces that a
ClusterPullSecret selects. Of a ClusterPullSecret, it uses the source as its copies have it,
for spec.registries alone. secret/NAME and clusterpullsecret/NAME say which is meant. It needs
the right to get the Secret, and sends requests from where it runs, not from the cluster.`,
		Example:           "  kn pullsecrets verify ghcr -n team-a --image ghcr.io/acme/shop:v1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeClusterPullSecrets,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.newReader()
			if err != nil {
				return err
			}
			namespace, err := o.namespace()
			if err != nil {
				return err
			}
			subject, err := r.toVerify(c.Context(), namespace, args[0])
			if err != nil {
				return err
			}
			if len(images) == 0 && subject.invalid == nil {
				if images, err = r.imagesFor(c.Context(), subject); err != nil {
					return err
				}
			}
			var result []explain.Verified
			if subject.invalid == nil {
				result = ask(c.Context(), o.checker(), subject.config, images)
			}
			findings, unread := explain.Verification(subject.object, result, subject.invalid)
			return o.print(&document{Command: "verify", Result: result, Findings: findings, NotChecked: append(r.unread, unread...)}, func(p *printer) { p.verified(result) })
		},
	}
	c.Flags().StringArrayVar(&images, "image", nil, "image to ask for; may be repeated")
	return c
}

// toVerify is what is verified.
type toVerify struct {
	object string
	// config is what a reader gets, or invalid says why there is none.
	config  dockerconfig.Config
	invalid error
	// namespace has the Services whose images are asked for. For a ClusterPullSecret, they are
	// those that selector selects.
	namespace string
	selector  *metav1.LabelSelector
	images    []string
}

// toVerify returns the Secret with a name, or the source of the ClusterPullSecret.
func (r *reader) toVerify(ctx context.Context, namespace, argument string) (*toVerify, error) {
	kind, name, typed := strings.Cut(argument, "/")
	if !typed {
		kind, name = "", argument
	}
	if !slices.Contains([]string{"", "secret", "clusterpullsecret", "cps"}, kind) {
		return nil, fmt.Errorf("unknown kind %q; expected secret/NAME or clusterpullsecret/NAME", kind)
	}
	if kind == "" || kind == "secret" {
		secret, err := r.kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			found := &toVerify{object: "Secret " + namespace + "/" + name, namespace: namespace}
			found.config, found.invalid = dockerconfig.Parse(secret.Type, secret.Data)
			return found, nil
		}
		if kind == "secret" || !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	cps, err := r.ours.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		if kind == "" && apierrors.IsNotFound(err) {
			err = fmt.Errorf("neither Secret %s/%s nor ClusterPullSecret %s exists", namespace, name, name)
		}
		return nil, err
	}
	secret, err := r.kube.CoreV1().Secrets(cps.Spec.SecretRef.Namespace).Get(ctx, cps.Spec.SecretRef.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	found := &toVerify{object: "ClusterPullSecret " + name, selector: cps.Spec.NamespaceSelector}
	found.config, found.invalid = dockerconfig.Parse(secret.Type, secret.Data)
	if found.invalid == nil && len(cps.Spec.Registries) > 0 {
		found.config, found.invalid = found.config.Scoped(cps.Spec.Registries)
	}
	found.config = found.config.WithHub() // As copies have it.
	if cps.Spec.Verify != nil {
		found.images = cps.Spec.Verify.Images
	}
	return found, nil
}

// maxVerified is the number of images of Services that are asked for.
const maxVerified = 16

// imagesFor returns the images of Services that a Secret covers for one of the readers.
func (r *reader) imagesFor(ctx context.Context, subject *toVerify) ([]string, error) {
	if len(subject.images) > 0 {
		return subject.images, nil
	}
	selected, err := r.selected(ctx, subject)
	if err != nil {
		return nil, err
	}
	services, err := r.serving.ServingV1().Services(subject.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var images []string
	for i := range services.Items {
		if !selected(services.Items[i].Namespace) {
			continue
		}
		for _, used := range coverage.TemplateOf(&services.Items[i].Spec.Template.Spec.PodSpec).Images {
			image := used.Reference
			if !slices.Contains(images, image) && covers(subject.config, image) && len(images) < maxVerified {
				images = append(images, image)
			}
		}
	}
	if len(images) == 0 {
		return nil, errors.New(subject.object + " has no credential for an image of a Service; name one with --image")
	}
	return images, nil
}

// selected returns whether a namespace is one whose images are asked for: that of the Secret, or
// one that the ClusterPullSecret selects and the configuration does not exclude.
func (r *reader) selected(ctx context.Context, subject *toVerify) (func(namespace string) bool, error) {
	if subject.namespace != "" {
		return func(string) bool { return true }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(subject.selector)
	if err != nil {
		return nil, fmt.Errorf("%s: spec.namespaceSelector: %w", subject.object, err)
	}
	settings, err := r.configuration(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("cannot tell which namespaces %s selects; name an image with --image: %w", subject.object, err)
	}
	names := sets.New[string]()
	for i := range all.Items {
		if n := &all.Items[i]; selector.Matches(labels.Set(n.Labels)) && n.DeletionTimestamp.IsZero() && !settings.Excludes(n.Name, n.Labels) {
			names.Insert(n.Name)
		}
	}
	return names.Has, nil
}

// covers reports whether one of the readers finds an entry for an image.
func covers(config dockerconfig.Config, image string) bool {
	facts := dockerconfig.FactsOf(config.Registries())
	for reader := range dockerconfig.Readers {
		if target, ok := reader.Target(image); ok && len(reader.Matches(target, facts)) > 0 {
			return true
		}
	}
	return false
}

// checker asks registries.
type checker interface {
	Check(ctx context.Context, config dockerconfig.Config, questions []verify.Question, named bool) []verify.Answer
}

// ask asks for each image as each reader would.
func ask(ctx context.Context, checker checker, config dockerconfig.Config, images []string) []explain.Verified {
	var all []verify.Question
	for _, image := range images {
		for reader := range dockerconfig.Readers {
			questions, _ := verify.PlanAs(reader, config.Registries(), image)
			for _, q := range questions {
				if !slices.Contains(all, q) {
					all = append(all, q)
				}
			}
		}
	}
	answers := map[verify.Question]verify.Answer{}
	for _, a := range checker.Check(ctx, config, all, true) {
		answers[a.Question] = a
	}
	result := []explain.Verified{}
	for _, image := range images {
		for reader := range dockerconfig.Readers {
			v := outcome(reader, config, image, answers)
			v.Image, v.Reader = image, reader.String()
			result = append(result, v)
		}
	}
	slices.SortFunc(result, explain.Verified.Compare)
	return result
}

// outcome returns what the answers mean for a reader: it succeeds if one of its credentials is
// accepted, and fails if each of them is rejected.
func outcome(reader dockerconfig.Reader, config dockerconfig.Config, image string, answers map[verify.Question]verify.Answer) explain.Verified {
	questions, all := verify.PlanAs(reader, config.Registries(), image)
	if len(questions) == 0 {
		return explain.Verified{Result: explain.NoKey, Why: "no key with the host of the image matches"}
	}
	for _, result := range []verify.Result{verify.Accepted, verify.Unknown} {
		for _, q := range questions {
			if a := answers[q]; a.Result == result {
				return explain.Verified{Key: a.Registry, Result: string(result), Why: a.Why}
			}
		}
	}
	first := answers[questions[0]]
	v := explain.Verified{Key: first.Registry, Result: string(first.Result), Why: first.Why}
	if !all {
		v.Result = string(verify.Unknown)
		v.Why += "; another key that matches is not asked about, because its host is not written out"
	}
	return v
}

func (p *printer) verified(result []explain.Verified) {
	if len(result) == 0 {
		return
	}
	rows := [][]string{{"IMAGE", "READER", "KEY", "RESULT", "WHY"}}
	for _, v := range result {
		rows = append(rows, []string{explain.Line(v.Image), v.Reader, orNone(v.Key), v.Result, orNone(v.Why)})
	}
	p.table(rows)
}

// completeClusterPullSecrets completes the names of ClusterPullSecrets.
func (o *options) completeClusterPullSecrets(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(args, func(r *reader, _ string) ([]string, error) {
		all, err := r.ours.PullsecretsV1alpha1().ClusterPullSecrets().List(c.Context(), metav1.ListOptions{})
		return namesOf(all, err)
	})
}

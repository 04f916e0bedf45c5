// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command argocd-app syncs the object on its standard input with Argo CD's own engine, or
// compares it with the live object.
//
// A comparison prints one line for each comparison mode of Argo CD: its name, and Synced
// or OutOfSync. ignoreDifferences is implemented in Argo CD and not in its engine, so
// this package has its own implementation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/util/openapi"
	"sigs.k8s.io/yaml"
)

// manager is the field manager of Argo CD.
const manager = "argocd-controller"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	sync := flag.Bool("sync", false, "sync the object instead of comparing it")
	serverSide := flag.Bool("server-side", false, "sync with ServerSideApply=true")
	respect := flag.Bool("respect", false, "sync with RespectIgnoreDifferences=true, ignoring the pull secrets")
	flag.Parse()
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	if err := run(context.Background(), *kubeconfig, *sync, *serverSide, *respect); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string, sync, serverSide, respect bool) error {
	var target unstructured.Unstructured
	text, err := os.ReadFile("/dev/stdin")
	if err == nil {
		err = yaml.Unmarshal(text, &target.Object)
	}
	if err != nil {
		return err
	}
	a := app{target: &target, kubectl: kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}}
	if a.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	if a.schema, a.parser, err = a.kubectl.LoadOpenAPISchema(a.config); err != nil {
		return err
	}
	if sync {
		return a.sync(ctx, serverSide, respect)
	}
	return a.compare(ctx)
}

// app is an Application with one object.
type app struct {
	kubectl kube.KubectlCmd
	config  *rest.Config
	schema  openapi.Resources
	parser  *managedfields.GvkParser
	target  *unstructured.Unstructured
}

func (a app) live(ctx context.Context) (*unstructured.Unstructured, error) {
	return a.kubectl.GetResource(ctx, a.config, a.target.GroupVersionKind(), a.target.GetName(), a.target.GetNamespace())
}

// sync applies the object once, whether or not it differs.
func (a app) sync(ctx context.Context, serverSide, respect bool) error {
	target := a.target
	if respect {
		live, err := a.live(ctx)
		if err != nil {
			return err
		}
		target = keepIgnored(live, target)
	}
	operations, end, err := a.kubectl.ManageResources(a.config, a.schema)
	if err != nil {
		return err
	}
	defer end()
	message, err := operations.ApplyResource(ctx, target, cmdutil.DryRunNone, false, true, serverSide, manager)
	fmt.Println(message)
	return err
}

// comparison is a comparison mode of Argo CD.
type comparison struct {
	name    string
	options []diff.Option
	// trusted are the managedFieldsManagers of ignoreDifferences.
	trusted []string
}

// compare prints the result of each comparison mode.
func (a app) compare(ctx context.Context) error {
	applier, end, err := kube.ManageServerSideDiffDryRuns(a.config, a.schema, tracing.NopTracer{}, logr.Discard(), nil)
	if err != nil {
		return err
	}
	defer end()
	live, err := a.live(ctx)
	if err != nil {
		return err
	}
	common := []diff.Option{diff.WithLogr(logr.Discard()), diff.WithGVKParser(a.parser), diff.WithManager(manager)}
	onServer := []diff.Option{diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier))}
	for _, c := range []comparison{
		{name: "default"},
		{name: "ServerSideApply", options: []diff.Option{diff.WithStructuredMergeDiff(true)}},
		{name: "ServerSideDiff", options: onServer},
		{name: "ServerSideDiff,IncludeMutationWebhook", options: append(onServer[:2:2], diff.WithIgnoreMutationWebhook(false))},
		{name: "jsonPointers", options: []diff.Option{diff.WithNormalizer(ignored{})}},
		{name: "managedFieldsManagers", trusted: []string{"pullsecrets"}},
	} {
		theirs, ours, err := dropTrusted(live.DeepCopy(), a.target.DeepCopy(), c.trusted, a.parser)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		result, err := diff.Diff(ours, theirs, append(common[:3:3], c.options...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if result.Modified {
			fmt.Printf("%s OutOfSync: %s would be %s\n", c.name, result.NormalizedLive, result.PredictedLive)
		} else {
			fmt.Println(c.name, "Synced")
		}
	}
	return nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Kind is a kind of cluster.
type Kind string

const (
	// Local is a cluster of this package.
	Local Kind = "local"
	// Existing is any other cluster with Knative Serving and config/ installed. Files beside
	// its kubeconfig say what else it offers, see doc.go.
	Existing Kind = "existing"
)

// Env is a cluster with config/ installed, accessed as its administrator.
type Env struct {
	Kind       Kind
	Kubeconfig string // path
	// Manifest is the path of config/ as it was installed, with images, if it is known.
	Manifest string

	Config  *rest.Config
	Kube    kubernetes.Interface
	Serving servingclient.Interface
	Dynamic dynamic.Interface

	// Ingress is the Service of the ingress, if Pods serve requests. Its port is 80.
	Ingress *types.NamespacedName

	// These are nil if the cluster does not offer them, see Need.
	Processes  Processes
	Audit      *AuditLog
	Registries *Registries

	close func(context.Context) error
}

// Setup returns the cluster of KUBECONFIG or, if that is not set, starts a local one that
// ends with Close or with this program.
func Setup(ctx context.Context, options Options) (*Env, error) {
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		return existing(ctx, kubeconfig)
	}
	l, unlock, err := lockLocal(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := l.buildAll(ctx); err != nil {
		unlock()
		return nil, err
	}
	return l.startOwned(ctx, unlock)
}

// Build builds the programs of local clusters with these options and, with tools, those
// of Tool.
func Build(ctx context.Context, options Options, tools bool) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	if err := l.buildAll(ctx); err != nil || !tools {
		return err
	}
	return BuildTools(ctx, options)
}

// BuildTools builds the programs of Tool.
func BuildTools(ctx context.Context, options Options) error {
	return BuildPrograms(ctx, options, slices.Sorted(maps.Keys(writers))...)
}

// BuildPrograms builds programs of local clusters, of nodes or of Tool.
func BuildPrograms(ctx context.Context, options Options, names ...string) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	known := maps.Clone(writers)
	for _, p := range slices.Concat(standing, forNodes) {
		known[p.name] = p
	}
	var programs []program
	for _, name := range names {
		p, found := known[name]
		if !found {
			return fmt.Errorf("%q is not a program of a local cluster", name)
		}
		programs = append(programs, p)
	}
	return l.builder.build(ctx, programs)
}

// Start is Setup of a local cluster after Build.
func Start(ctx context.Context, options Options) (*Env, error) {
	l, unlock, err := lockLocal(ctx, options)
	if err != nil {
		return nil, err
	}
	return l.startOwned(ctx, unlock)
}

// lockLocal returns a local cluster that is locked until Close: concurrent test programs
// take turns.
func lockLocal(ctx context.Context, options Options) (l *local, unlock func(), err error) {
	if l, err = newLocal(options); err != nil {
		return nil, nil, err
	}
	unlock, err = l.lock(ctx)
	return l, unlock, err
}

// startOwned starts a cluster of built programs that ends with Close, which also unlocks
// it, or with this program.
func (l *local) startOwned(ctx context.Context, unlock func()) (*Env, error) {
	// The supervisor stops when its end of the pipe is closed. This end is closed when
	// this program exits.
	input, lifeline, err := os.Pipe()
	if err != nil {
		unlock()
		return nil, err
	}
	err = l.start(ctx, input)
	input.Close()
	var e *Env
	if err == nil {
		e, err = l.open()
	}
	if err != nil {
		lifeline.Close()
		unlock()
		return nil, err
	}
	e.close = func(ctx context.Context) error {
		defer unlock()
		return errors.Join(lifeline.Close(), l.end(ctx))
	}
	return e, nil
}

// Open returns the local cluster that Up started. Close does not stop it.
func Open(options Options) (*Env, error) {
	l, err := newLocal(options)
	if err != nil {
		return nil, err
	}
	return l.open()
}

func (l *local) open() (*Env, error) {
	processes := l.running()
	if processes == nil {
		return nil, fmt.Errorf("no cluster is up in %s: start one with \"make cluster\"", l.dir)
	}
	e, err := newEnv(Local, l.kubeconfig())
	if err != nil {
		return nil, err
	}
	e.Processes, e.Audit = processes, &AuditLog{path: l.audit()}
	e.Registries, err = readRegistries(l.layout)
	return e, err
}

func existing(ctx context.Context, kubeconfig string) (*Env, error) {
	// The kubeconfig may belong to a cluster that Up started. Its control files are
	// beside it, so tests can do everything that they can on their own.
	if e, err := Open(Options{Dir: filepath.Dir(kubeconfig)}); err == nil && filepath.Base(e.Kubeconfig) == filepath.Base(kubeconfig) {
		return e, nil
	}
	e, err := newEnv(Existing, kubeconfig)
	if err != nil {
		return nil, err
	}
	if _, err := e.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, "controller", metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("find the installation on the cluster of KUBECONFIG=%s (install it with \"ko apply -f config/\", or unset KUBECONFIG to use a local cluster): %w", kubeconfig, err)
	}
	if e.Ingress, err = findIngress(ctx, e.Kube); err != nil {
		return nil, err
	}
	l := layout{dir: filepath.Dir(kubeconfig)}
	if _, err := os.Stat(l.manifest()); err == nil {
		e.Manifest = l.manifest()
		e.Processes = &deployments{e}
	}
	if _, err := os.Stat(l.podAudit()); err == nil {
		e.Audit = &AuditLog{path: l.podAudit()}
	}
	e.Registries, err = readRegistries(l)
	return e, err
}

// ingresses are those that test/e2e-kind.sh installs.
var ingresses = []types.NamespacedName{{Namespace: "kourier-system", Name: "kourier"}, {Namespace: "stand-in", Name: "ingress"}}

func findIngress(ctx context.Context, kube kubernetes.Interface) (*types.NamespacedName, error) {
	for _, one := range ingresses {
		_, err := kube.CoreV1().Services(one.Namespace).Get(ctx, one.Name, metav1.GetOptions{})
		if err == nil {
			return &one, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("find the ingress: %w", err)
		}
	}
	return nil, nil
}

func newEnv(kind Kind, kubeconfig string) (*Env, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kind == Local {
		rules = &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	// No client-side rate limits: tests wait for the controller and the webhook. Warnings
	// are shown only to tests that handle them.
	config.WarningHandler = rest.NoWarnings{}
	config.QPS, config.Burst = 500, 1000
	e := &Env{Kind: kind, Kubeconfig: kubeconfig}
	return e, e.connect(config)
}

func (e *Env) connect(config *rest.Config) (err error) {
	e.Config = config
	if e.Kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if e.Serving, err = servingclient.NewForConfig(config); err != nil {
		return err
	}
	e.Dynamic, err = dynamic.NewForConfig(config)
	return err
}

// As returns the same cluster as another user, with only the rights of the user and the
// groups.
func (e *Env) As(user string, groups ...string) (*Env, error) {
	other := *e
	other.close = nil
	config := rest.CopyConfig(e.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return &other, other.connect(config)
}

// AsServiceAccount returns the same cluster as this ServiceAccount, with a new token.
func (e *Env) AsServiceAccount(ctx context.Context, namespace, name string) (*Env, error) {
	request, err := e.Kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	other := *e
	other.close = nil
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = request.Status.Token
	return &other, other.connect(config)
}

// Close stops the cluster if Setup started it.
func (e *Env) Close(ctx context.Context) error {
	if e.close == nil {
		return nil
	}
	return e.close(ctx)
}

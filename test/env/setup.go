// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Kind of cluster.
type Kind string

const (
	// Local is a cluster of this package.
	Local Kind = "local"
	// Node is a local one that runs Pods, the product's own among them.
	Node Kind = "node"
	// Existing is any other one, with Knative Serving and the product on it, and
	// with registries where registries.json lies beside its kubeconfig.
	Existing Kind = "existing"
)

// Env is a cluster with the product on it, seen by its administrator.
type Env struct {
	Kind       Kind
	Kubeconfig string // its path

	Config  *rest.Config
	Kube    kubernetes.Interface
	Serving servingclient.Interface
	Dynamic dynamic.Interface

	// These are nil where the cluster does not offer them, see Need.
	Processes  *Processes
	Audit      *AuditLog
	Registries *Registries

	close func(context.Context) error
}

// Setup returns the cluster that KUBECONFIG names or, where that is not set, a
// new local one that ends with Close and, at the latest, with this program.
func Setup(ctx context.Context, options Options) (*Env, error) {
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		return existing(ctx, kubeconfig)
	}
	l, err := newLocal(options)
	if err != nil {
		return nil, err
	}
	// It is held until Close: two test programs at the same time take turns.
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.buildAll(ctx); err != nil {
		unlock()
		return nil, err
	}
	// The supervisor ends when its end of the pipe does. This end closes with
	// this program, however that ends.
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

// Open returns the local cluster that Up has started. Close leaves it alone.
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
		return nil, fmt.Errorf("no cluster is up in %s: start it with \"make cluster\"", l.dir)
	}
	e, err := newEnv(Local, l.kubeconfig())
	if err != nil {
		return nil, err
	}
	e.Processes, e.Audit = processes, &AuditLog{path: l.audit()}
	s, err := loadState(l.layout)
	if err != nil {
		return nil, err
	}
	if s.Node {
		// The product's programs are Pods, and not for a supervisor to stop.
		e.Kind, e.Processes = Node, nil
	}
	e.Registries, err = readRegistries(l.layout)
	return e, err
}

func existing(ctx context.Context, kubeconfig string) (*Env, error) {
	// It may well be that of a cluster that Up has started. What controls that
	// one lies beside it, so the tests can do all that they can on their own.
	if e, err := Open(Options{Dir: filepath.Dir(kubeconfig)}); err == nil && filepath.Base(e.Kubeconfig) == filepath.Base(kubeconfig) {
		return e, nil
	}
	e, err := newEnv(Existing, kubeconfig)
	if err != nil {
		return nil, err
	}
	if _, err := e.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, "controller", metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("looking for the product on the cluster of KUBECONFIG=%s (install it with \"ko apply -f config/\", or unset KUBECONFIG to use a local cluster): %w", kubeconfig, err)
	}
	e.Registries, err = readRegistries(layout{dir: filepath.Dir(kubeconfig)})
	return e, err
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
	// Tests wait for the product, not for the limits of their own client, and
	// warnings are for those who ask for them.
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

// As returns the same cluster seen by another user. It has no rights but what
// the user or the groups are given.
func (e *Env) As(user string, groups ...string) (*Env, error) {
	other := *e
	other.close = nil
	config := rest.CopyConfig(e.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return &other, other.connect(config)
}

// AsServiceAccount is the cluster as a program in it sees it that runs under this
// ServiceAccount: with a token of its own.
func (e *Env) AsServiceAccount(ctx context.Context, namespace, name string) (*Env, error) {
	request, err := e.Kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to make a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	other := *e
	other.close = nil
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = request.Status.Token
	return &other, other.connect(config)
}

// Close ends the cluster if Setup has started it.
func (e *Env) Close(ctx context.Context) error {
	if e.close == nil {
		return nil
	}
	return e.close(ctx)
}

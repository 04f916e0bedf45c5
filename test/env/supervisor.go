// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// startTimeout is how long one step of the start may take on a slow and busy machine.
const startTimeout = 3 * time.Minute

// connection is the access to the cluster as its administrator.
type connection struct {
	layout layout
	keys   *pki
	config *rest.Config
	kube   kubernetes.Interface
}

// supervisor owns all processes of one cluster.
type supervisor struct {
	*connection
	options   Options
	life      context.Context // ends with the cluster
	builder   builder
	ports     portBook
	installer *installer
	project   *installation // as last applied; nil if not installed

	// projectMu is held while the project is installed, removed or replaced.
	projectMu sync.Mutex

	mu       sync.Mutex
	state    state
	children []*child // in the order of their start
}

// Serve runs a cluster until the context ends or its lifetime has passed, and returns
// when all its processes have exited.
func Serve(ctx context.Context, options Options) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.logs(), 0o755); err != nil {
		return err
	}
	if err := l.builder.selectReleases(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.options.Lifetime, errors.New("the cluster's lifetime has passed"))
	defer cancel()

	s := &supervisor{
		connection: &connection{layout: l.layout},
		options:    l.options,
		builder:    l.builder,
		life:       ctx,
		ports:      portBook{},
	}
	s.state.Versions = l.builder.versions()
	stopControl, err := s.serveControl()
	if err != nil {
		return err
	}
	defer stopControl()
	defer s.endAll()

	if err := s.bringUp(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	s.mu.Lock()
	s.state.Ready = true
	s.mu.Unlock()
	if err := s.saveState(); err != nil {
		return err
	}
	s.sayf("the cluster is ready")
	<-ctx.Done()
	s.sayf("stopping the cluster: %v", context.Cause(ctx))
	return nil
}

// bringUp starts and installs everything, each step after the one before is ready.
func (s *supervisor) bringUp(ctx context.Context) error {
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	if err := s.startRegistries(ctx); err != nil {
		return err
	}

	s.sayf("installing Knative Serving %s", s.builder.releases[knativeModule].version)
	paths, err := knativeManifests(ctx, s.builder)
	if err != nil {
		return err
	}
	knative, err := s.newKnative(paths)
	if err != nil {
		return err
	}
	if err := s.install(ctx, knative); err != nil {
		return err
	}
	if err := knativeServes(ctx, s.installer); err != nil {
		return err
	}
	if err := s.startDataPlane(ctx); err != nil {
		return err
	}
	return s.installProject(ctx)
}

// startControlPlane starts Kubernetes.
func (s *supervisor) startControlPlane(ctx context.Context) error {
	s.sayf("starting Kubernetes %s", s.builder.releases[controlPlaneModule].version)
	var err error
	if s.keys, err = newPKI(s.layout.pki()); err != nil {
		return err
	}
	specs, err := controlPlane(s.layout, s.builder.path(controlPlaneModule, binKubernetes), s.keys, s.ports)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		if err := s.run(spec); err != nil {
			return err
		}
		if err := s.waitReady(ctx, spec.name); err != nil {
			return err
		}
	}
	if s.config, err = loadConfig(s.layout.kubeconfig()); err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(s.config); err != nil {
		return err
	}
	s.installer, err = newInstaller(s.config)
	return err
}

// install applies the objects of an installation and runs its processes.
func (s *supervisor) install(ctx context.Context, in *installation) error {
	if err := s.installer.apply(ctx, in.objects); err != nil {
		return err
	}
	for _, d := range in.deployments {
		if err := s.installer.validate(ctx, d.manifest); err != nil {
			return err
		}
		if err := d.waitAuthorized(ctx, s.connection); err != nil {
			return err
		}
		if err := s.run(d.process(s.connection, s.builder.binDir())); err != nil {
			return err
		}
	}
	for _, d := range in.deployments {
		if err := s.waitReady(ctx, d.name); err != nil {
			return err
		}
	}
	return in.waitWebhooks(ctx, s.installer)
}

// installProject applies config/ and starts its programs.
func (s *supervisor) installProject(ctx context.Context) error {
	s.projectMu.Lock()
	defer s.projectMu.Unlock()
	s.sayf("installing config/ and starting its programs")
	project, err := newProject(s.builder.repo, s.ports, s.kube.Discovery())
	if err != nil {
		return err
	}
	if s.project != nil {
		for _, d := range s.project.deployments {
			if err := s.setReplicas(ctx, d, 1); err != nil {
				return err
			}
		}
	}
	s.project = project
	return s.install(ctx, project)
}

// state is the record of a supervisor for other commands: how to reach it, and its
// processes.
type state struct {
	Supervisor identity            `json:"supervisor"`
	Ready      bool                `json:"ready"`
	ControlURL string              `json:"controlURL"`
	Token      string              `json:"token"`
	Processes  map[string]identity `json:"processes"`

	Versions map[string]string `json:"versions"` // of Kubernetes and Knative
}

func (s *supervisor) saveState() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Processes = map[string]identity{}
	for _, c := range s.children {
		if run := c.current(); run != nil {
			s.state.Processes[c.name] = run.id
		}
	}
	content, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return err
	}
	// The file contains the token.
	return writeFile(s.layout.state(), content, 0o600)
}

func loadState(l layout) (*state, error) {
	content, err := os.ReadFile(l.state())
	if err != nil {
		return nil, err
	}
	found := &state{}
	if err := json.Unmarshal(content, found); err != nil {
		return nil, fmt.Errorf("%s: %w", l.state(), err)
	}
	return found, nil
}

func (s *supervisor) sayf(format string, args ...any) {
	fmt.Fprintf(s.options.Output, format+"\n", args...)
}

func loadConfig(kubeconfig string) (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

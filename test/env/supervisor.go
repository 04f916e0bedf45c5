// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// startPatience is how long any one thing may take to come up on a slow and
// busy machine.
const startPatience = 3 * time.Minute

// connection is what it takes to act on the cluster as its administrator.
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
	product   *installation // as it was last applied; nil when it is not installed

	// What only a cluster with a node has.
	enclave   *enclave
	machine   *machinePrograms
	registry  *Registry // the one that holds the cluster's own images
	forwarded map[string]net.Listener

	// productMu is held while the product is installed, removed or replaced.
	productMu sync.Mutex

	mu       sync.Mutex
	state    state
	children []*child // in the order of their start
}

// Serve runs a cluster until the context ends or its lifetime has passed, and
// returns when no process is left.
func Serve(ctx context.Context, options Options) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.logs(), 0o755); err != nil {
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
		forwarded:  map[string]net.Listener{},
	}
	s.state.Node = l.options.Node
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
	s.sayf("ending the cluster: %v", context.Cause(ctx))
	return nil
}

// bringUp starts and installs everything, each step once the one before is
// known to work.
func (s *supervisor) bringUp(ctx context.Context) error {
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	if s.options.Node {
		if err := s.startRegistries(ctx); err != nil {
			return err
		}
		if err := s.startNode(ctx); err != nil {
			return err
		}
	}

	s.sayf("installing Knative Serving")
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
	return s.installProduct(ctx)
}

// startControlPlane starts Kubernetes, in an enclave where there is to be a node.
func (s *supervisor) startControlPlane(ctx context.Context) error {
	var hosts []string
	if s.options.Node {
		if err := s.openEnclave(ctx); err != nil {
			return err
		}
		hosts = nodeHosts()
	}
	s.sayf("starting Kubernetes")
	var err error
	if s.keys, err = newPKI(s.layout.pki(), hosts...); err != nil {
		return err
	}
	specs, err := controlPlane(s.layout, filepath.Join(s.builder.binDir(), binKubernetes), s.keys, s.ports)
	if err != nil {
		return err
	}
	if s.options.Node {
		if err := withNode(specs, s.keys); err != nil {
			return err
		}
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

// installProduct applies config/ and starts the product's programs.
func (s *supervisor) installProduct(ctx context.Context) error {
	s.productMu.Lock()
	defer s.productMu.Unlock()
	if s.options.Node {
		return s.koApply(ctx)
	}
	s.sayf("installing config/ and starting the product")
	product, err := newProduct(s.builder.repo, s.ports)
	if err != nil {
		return err
	}
	if s.product != nil {
		for _, d := range s.product.deployments {
			if err := s.setReplicas(ctx, d, 1); err != nil {
				return err
			}
		}
	}
	s.product = product
	return s.install(ctx, product)
}

// scale runs a number of processes in place of one of the product's
// Deployments. The first of them is left alone.
func (s *supervisor) scale(ctx context.Context, name string, count int) error {
	s.productMu.Lock()
	defer s.productMu.Unlock()
	if s.product != nil {
		for _, d := range s.product.deployments {
			if d.name == name {
				return s.setReplicas(ctx, d, count)
			}
		}
	}
	return fmt.Errorf("the product has no Deployment %q", name)
}

func (s *supervisor) setReplicas(ctx context.Context, d *deployment, count int) error {
	for i := 1; ; i++ {
		name := d.replicaName(i)
		if i < count {
			replica, err := d.replica(i, s.ports)
			if err != nil {
				return err
			}
			if err := s.run(replica.process(s.connection, s.builder.binDir())); err != nil {
				return err
			}
			if err := s.waitReady(ctx, name); err != nil {
				return err
			}
			continue
		}
		c, err := s.find(name)
		if err != nil {
			return nil //nolint:nilerr // There are no more of them.
		}
		if err := c.end(syscall.SIGTERM); err != nil {
			return err
		}
		s.forget(c)
	}
}

// run makes sure that the process runs as the spec says: one that runs
// otherwise, or whose program has been built again, is replaced.
func (s *supervisor) run(spec childSpec) error {
	if err := s.forward(); err != nil {
		return err
	}
	if s.enclave != nil {
		// A container runtime that is killed leaves what it had there.
		spec.env = append(spec.env, "TMPDIR="+s.layout.machine())
	}
	if old, err := s.find(spec.name); err == nil {
		if old.runsAs(spec) {
			return nil
		}
		if err := old.end(syscall.SIGTERM); err != nil {
			return err
		}
		s.forget(old)
	}
	c := &child{
		childSpec: spec,
		logs:      s.layout.logs(),
		life:      s.life,
		spawn:     spawn,
		note:      func(text string) { s.sayf("%s", text) },
		record: func() {
			if err := s.saveState(); err != nil {
				s.sayf("recording the processes: %v", err)
			}
		},
	}
	if s.enclave != nil {
		c.spawn = s.enclave.spawn
	}
	s.mu.Lock()
	s.children = append(s.children, c)
	s.mu.Unlock()
	return c.start(nil)
}

func (s *supervisor) find(name string) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []string
	for _, c := range s.children {
		if c.name == name {
			return c, nil
		}
		known = append(known, c.name)
	}
	return nil, fmt.Errorf("the cluster has no process %q; it has %q", name, known)
}

func (s *supervisor) forget(forgotten *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = slices.DeleteFunc(s.children, func(c *child) bool { return c == forgotten })
}

func (s *supervisor) startReady(ctx context.Context, c *child, overrides map[string]string) error {
	if err := c.start(overrides); err != nil {
		return err
	}
	return s.waitReady(ctx, c.name)
}

func (s *supervisor) waitReady(ctx context.Context, name string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return c.waitReady(ctx)
}

// endAll ends all processes, the last one to start first, and removes what
// only a running cluster needs. Above all the API server goes before etcd: one
// that has lost its etcd can hang for half an hour.
func (s *supervisor) endAll() {
	s.mu.Lock()
	children := slices.Clone(s.children)
	s.mu.Unlock()
	for _, c := range slices.Backward(children) {
		if err := c.end(syscall.SIGTERM); err != nil {
			s.sayf("ending %s: %v", c.name, err)
			return // The state is what finds it again.
		}
	}
	if s.enclave != nil {
		s.enclave.close()
		s.stopForwarding()
	}
	if err := s.layout.remove(); err != nil {
		s.sayf("removing the cluster's files: %v", err)
	}
}

// state is what a supervisor leaves for others to find: how to reach it,
// and which processes are its own.
type state struct {
	Supervisor identity            `json:"supervisor"`
	Ready      bool                `json:"ready"`
	ControlURL string              `json:"controlURL"`
	Token      string              `json:"token"`
	Processes  map[string]identity `json:"processes"`

	Node bool `json:"node"`
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
	if s.enclave != nil {
		s.state.Processes["enclave"] = s.enclave.id
	}
	content, err := json.MarshalIndent(s.state, "", "  ")
	if err != nil {
		return err
	}
	// It holds the token.
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

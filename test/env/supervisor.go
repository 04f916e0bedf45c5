// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// ServeOptions say how a supervisor runs its cluster.
type ServeOptions struct {
	Dir            string        // where the cluster's files lie
	Lifetime       time.Duration // after which it ends by itself
	WithoutProduct bool          // Kubernetes and Knative alone
	Output         io.Writer     // for people
}

// A connection is what it takes to act on the cluster as its administrator.
type connection struct {
	layout layout
	keys   *pki
	config *rest.Config
	kube   kubernetes.Interface
}

// A supervisor owns all processes of one cluster.
type supervisor struct {
	*connection
	options   ServeOptions
	life      context.Context // ends with the cluster
	builder   builder
	ports     portBook
	installer *installer
	product   *installation // as it was last applied; nil when it is not installed

	// productMu is held while the product is installed, removed or replaced.
	productMu sync.Mutex

	mu       sync.Mutex
	state    state
	children []*child // in the order of their start
}

// Serve runs a cluster until the context ends, its lifetime has passed or a
// client asks for the end; it returns when no process is left.
func Serve(ctx context.Context, options ServeOptions) error {
	repo, err := findRepository()
	if err != nil {
		return err
	}
	if options.Dir, err = filepath.Abs(options.Dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, options.Lifetime, errors.New("the cluster's lifetime has passed"))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)

	s := &supervisor{
		connection: &connection{layout: layout{dir: options.Dir}},
		options:    options,
		life:       ctx,
		ports:      portBook{},
	}
	s.builder = builder{repo: repo, progress: s.sayf}
	stopControl, err := s.serveControl(end)
	if err != nil {
		return err
	}
	defer stopControl()
	defer s.stopAll()

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
	s.sayf("starting Kubernetes")
	var err error
	if s.keys, err = newPKI(s.layout.pki()); err != nil {
		return err
	}
	specs, err := controlPlane(s.layout, filepath.Join(s.builder.binDir(), binKubernetes), s.keys, s.ports)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		if err := s.startReady(ctx, s.child(spec), nil); err != nil {
			return err
		}
	}
	if s.config, err = loadConfig(s.layout.kubeconfig()); err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(s.config); err != nil {
		return err
	}
	if s.installer, err = newInstaller(s.config); err != nil {
		return err
	}

	s.sayf("installing Knative Serving")
	paths, err := knativeManifests(ctx, s.builder)
	if err != nil {
		return err
	}
	knative, err := newKnative(paths, s.ports)
	if err != nil {
		return err
	}
	program := func(d *deployment) string { return knativeProgram(s.builder.binDir(), d) }
	if err := s.install(ctx, knative, program, knativeEnvironment); err != nil {
		return err
	}
	if err := knativeServes(ctx, s.installer); err != nil {
		return err
	}
	if err := s.startDataPlane(ctx); err != nil {
		return err
	}
	if s.options.WithoutProduct {
		return nil
	}
	return s.installProduct(ctx)
}

// install applies the objects of an installation and starts its processes.
func (s *supervisor) install(ctx context.Context, in *installation, program func(*deployment) string, extra map[string]string) error {
	if err := s.installer.apply(ctx, in.objects); err != nil {
		return err
	}
	for _, d := range in.deployments {
		if err := d.waitAuthorized(ctx, s.connection); err != nil {
			return err
		}
		s.child(d.process(s.connection, program(d), extra))
	}
	for _, d := range in.deployments {
		c, err := s.find(d.name)
		if err != nil {
			return err
		}
		if c.current() != nil {
			continue
		}
		if err := c.start(nil); err != nil {
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
	s.sayf("installing config/ and starting the product")
	product, err := newProduct(s.builder.repo, s.ports)
	if err != nil {
		return err
	}
	// A program that has been built anew since takes the place of its process.
	for _, d := range product.deployments {
		if c, err := s.find(d.name); err == nil && c.outdated() {
			s.sayf("%s was built anew, starting it again", d.name)
			if err := c.end(syscall.SIGTERM); err != nil {
				return err
			}
		}
	}
	s.product = product
	program := func(d *deployment) string {
		return filepath.Join(s.builder.binDir(), productProgram(d.Name))
	}
	return s.install(ctx, product, program, nil)
}

// uninstallProduct stops the product's programs and deletes all of config/.
func (s *supervisor) uninstallProduct(ctx context.Context) error {
	s.productMu.Lock()
	defer s.productMu.Unlock()
	if s.product == nil {
		return nil
	}
	for _, d := range s.product.deployments {
		c, err := s.find(d.name)
		if err != nil {
			return err
		}
		if err := c.end(syscall.SIGTERM); err != nil {
			return err
		}
		s.forget(c)
	}
	if err := s.installer.remove(ctx, s.product.objects); err != nil {
		return err
	}
	s.product = nil
	return nil
}

// child makes the child known, in place of an equally named one that does not
// run, or returns the one that does.
func (s *supervisor) child(spec childSpec) *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := &child{
		childSpec: spec,
		logs:      s.layout.logs(),
		life:      s.life,
		note:      func(text string) { s.sayf("%s", text) },
		record: func() {
			if err := s.saveState(); err != nil {
				s.sayf("recording the processes: %v", err)
			}
		},
	}
	for i, c := range s.children {
		if c.name != spec.name {
			continue
		}
		if c.current() == nil {
			s.children[i] = made
		}
		return s.children[i]
	}
	s.children = append(s.children, made)
	return made
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

// stopAll ends all processes, the last one to start first. Above all the API
// server goes before etcd: one that has lost its etcd can hang for half an
// hour.
func (s *supervisor) stopAll() {
	s.mu.Lock()
	children := slices.Clone(s.children)
	s.mu.Unlock()
	for _, c := range slices.Backward(children) {
		if err := c.end(syscall.SIGTERM); err != nil {
			s.sayf("ending %s: %v", c.name, err)
		}
	}
}

// A state is what a supervisor leaves for others to find: how to reach it,
// and which processes are its own.
type state struct {
	Supervisor identity            `json:"supervisor"`
	Ready      bool                `json:"ready"`
	ControlURL string              `json:"controlURL"`
	Token      string              `json:"token"`
	Processes  map[string]identity `json:"processes"`
	Ports      portBook            `json:"ports"`
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
	s.state.Ports = s.ports
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

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Options say which local cluster is meant and how it is started.
type Options struct {
	Dir      string        // default .cluster in the repository
	Lifetime time.Duration // default 12 h: a forgotten cluster ends by itself
	Node     bool          // with a node that runs Pods, see doc.go; needs root
	Output   io.Writer     // progress, for people; default os.Stderr
}

const defaultLifetime = 12 * time.Hour

// local is a local cluster seen from outside of its supervisor.
type local struct {
	layout
	options Options
	builder builder
}

func newLocal(options Options) (*local, error) {
	repo, err := findRepository()
	if err != nil {
		return nil, err
	}
	if options.Dir == "" {
		options.Dir = filepath.Join(repo, ".cluster")
	}
	if options.Dir, err = filepath.Abs(options.Dir); err != nil {
		return nil, err
	}
	if options.Lifetime == 0 {
		options.Lifetime = defaultLifetime
	}
	if options.Output == nil {
		options.Output = os.Stderr
	}
	l := &local{layout: layout{dir: options.Dir}, options: options}
	l.builder = builder{repo: repo, progress: l.sayf}
	return l, nil
}

func (l *local) sayf(format string, args ...any) { fmt.Fprintf(l.options.Output, format+"\n", args...) }

// Up makes sure that the cluster runs, with the product as the working tree
// has it, and returns when all is ready. It goes on after the program ends.
func Up(ctx context.Context, options Options) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	if processes := l.running(); processes != nil {
		if s, err := loadState(l.layout); err == nil && s.Node != l.options.Node {
			return fmt.Errorf("the cluster in %s was started otherwise, with node=%t: end it first", l.dir, s.Node)
		}
		if err := processes.startAll(ctx); err != nil {
			return err
		}
		// Kubernetes and Knative stay as they are: only the product changes
		// while one works on it.
		l.sayf("the cluster in %s is up, bringing the product up to date", l.dir)
		if !l.options.Node { // There, ko builds.
			programs, err := productPrograms(l.builder.repo)
			if err != nil {
				return err
			}
			if err := l.builder.build(ctx, programs); err != nil {
				return err
			}
		}
		return processes.InstallProduct(ctx)
	}
	if err := l.buildAll(ctx); err != nil {
		return err
	}
	return l.start(ctx, nil)
}

// Check says what the machine lacks for a cluster with these options, which is more
// where it has a node.
func Check(ctx context.Context, options Options) error {
	l, err := newLocal(options)
	if err != nil || !options.Node {
		return err
	}
	if err := checkEnclave(l.builder.repo, l.dir); err != nil {
		return err
	}
	_, err = findMachinePrograms(ctx, l.builder)
	return err
}

// Down ends the cluster and returns when no process of it is left.
func Down(ctx context.Context, options Options) error {
	l, err := newLocal(options)
	if err != nil {
		return err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return l.end(ctx)
}

// Status tells about the processes of the cluster; there are none when it is
// not up.
func Status(ctx context.Context, options Options) ([]ProcessStatus, error) {
	l, err := newLocal(options)
	if err != nil {
		return nil, err
	}
	processes := l.running()
	if processes == nil {
		return nil, nil
	}
	return processes.List(ctx)
}

func (l *local) buildAll(ctx context.Context) error {
	programs := standing
	if l.options.Node {
		// What is missing is told before people wait for a build.
		if err := Check(ctx, l.options); err != nil {
			return err
		}
		programs = append(slices.Clone(nodeStanding), programs...)
	} else {
		product, err := productPrograms(l.builder.repo)
		if err != nil {
			return err
		}
		programs = append(product, programs...) // A mistake of one's own shows first.
	}
	return l.builder.build(ctx, programs)
}

// start starts a supervisor and follows what it says until its cluster is
// ready. With an input, the supervisor ends when that does, however it ends.
func (l *local) start(ctx context.Context, input *os.File) error {
	// What an earlier cluster left, above all when it was killed.
	if err := l.end(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(l.logs()); err != nil {
		return err
	}
	if err := os.MkdirAll(l.logs(), 0o755); err != nil {
		return err
	}
	log, err := os.Create(l.ownLog())
	if err != nil {
		return err
	}
	defer log.Close()
	said, err := os.Open(l.ownLog())
	if err != nil {
		return err
	}
	defer said.Close()

	cmd := exec.Command(filepath.Join(l.builder.binDir(), binCluster),
		"serve", "--dir", l.dir, "--lifetime", l.options.Lifetime.String(),
		fmt.Sprintf("--node=%t", l.options.Node), fmt.Sprintf("--until-stdin-closes=%t", input != nil))
	cmd.Dir = l.builder.repo
	cmd.Stdout, cmd.Stderr = log, log
	if input != nil {
		cmd.Stdin = input
	}
	// A session of its own: neither the terminal's signals nor its end reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // How it ended is in its state.
	}()

	for {
		_, _ = io.Copy(l.options.Output, said)
		if s, err := loadState(l.layout); err == nil && s.Ready {
			return nil
		}
		select {
		case <-ended:
			_, _ = io.Copy(l.options.Output, said)
			return fmt.Errorf("the cluster did not come up (%s); its logs are in %s", cmd.ProcessState, l.logs())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), l.end(context.WithoutCancel(ctx)))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// running returns the means to control the cluster if it is up and ready.
func (l *local) running() *Processes {
	s, err := loadState(l.layout)
	if err != nil || !s.Ready || !s.Supervisor.alive() {
		return nil
	}
	return &Processes{url: s.ControlURL, token: s.Token}
}

// endPatience is how long a supervisor may take to end its cluster.
const endPatience = 30 * time.Second

// end ends the cluster, also one that was killed halfway, makes sure that none
// of its processes is left, and removes its state. Only processes that the
// supervisor recorded are touched, and only while they are what it recorded.
func (l *local) end(ctx context.Context) error {
	s, err := loadState(l.layout)
	if errors.Is(err, os.ErrNotExist) {
		return l.remove()
	}
	if err != nil {
		return err
	}
	if s.Supervisor.alive() {
		l.sayf("ending the cluster in %s", l.dir)
		if err := s.Supervisor.signal(syscall.SIGTERM); err != nil {
			return err
		}
		if !s.Supervisor.waitGone(ctx, endPatience) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			l.sayf("its supervisor (process %d) does not end by itself and is killed", s.Supervisor.PID)
			if err := s.Supervisor.signal(syscall.SIGKILL); err != nil {
				return err
			}
		}
		// It may have started processes since.
		if later, err := loadState(l.layout); err == nil {
			s = later
		}
	}
	for name, process := range s.Processes {
		if err := process.signal(syscall.SIGKILL); err != nil {
			return err
		}
		if !process.waitGone(ctx, endPatience) {
			return fmt.Errorf("%s (process %d) does not end", name, process.PID)
		}
	}
	return l.remove()
}

// lock keeps other commands for the same cluster waiting. The system lets go
// of it when the program ends, however it ends.
func (l *local) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.lockFile(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !waiting {
			l.sayf("waiting for another command that works on the cluster in %s", l.dir)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

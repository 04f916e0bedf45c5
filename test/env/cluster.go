// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Options select a local cluster and configure its start.
type Options struct {
	Dir      string        // default .cluster in the repository
	Lifetime time.Duration // default 12 h, after which a forgotten cluster ends
	Output   io.Writer     // progress messages; default os.Stderr
}

const defaultLifetime = 12 * time.Hour

// local is a local cluster seen from outside its supervisor.
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

// Up starts the cluster if it does not run, with config/ and the programs of the working
// tree, and returns when all is ready. The cluster outlives the program.
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
		if err := l.checkSame(ctx); err != nil {
			return err
		}
		if err := processes.startAll(ctx); err != nil {
			return err
		}
		// Kubernetes and Knative stay as they are; only the project's own programs are
		// updated.
		l.sayf("the cluster in %s is up, updating the controller and the webhook", l.dir)
		programs, err := projectPrograms(l.builder.repo)
		if err != nil {
			return err
		}
		if err := l.builder.build(ctx, programs); err != nil {
			return err
		}
		return processes.InstallProject(ctx)
	}
	if err := l.buildAll(ctx); err != nil {
		return err
	}
	return l.start(ctx, nil)
}

// checkSame returns an error if the cluster that runs was started with other options.
func (l *local) checkSame(ctx context.Context) error {
	s, err := loadState(l.layout)
	if err != nil {
		return err
	}
	if err := l.builder.selectReleases(ctx); err != nil {
		return err
	}
	if versions := l.builder.versions(); !maps.Equal(versions, s.Versions) {
		return fmt.Errorf("cluster in %s has the versions %v, not %v: stop it first", l.dir, s.Versions, versions)
	}
	return nil
}

// Down stops the cluster and returns when all its processes have exited.
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

// Status returns the processes of the cluster, none if it is not up.
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
	if err := l.builder.selectReleases(ctx); err != nil {
		return err
	}
	own, err := projectPrograms(l.builder.repo)
	if err != nil {
		return err
	}
	return l.builder.build(ctx, append(own, standing...)) // Show compile errors of our own code first.
}

// start starts a supervisor and prints its output until the cluster is ready. With an
// input, the supervisor stops when the input is closed.
func (l *local) start(ctx context.Context, input *os.File) error {
	// Clean up what an earlier cluster left, for example after a kill.
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
		fmt.Sprintf("--until-stdin-closes=%t", input != nil))
	cmd.Dir = l.builder.repo
	cmd.Stdout, cmd.Stderr = log, log
	if input != nil {
		cmd.Stdin = input
	}
	// A separate session, which signals of the terminal do not reach.
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
			return fmt.Errorf("cluster failed to start (%s); its logs are in %s", cmd.ProcessState, l.logs())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), l.end(context.WithoutCancel(ctx)))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// running returns the Processes of the cluster if it is up and ready.
func (l *local) running() *localProcesses {
	s, err := loadState(l.layout)
	if err != nil || !s.Ready || !s.Supervisor.alive() {
		return nil
	}
	return &localProcesses{url: s.ControlURL, token: s.Token}
}

// endTimeout is how long a supervisor may take to stop its cluster.
const endTimeout = 30 * time.Second

// end stops the cluster, even one that was killed halfway, makes sure that all its
// processes have exited, and removes its state. It signals only processes that the
// supervisor recorded, and only while their identity matches.
func (l *local) end(ctx context.Context) error {
	s, err := loadState(l.layout)
	if errors.Is(err, os.ErrNotExist) {
		return l.remove()
	}
	if err != nil {
		return err
	}
	if s.Supervisor.alive() {
		l.sayf("stopping the cluster in %s", l.dir)
		if err := s.Supervisor.signal(syscall.SIGTERM); err != nil {
			return err
		}
		if !s.Supervisor.waitGone(ctx, endTimeout) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			l.sayf("its supervisor (process %d) does not stop and is killed", s.Supervisor.PID)
			if err := s.Supervisor.signal(syscall.SIGKILL); err != nil {
				return err
			}
		}
		// It may have started more processes meanwhile.
		if later, err := loadState(l.layout); err == nil {
			s = later
		}
	}
	for name, process := range s.Processes {
		if err := process.signal(syscall.SIGKILL); err != nil {
			return err
		}
		if !process.waitGone(ctx, endTimeout) {
			return fmt.Errorf("%s (process %d) does not exit", name, process.PID)
		}
	}
	return l.remove()
}

// lock blocks other commands for the same cluster. The kernel releases it when the
// program exits.
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
			l.sayf("waiting for another command on the cluster in %s", l.dir)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

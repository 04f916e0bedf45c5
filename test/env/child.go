// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// childSpec specifies how to run one process of the cluster.
type childSpec struct {
	name    string
	program string
	args    []string
	env     []string
	ports   map[string]int // by name, for clients of the process
	// prepare, if set, is called before every start.
	prepare func(ctx context.Context) error
	// ready returns nil once the process is ready.
	ready func(ctx context.Context) error
	// grace is the grace period of the process.
	grace time.Duration
}

// child is a process that the supervisor keeps running: like a kubelet, it restarts the
// process unless it was stopped.
type child struct {
	childSpec
	logs   string          // directory
	note   func(string)    // reports to the user
	record func()          // called when the process changes
	life   context.Context // of the supervisor

	run atomic.Pointer[childRun] // nil while no process runs

	mu        sync.Mutex // held while run changes
	wanted    bool
	restarts  int // number of crashes
	overrides map[string]string
}

// childRun is one run of a child.
type childRun struct {
	process *os.Process
	id      identity // to find it after a crash of the supervisor
	program os.FileInfo
	started time.Time
	ended   chan struct{}
}

const (
	// minUptime is the run time below which a process is restarted only after a pause.
	minUptime, restartPause = 10 * time.Second, 2 * time.Second
	// maxCrashes is the number of crashes after which waiting for a process fails.
	maxCrashes = 3
)

// start runs the process, with the variables added to its environment until the next
// explicit start. It does not wait for readiness.
func (c *child) start(overrides map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current() != nil {
		return fmt.Errorf("%s is already running", c.name)
	}
	c.overrides = overrides
	if err := c.launch(); err != nil {
		return err
	}
	c.wanted = true
	return nil
}

func (c *child) launch() error {
	environment := append([]string{
		// The rest of the caller's environment must not affect tests.
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
	}, c.env...)
	if c.prepare != nil {
		ctx, cancel := context.WithTimeout(c.life, 30*time.Second)
		defer cancel()
		if err := c.prepare(ctx); err != nil {
			return fmt.Errorf("prepare %s: %w", c.name, err)
		}
	}
	for name, value := range c.overrides {
		environment = append(environment, name+"="+value)
	}

	output, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	program, err := os.Stat(c.program)
	if err != nil {
		return err
	}
	cmd := exec.Command(c.program, c.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment, output, output
	if err := spawn(cmd); err != nil {
		return err
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Wait() // The result is in ProcessState.
		return fmt.Errorf("%s exited immediately (%s); %s", c.name, cmd.ProcessState, c.logTail())
	}
	run := &childRun{process: cmd.Process, id: id, program: program, started: time.Now(), ended: make(chan struct{})}
	c.run.Store(run)
	go c.watch(cmd, run)
	c.record()
	return nil
}

// watch waits for the end of the run and restarts the process unless it was stopped.
func (c *child) watch(cmd *exec.Cmd, run *childRun) {
	_ = cmd.Wait() // The result is in ProcessState.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Store(nil)
	close(run.ended)
	if !c.wanted || c.life.Err() != nil {
		return
	}
	c.restarts++
	c.note(fmt.Sprintf("%s exited (%s), restarting it; its log is %s", c.name, cmd.ProcessState, c.logFile()))
	var pause time.Duration
	if time.Since(run.started) < minUptime {
		pause = restartPause
	}
	time.AfterFunc(pause, c.relaunch)
}

func (c *child) relaunch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.wanted || c.current() != nil || c.life.Err() != nil {
		return
	}
	if err := c.launch(); err != nil {
		c.note(fmt.Sprintf("starting %s again: %v", c.name, err))
		time.AfterFunc(restartPause, c.relaunch)
	}
}

// end sends the signal and waits for the process to exit; after the grace period it kills
// it.
func (c *child) end(signal syscall.Signal) error {
	c.mu.Lock()
	c.wanted = false
	run := c.current()
	c.mu.Unlock()
	if run == nil {
		return nil
	}
	if err := run.signal(signal); err != nil {
		return err
	}
	select {
	case <-run.ended:
		return nil
	case <-time.After(c.grace):
	}
	if err := run.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-run.ended
	return nil
}

func (r *childRun) signal(s syscall.Signal) error {
	if err := r.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// waitReady waits until the process is ready, and fails if it keeps crashing.
func (c *child) waitReady(ctx context.Context) error {
	before := c.status().Restarts
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := c.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if c.status().Restarts-before >= maxCrashes {
			return fmt.Errorf("%s keeps crashing; %s", c.name, c.logTail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; %s", c.name, err, c.logTail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// logTail returns the path of the child's log and its last lines.
func (c *child) logTail() string {
	const lines, width = 5, 300
	content, err := os.ReadFile(c.logFile())
	if err != nil {
		return err.Error()
	}
	last := strings.Split(strings.TrimSpace(string(content)), "\n")
	last = last[max(0, len(last)-lines):]
	for i, line := range last {
		last[i] = line[:min(len(line), width)]
	}
	return fmt.Sprintf("its log, %s, ends with\n  %s", c.logFile(), strings.Join(last, "\n  "))
}

func (c *child) logFile() string { return filepath.Join(c.logs, c.name+".log") }

// current returns the current run of the child, or nil.
func (c *child) current() *childRun { return c.run.Load() }

// runsAs reports whether the child runs as specified, with the current binary.
func (c *child) runsAs(spec childSpec) bool {
	run := c.current()
	if run == nil || c.program != spec.program || !slices.Equal(c.args, spec.args) || !slices.Equal(c.env, spec.env) {
		return false
	}
	now, err := os.Stat(c.program)
	return err == nil && os.SameFile(run.program, now)
}

func (c *child) status() ProcessStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := ProcessStatus{Name: c.name, Restarts: c.restarts, Log: c.logFile(), Ports: c.ports}
	if run := c.current(); run != nil {
		status.PID, status.Started = run.id.PID, run.started
	}
	return status
}

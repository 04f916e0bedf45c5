// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newTestChild returns a child that prints $SAY and sleeps.
func newTestChild(t *testing.T) *child {
	t.Helper()
	life, end := context.WithCancel(context.Background())
	c := &child{
		childSpec: childSpec{
			name:    "shell",
			program: "/bin/sh",
			args:    []string{"-c", `echo "said $SAY"; exec sleep 60`},
			env:     []string{"SAY=shipped"},
			grace:   5 * time.Second,
		},
		logs:   t.TempDir(),
		note:   func(text string) { t.Log(text) },
		record: func() {},
		life:   life,
	}
	t.Cleanup(func() {
		end()
		if err := c.end(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	return c
}

// waitSaid waits until the child's log has that many lines, and returns them.
func waitSaid(t *testing.T, c *child, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(longTimeout); ; time.Sleep(20 * time.Millisecond) {
		content, _ := os.ReadFile(filepath.Join(c.logs, "shell.log"))
		if lines := strings.Fields(strings.ReplaceAll(string(content), "said ", "")); len(lines) >= n {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log is %q, want %d lines", content, n)
		}
	}
}

func TestChildIsRestartedAfterACrash(t *testing.T) {
	c := newTestChild(t)
	if err := c.start(map[string]string{"SAY": "override"}); err != nil {
		t.Fatal(err)
	}
	waitSaid(t, c, 1)
	if err := c.current().signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	if got := waitSaid(t, c, 2); got[1] != "override" {
		t.Errorf("it was restarted with %q, want the variables of its start", got[1])
	}
	if got := c.status().Restarts; got != 1 {
		t.Errorf("got %d restarts, want 1", got)
	}
}

func TestStoppedChildIsNotRestarted(t *testing.T) {
	c := newTestChild(t)
	if err := c.start(map[string]string{"SAY": "override"}); err != nil {
		t.Fatal(err)
	}
	waitSaid(t, c, 1)
	if err := c.start(nil); err == nil {
		t.Error("a second start created a second process")
	}
	if err := c.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if c.current() != nil || c.status().PID != 0 {
		t.Error("it still runs when end returns")
	}
	c.relaunch() // As if it crashed while it was being stopped.
	if c.current() != nil {
		t.Error("it was restarted although it was stopped")
	}

	if err := c.start(nil); err != nil {
		t.Fatal(err)
	}
	if got := waitSaid(t, c, 2); got[1] != "shipped" {
		t.Errorf("it was started with %q, want no override", got[1])
	}
	if got := c.status().Restarts; got != 0 {
		t.Errorf("got %d restarts, want none: it never crashed", got)
	}
}

func TestChildIsKilledAfterItsGracePeriod(t *testing.T) {
	c := newTestChild(t)
	c.args = []string{"-c", `trap "" TERM; echo "said $SAY"; sleep 60 & wait; sleep 60`}
	c.grace = 100 * time.Millisecond
	if err := c.start(nil); err != nil {
		t.Fatal(err)
	}
	waitSaid(t, c, 1)
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if c.current() != nil {
		t.Error("it still runs when end returns")
	}
}

func TestRunsAs(t *testing.T) {
	c := newTestChild(t)
	program := filepath.Join(t.TempDir(), "program")
	copyProgram := func() {
		content, err := os.ReadFile("/bin/sh")
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFile(program, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram()
	c.program = program
	same := c.childSpec
	if c.runsAs(same) {
		t.Error("runsAs is true for a child that does not run")
	}
	if err := c.start(nil); err != nil {
		t.Fatal(err)
	}
	if !c.runsAs(same) {
		t.Error("runsAs is false for a child that runs as specified")
	}
	other := same
	other.env = []string{"SAY=other"}
	if c.runsAs(other) {
		t.Error("runsAs ignores a changed environment")
	}
	copyProgram()
	if c.runsAs(same) {
		t.Error("runsAs ignores a rebuilt program")
	}
}

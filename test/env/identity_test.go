// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// longTimeout is the timeout for events that are immediate except on a busy machine.
const longTimeout = 5 * time.Minute

func TestIdentity(t *testing.T) {
	cmd := exec.Command("sleep", "3600")
	if err := spawn(cmd); err != nil {
		t.Fatal(err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	// A later process with the same number is a different one.
	for name, other := range map[string]identity{
		"another start":   {PID: id.PID, Started: id.Started + "0", Program: id.Program},
		"another program": {PID: id.PID, Started: id.Started, Program: id.Program + "0"},
		"no process":      {},
	} {
		if other.alive() {
			t.Errorf("%s: identified as the process", name)
		}
		if err := other.signal(syscall.SIGKILL); err != nil {
			t.Errorf("%s: signal() = %v", name, err)
		}
	}
	if !id.alive() {
		t.Fatal("process has exited: it was signalled by another identity")
	}

	if err := id.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed.
	if !id.waitGone(t.Context(), longTimeout) {
		t.Error("process still runs after it was killed")
	}
	if err := id.signal(syscall.SIGKILL); err != nil {
		t.Errorf("signal a process that has exited: %v", err)
	}
}

// A zombie, which its parent has not reaped, counts as exited.
func TestIdentityOfAZombie(t *testing.T) {
	cmd := exec.Command("true")
	if err := spawn(cmd); err != nil {
		t.Fatal(err)
	}
	id := identity{PID: cmd.Process.Pid}
	deadline := time.Now().Add(longTimeout)
	for {
		if _, err := identify(id.PID); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a zombie counts as running")
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Wait()
}

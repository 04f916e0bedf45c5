// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// identity identifies a process, also if its number is reused later. No process is ever
// signalled that does not match its identity, because clusters share the machine with
// other work.
type identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system reports it, never parsed
	Program string `json:"program"`
}

// alive reports whether this process still runs.
func (i identity) alive() bool {
	if i.PID <= 0 {
		return false
	}
	now, err := identify(i.PID)
	return err == nil && now == i
}

// signal sends the signal to this process. A process that has exited is not an error.
func (i identity) signal(s syscall.Signal) error {
	if !i.alive() {
		return nil
	}
	if err := syscall.Kill(i.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// waitGone waits for the process to exit and reports whether it has.
func (i identity) waitGone(ctx context.Context, timeout time.Duration) bool {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		return !i.alive(), nil
	})
	return err == nil
}

// self returns the identity of this process.
func self() (identity, error) { return identify(os.Getpid()) }

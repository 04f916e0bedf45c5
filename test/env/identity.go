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

// identity tells one process from every other, also from a later one that
// the system gave the same number. Nothing here ever ends a process that it
// cannot identify: clusters share the machine with other work.
type identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system tells it, never interpreted
	Program string `json:"program"`
}

// alive reports whether exactly this process still runs.
func (i identity) alive() bool {
	if i.PID <= 0 {
		return false
	}
	now, err := identify(i.PID)
	return err == nil && now == i
}

// signal sends the signal to exactly this process. One that is gone is no
// error: that is what signals are sent for here.
func (i identity) signal(s syscall.Signal) error {
	if !i.alive() {
		return nil
	}
	if err := syscall.Kill(i.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// waitGone waits until the process has ended, and reports whether it has.
func (i identity) waitGone(ctx context.Context, patience time.Duration) bool {
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		return !i.alive(), nil
	})
	return err == nil
}

// self identifies the running process.
func self() (identity, error) { return identify(os.Getpid()) }

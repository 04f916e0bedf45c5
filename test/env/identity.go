// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// An identity tells one process from every other, also from a later one that
// the system gave the same number. Nothing here ever ends a process that it
// cannot identify: clusters share the machine with other work.
type identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system tells it, never interpreted
	Program string `json:"program"`
}

// alive says whether exactly this process still runs.
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

// waitGone waits until the process has ended, and says whether it has.
func (i identity) waitGone(patience time.Duration) bool {
	for deadline := time.Now().Add(patience); i.alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// self identifies the running process.
func self() (identity, error) { return identify(os.Getpid()) }

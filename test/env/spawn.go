// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts all children from one thread that lives as long as the
// program. On Linux a child is told to die when its parent's *thread* ends,
// and the Go runtime ends threads when it likes.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// spawn starts the command as a child that dies with this program, even where
// this program is killed, and that signals from a terminal do not reach:
// in which order children end is for their parent to say.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = childAttributes()
	failed := make(chan error)
	spawner() <- func() { failed <- cmd.Start() }
	return <-failed
}

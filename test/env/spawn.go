// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts all children from one thread that lives as long as the program. On Linux
// a child is signalled when its parent *thread* exits, and the Go runtime may end threads
// at any time.
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

// spawn starts the command as a child that dies with this program, even if this program
// is killed. Signals of a terminal do not reach it, because the parent decides the order
// in which children stop.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = childAttributes()
	failed := make(chan error)
	spawner() <- func() { failed <- cmd.Start() }
	return <-failed
}

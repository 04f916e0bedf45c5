// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package env

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// TestLocalCluster tests the lifecycle of a cluster that users start: a second "up",
// another cluster beside it, a killed supervisor, and "down".
func TestLocalCluster(t *testing.T) {
	options := Options{Dir: t.TempDir(), Output: testWriter{t}}
	t.Cleanup(func() {
		// The test's context is already cancelled.
		if err := Down(context.Background(), options); err != nil {
			t.Error(err)
		}
	})
	up(t, options)
	first := stateOf(t, options)
	checkListeners(t, first)

	up(t, options)
	if again := stateOf(t, options); !maps.Equal(first.Processes, again.Processes) {
		t.Errorf("second up changed the processes from %v to %v", first.Processes, again.Processes)
	}

	other := Options{Dir: t.TempDir(), Output: testWriter{t}}
	up(t, other)
	otherState := stateOf(t, other)
	checkListeners(t, otherState)
	if err := Down(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	checkGone(t, other, otherState)

	e, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Kube.CoreV1().Namespaces().Get(t.Context(), pullsecrets.SystemNamespace, metav1.GetOptions{}); err != nil {
		t.Error("after another cluster was started and stopped:", err)
	}

	if err := first.Supervisor.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !first.Supervisor.waitGone(t.Context(), 10*time.Second) {
		t.Fatal("killed supervisor still runs")
	}
	up(t, options)
	for name, process := range first.Processes {
		if process.alive() {
			t.Errorf("%s of the killed cluster still runs beside the new one", name)
		}
	}

	last := stateOf(t, options)
	if err := Down(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	checkGone(t, options, last)
	if err := Down(t.Context(), options); err != nil {
		t.Error("a second down:", err)
	}
}

func up(t *testing.T, options Options) {
	t.Helper()
	start := time.Now()
	if err := Up(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %s", time.Since(start).Round(time.Millisecond))
}

func stateOf(t *testing.T, options Options) *state {
	t.Helper()
	s, err := loadState(layout{dir: options.Dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkGone checks that no process is left, and no file but the logs.
func checkGone(t *testing.T, options Options, s *state) {
	t.Helper()
	for name, process := range s.Processes {
		if process.alive() {
			t.Errorf("%s still runs after down", name)
		}
	}
	if s.Supervisor.alive() {
		t.Error("the supervisor still runs after down")
	}
	files, err := os.ReadDir(options.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := file.Name(); name != "logs" && name != "lock" {
			t.Errorf("down left %s", filepath.Join(options.Dir, name))
		}
	}
}

// checkListeners checks that no process of the cluster listens beyond loopback.
func checkListeners(t *testing.T, s *state) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("listening addresses can be read only on Linux")
		return
	}
	for name, process := range s.Processes {
		listeners := 0
		sockets := socketsOf(t, process.PID)
		for _, table := range []string{"tcp", "tcp6"} {
			for _, socket := range listening(t, process.PID, table) {
				if !sockets[socket.inode] {
					continue
				}
				listeners++
				if !socket.loopback {
					t.Errorf("%s listens on %s (%s), where other hosts reach it", name, socket.address, table)
				}
			}
		}
		if listeners == 0 {
			t.Errorf("%s does not listen, so this test shows nothing", name)
		}
	}
}

type socket struct {
	address  string
	inode    string
	loopback bool
}

// listening parses a table of the kernel, in which addresses are hexadecimal and, on all
// machines that run Go tests, little-endian.
func listening(t *testing.T, pid int, table string) []socket {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []socket
	for lines := bufio.NewScanner(f); lines.Scan(); {
		const stateListen = "0A"
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		host, _, _ := strings.Cut(fields[1], ":")
		all = append(all, socket{
			address:  fields[1],
			inode:    fields[9],
			loopback: host == "0100007F" || host == "00000000000000000000000001000000",
		})
	}
	return all
}

func socketsOf(t *testing.T, pid int) map[string]bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[string]bool{}
	for _, file := range files {
		// It may have been closed meanwhile.
		target, _ := os.Readlink(filepath.Join(dir, file.Name()))
		if inode, found := strings.CutPrefix(target, "socket:["); found {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes
}

// testWriter writes progress to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

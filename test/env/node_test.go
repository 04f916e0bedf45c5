// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package env

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNodeLeavesNothing starts a cluster with a node twice and ends it in both ways: with
// "down" and by killing its supervisor.
func TestNodeLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("NOT RUN: a node requires Linux and root")
	}
	options := Options{Dir: t.TempDir(), Node: true, Output: testWriter{t}}
	t.Cleanup(func() {
		// The test's context is already cancelled.
		if err := Down(context.Background(), options); err != nil {
			t.Error(err)
		}
	})
	before := machineState(t)

	up(t, options)
	first := stateOf(t, options)
	checkSeenFromElsewhere(t, options)
	if err := Down(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	checkGone(t, options, first)
	checkMachine(t, before)

	up(t, options)
	second := stateOf(t, options)
	if err := second.Supervisor.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, process := range second.Processes {
		if !process.waitGone(t.Context(), 10*time.Second) {
			t.Errorf("%s still runs after its supervisor was killed", name)
		}
	}
	if err := Down(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	checkGone(t, options, second)
	checkMachine(t, before)
}

// checkSeenFromElsewhere checks that the kubeconfig and the files beside it are enough
// for tests to pull images on an unknown cluster.
func checkSeenFromElsewhere(t *testing.T, options Options) {
	t.Helper()
	here, elsewhere := layout{dir: options.Dir}, layout{dir: t.TempDir()}
	for from, to := range map[string]string{here.kubeconfig(): elsewhere.kubeconfig(), here.registries(): elsewhere.registries()} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBECONFIG", elsewhere.kubeconfig())
	e, err := Setup(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != Existing || !e.offers(Pulls) || !e.offers(DockerHub) || e.offers(RequestCounts) || e.offers(ProcessControl) {
		t.Errorf("opened by kubeconfig it is of kind %s, with the registries %v", e.Kind, e.Registries)
	}
	if _, err := e.Registries.Main.Push(t.Context(), "seen/from-elsewhere", "v1"); err != nil {
		t.Fatal(err)
	}
	requests, err := e.Registries.Main.Requests(t.Context(), "seen/from-elsewhere")
	if err != nil || len(requests) == 0 || requests[0].User != registryAdministrator {
		t.Errorf("registry returned the requests %v, %v", requests, err)
	}
}

// machineState returns the state that a kubelet and its helpers would change on an
// unprotected machine.
func machineState(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, file := range []string{
		"/proc/self/mountinfo", "/proc/net/dev",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops",
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file == "/proc/net/dev" {
			content = []byte(interfaces(string(content)))
		}
		found[file] = string(content)
	}
	for _, dir := range []string{"/run/netns", "/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/opt/containerd", "/etc/cni"} {
		files, _ := filepath.Glob(filepath.Join(dir, "*")) // The pattern is valid.
		found[dir] = strings.Join(files, " ")
	}
	mounts, err := cgroupMounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, mount := range mounts {
		groups, _ := filepath.Glob(filepath.Join(mount, "*pullsecrets-*"))
		found[mount] = strings.Join(groups, " ")
	}
	return found
}

// interfaces returns the table of interfaces without traffic counters.
func interfaces(table string) string {
	var names []string
	for line := range strings.Lines(table) {
		if name, _, found := strings.Cut(line, ":"); found {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return strings.Join(names, " ")
}

func checkMachine(t *testing.T, before map[string]string) {
	t.Helper()
	for place, after := range machineState(t) {
		if after != before[place] {
			t.Errorf("%s was %q and is %q", place, before[place], after)
		}
	}
}

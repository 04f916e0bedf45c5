// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroupMounts lists the mounts of the machine's cgroups. They are never changed; this
// package only creates its own groups below them.
func cgroupMounts() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // No Linux, no cgroups.
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) > 4 && (strings.HasPrefix(after, "cgroup ") || strings.HasPrefix(after, "cgroup2 ")) {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, lines.Err()
}

// makeCgroups creates the parent group of a kubelet's groups in each hierarchy, because
// kubelets expect it in each.
func makeCgroups(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		group := filepath.Join(mount, name)
		if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// In cgroup v1 these are initially empty, and no process can enter.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			content, err := os.ReadFile(filepath.Join(mount, file))
			if err != nil {
				continue // not in this hierarchy
			}
			if err := os.WriteFile(filepath.Join(group, file), content, 0o644); err != nil { //nolint:gosec // not a regular file
				return err
			}
		}
	}
	return nil
}

// unified is the mount of cgroup v2 on a machine without v1. Kubelets use v2 only there.
const unified = "/sys/fs/cgroup"

// kubeletControllers are the controllers that a kubelet uses in its group, if the machine
// has them.
var kubeletControllers = []string{"cpu", "cpuset", "memory", "hugetlb", "pids"}

// notDelegated lists the controllers that a group below the mount lacks. It is empty if
// the mount is not cgroup v2.
func notDelegated(mount, group string) []string {
	has, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	got, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(kubeletControllers), func(controller string) bool {
		return !slices.Contains(strings.Fields(string(has)), controller) || slices.Contains(strings.Fields(string(got)), controller)
	})
}

// removeCgroups removes that group and all below it. Their processes have ended, but the
// kernel may take a moment to notice.
func removeCgroups(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		var groups []string
		err := filepath.WalkDir(filepath.Join(mount, name), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, group := range slices.Backward(groups) {
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				err := os.Remove(group)
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					break
				}
				if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
					return err
				}
			}
		}
	}
	return nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"os"
	"strings"
)

// identify reads the process's start time and program from /proc.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, err
	}
	// Field 2, the command's name, is in parentheses and may contain spaces and
	// parentheses. Field 3 is the state and field 22 the start time in clock ticks since
	// boot.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return identity{}, fmt.Errorf("/proc/%d/stat has an unexpected format: %q", pid, stat)
	}
	if fields[0] == "Z" {
		return identity{}, fmt.Errorf("process %d has exited", pid)
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return identity{}, err
	}
	// A newer build may have replaced the file.
	return identity{PID: pid, Started: fields[19], Program: strings.TrimSuffix(program, " (deleted)")}, nil
}

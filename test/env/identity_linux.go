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
	// The second field, the command's name, is in parentheses and may itself
	// hold spaces and parentheses. State is field 3 and the start time, in
	// clock ticks since the machine's, is field 22.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return identity{}, fmt.Errorf("/proc/%d/stat is not as expected: %q", pid, stat)
	}
	if fields[0] == "Z" {
		return identity{}, fmt.Errorf("process %d has ended", pid)
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return identity{}, err
	}
	// A newer build may have taken the file's place since.
	return identity{PID: pid, Started: fields[19], Program: strings.TrimSuffix(program, " (deleted)")}, nil
}

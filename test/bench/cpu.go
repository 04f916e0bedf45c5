// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pullsecrets.dev/test/env"
)

// programs are the names of the processes whose CPU usage is shown.
var programs = []string{"kube-apiserver", "knative-webhook", "webhook", "controller"}

// ticks is the number of clock ticks per second, on every Linux that Go supports.
const ticks = 100

// busyWhile returns the CPU usage of each program while f ran, in percent of one core.
func busyWhile(ctx context.Context, e *env.Env, f func() error) ([]float64, error) {
	before, err := cpuSeconds(ctx, e)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return nil, err
	}
	took := time.Since(start).Seconds()
	after, err := cpuSeconds(ctx, e)
	if err != nil {
		return nil, err
	}
	shares := make([]float64, len(programs))
	for i := range shares {
		shares[i] = 100 * (after[i] - before[i]) / took
	}
	return shares, nil
}

// cpuSeconds returns the CPU time that each program has used so far.
func cpuSeconds(ctx context.Context, e *env.Env) ([]float64, error) {
	all, err := e.Processes.List(ctx)
	if err != nil {
		return nil, err
	}
	seconds := make([]float64, len(programs))
	for _, process := range all {
		i := slices.Index(programs, process.Name)
		if i < 0 || process.PID == 0 {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.PID))
		if err != nil {
			return nil, fmt.Errorf("read the CPU time of %s (Linux only): %w", process.Name, err)
		}
		// The program's name may contain spaces and ends with the last parenthesis. After
		// it, user and system time are fields 12 and 13.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 13 {
			return nil, fmt.Errorf("process %s has %d fields in its stat, want at least 13", process.Name, len(fields))
		}
		for _, field := range fields[11:13] {
			n, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return nil, err
			}
			seconds[i] += n / ticks
		}
	}
	return seconds, nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package env

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// identify calls ps, which all other Unix systems have.
func identify(pid int) (identity, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=,comm=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return identity{}, err
	}
	// lstart is five words: "Mon Jan  2 15:04:05 2006".
	fields := strings.Fields(string(out))
	if len(fields) < 7 || strings.HasPrefix(fields[0], "Z") {
		return identity{}, fmt.Errorf("process %d has exited", pid)
	}
	return identity{PID: pid, Started: strings.Join(fields[1:6], " "), Program: strings.Join(fields[6:], " ")}, nil
}

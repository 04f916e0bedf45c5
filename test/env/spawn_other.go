// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package env

import "syscall"

// childAttributes returns no attributes: only Linux can end a child with its parent. The
// next "up" or "down" ends the processes that a killed supervisor recorded.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package env

import "syscall"

// childAttributes cannot ask other systems to end a child with its parent.
// What a killed supervisor leaves behind there is ended by the next "up" or
// "down", from the identities that the supervisor recorded.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package env

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
)

var errNoEnclave = errors.New("a node requires Linux")

// enclave exists only on Linux.
type enclave struct{ id identity }

func newEnclave(string, string, []string, *os.File) (*enclave, error) { return nil, errNoEnclave }

func (e *enclave) spawn(*exec.Cmd) error { return errNoEnclave }

func (e *enclave) dial(context.Context, string) (net.Conn, error) { return nil, errNoEnclave }

func (e *enclave) path(file string) string { return file }

func (e *enclave) close() {}

// Enclose runs as an enclave's first process.
func Enclose(string) error { return errNoEnclave }

func checkEnclave(string, string) error { return errNoEnclave }

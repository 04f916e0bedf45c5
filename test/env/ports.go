// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// The range that ports are taken from lies below those that systems give to
// outgoing connections. From those a port would not be safe while its server
// restarts: the very clients that wait for the server could get it as the
// local end of their connection, even of one to itself.
const firstPort, lastPort = 20000, 29999

// portBook remembers which port each of a cluster's servers has, so that one
// that starts again is found where it was.
type portBook map[string]int

// of returns the server's port, a free one where the server is new.
func (b portBook) of(server string) (int, error) {
	if port, found := b[server]; found {
		return port, nil
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if !b.taken(port) && free(port) {
			b[server] = port
			return port, nil
		}
	}
	return 0, fmt.Errorf("found no free port between %d and %d for %s: end some of the programs that listen there", firstPort, lastPort, server)
}

func (b portBook) taken(port int) bool {
	for _, p := range b {
		if p == port {
			return true
		}
	}
	return false
}

func free(port int) bool {
	l, err := net.Listen("tcp", address(port))
	return err == nil && l.Close() == nil
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

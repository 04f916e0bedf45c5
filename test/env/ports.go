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

// Ports are below the range of ephemeral ports. Otherwise a client that waits for a
// restarting server could get the server's port as its own local port, even for a
// connection to itself.
const firstPort, lastPort = 20000, 29999

// portBook assigns each server of a cluster a port, which it keeps when it restarts.
type portBook map[string]int

// of returns the server's port, a free one for a new server.
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
	return 0, fmt.Errorf("no free port between %d and %d for %s: stop some of the programs that listen there", firstPort, lastPort, server)
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

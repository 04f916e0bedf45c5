// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"io"
	"net"
)

// forward makes the servers of an enclave reachable on the machine's loopback under the
// same ports, so that kubeconfigs, registry names and probes are valid inside and
// outside.
func (s *supervisor) forward() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enclave == nil {
		return nil
	}
	for server, port := range s.ports {
		if _, done := s.forwarded[server]; done {
			continue
		}
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			return err
		}
		s.forwarded[server] = listener
		go s.accept(listener)
	}
	return nil
}

func (s *supervisor) accept(listener net.Listener) {
	for {
		outside, err := listener.Accept()
		if err != nil {
			return // The listener was closed: the cluster stops.
		}
		go func() {
			defer outside.Close()
			inside, err := s.enclave.dial(s.life, listener.Addr().String())
			if err != nil {
				return // The client sees a closed connection, as if nothing listened.
			}
			defer inside.Close()
			go pass(inside, outside)
			pass(outside, inside)
		}()
	}
}

// pass copies one direction until its end and closes the write side.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // Any error ends the connection.
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

func (s *supervisor) stopForwarding() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, listener := range s.forwarded {
		listener.Close()
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"net"
	"testing"
)

func TestPortBook(t *testing.T) {
	ports := portBook{}
	seen := map[int]string{}
	for _, server := range []string{"etcd", "kube-apiserver", "controller probes", "controller metrics"} {
		port, err := ports.of(server)
		if err != nil {
			t.Fatal(err)
		}
		if port < firstPort || port > lastPort {
			t.Errorf("%s got port %d, which outgoing connections may take", server, port)
		}
		if other, taken := seen[port]; taken {
			t.Errorf("%s got the port of %s", server, other)
		}
		seen[port] = server
		if again, err := ports.of(server); err != nil || again != port {
			t.Errorf("%s got port %d and then %d, %v", server, port, again, err)
		}
	}
}

func TestFree(t *testing.T) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if free(port) {
		t.Error("a port in use counts as free")
	}
	l.Close()
	if !free(port) {
		t.Error("a released port does not count as free")
	}
}

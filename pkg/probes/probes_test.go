// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func status(t *testing.T, h http.Handler, path string) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code
}

func TestHandler(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var notReady error
	h := handler(ctx, func() error { return notReady })
	if got := status(t, h, "/readiness"); got != http.StatusOK {
		t.Errorf("ready: %d", got)
	}
	notReady = errors.New("caches are not filled")
	if got := status(t, h, "/readiness"); got != http.StatusServiceUnavailable {
		t.Errorf("not ready: %d", got)
	}
	notReady = nil
	stop()
	if got := status(t, h, "/readiness"); got != http.StatusServiceUnavailable {
		t.Errorf("being stopped: %d", got)
	}
	if got := status(t, h, "/health"); got != http.StatusOK {
		t.Errorf("health: %d", got)
	}
}

func TestServe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PROBES_HOST", "127.0.0.1")
	t.Setenv("PROBES_PORT", port)
	if err := Serve(t.Context(), Always); err == nil {
		t.Error("Serve() = nil although the port is taken")
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := Serve(ctx, Always); err != nil {
		t.Errorf("Serve() = %v after the context is done", err)
	}
}

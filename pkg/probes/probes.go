// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package probes serves the health probes of a program. knative.dev/pkg serves them on a
// fixed port of all addresses, so that two programs cannot share a host. Here the
// environment configures both:
//
//	PROBES_HOST  the address to listen on; all addresses by default
//	PROBES_PORT  the port; 8080 by default
package probes

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// Serve answers /health with 200 while the process runs, and /readiness with 200 while
// ready returns nil and the process is not being stopped. It returns when ctx is done, or
// with an error if it cannot listen.
func Serve(ctx context.Context, ready func() error) error {
	address := net.JoinHostPort(os.Getenv("PROBES_HOST"), cmp.Or(os.Getenv("PROBES_PORT"), "8080"))
	server := &http.Server{Addr: address, Handler: handler(ctx, ready), ReadHeaderTimeout: time.Minute}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(ctx context.Context, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/readiness", func(w http.ResponseWriter, _ *http.Request) {
		err := ctx.Err()
		if err == nil {
			err = ready()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux
}

// Always reports ready. A controller serves no requests, so a rollout need not wait for
// it.
func Always() error { return nil }

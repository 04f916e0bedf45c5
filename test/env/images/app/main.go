// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command app is the program of all test images. It serves every request on the port in
// $PORT, and with the path /dial reports whether its Pod reaches an address. Without a port
// it serves none, as a pause container or a sidecar. With an argument it exits immediately,
// as an init container must.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	port := os.Getenv("PORT")
	if port == "" {
		<-ctx.Done()
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	mux.HandleFunc("/dial", dial)
	server := &http.Server{Addr: ":" + port, ReadHeaderTimeout: 10 * time.Second, Handler: mux}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // Nothing to clean up.
	}
}

// dial opens a TCP connection to the address of the query.
func dial(w http.ResponseWriter, r *http.Request) {
	connection, err := net.DialTimeout("tcp", r.FormValue("address"), 2*time.Second)
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	connection.Close()
	fmt.Fprintln(w, "connected")
}

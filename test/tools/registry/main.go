// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// The registry command is a private registry for clusters that pull images:
//
//	registry -listen 127.0.0.1:5000 -blobs DIRECTORY -image public/app=PROGRAM
//
// It asks for basic auth, which everybody may do without who only reads below
// public/. Its administrator, whose password is in REGISTRY_PASSWORD, may do
// all, and says who else may read what:
//
//	PUT /users/robot     {"password": "...", "repositories": "team-a/"}
//	DELETE /users/robot
//
// Each request is one line of JSON on the standard output: who asked for what,
// and the answer. A password is never in it. The administrator is told the lines
// about a repository, the oldest first, in a JSON array:
//
//	GET /requests/team-a/app
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var images []string
	listen := flag.String("listen", "127.0.0.1:5000", "`address` on which HTTP is spoken")
	listenTLS := flag.String("listen-tls", "", "`address` on which HTTPS is spoken, if any")
	certificate := flag.String("tls-cert", "", "`file` with the certificate for HTTPS")
	key := flag.String("tls-key", "", "`file` with its key")
	blobs := flag.String("blobs", "", "`directory` in which layers are kept; registries may share one")
	flag.Func("image", "an image that is there from the start, made of one static program: `repository=PROGRAM`; without a program it is an empty base", func(value string) error {
		images = append(images, value)
		return nil
	})
	flag.Parse()

	password := os.Getenv("REGISTRY_PASSWORD")
	if password == "" {
		return errors.New("REGISTRY_PASSWORD is not set: without it anybody could be the administrator")
	}
	store := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(*blobs)), registry.Logger(discard()))
	for _, image := range images {
		repository, program, _ := strings.Cut(image, "=")
		if err := put(store, repository, program); err != nil {
			return fmt.Errorf("create the image %s: %w", repository, err)
		}
	}
	server := &http.Server{Handler: newGuard(store, password, os.Stdout), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })

	failed := make(chan error, 2)
	plain, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	go func() { failed <- server.Serve(plain) }()
	if *listenTLS != "" {
		encrypted, err := net.Listen("tcp", *listenTLS)
		if err != nil {
			return err
		}
		go func() { failed <- server.ServeTLS(encrypted, *certificate, *key) }()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command registry is a private registry for clusters that pull images:
//
//	registry -listen 127.0.0.1:5000 -blobs DIRECTORY -image public/app=PROGRAM
//
// It uses basic auth, except for anonymous reads below public/. Its administrator, whose
// password is in REGISTRY_PASSWORD, has all rights and grants others read access:
//
//	PUT /users/robot     {"password": "...", "repositories": "team-a/"}
//	DELETE /users/robot
//
// Each request is one line of JSON on standard output: user, request and result, never a
// password. The administrator can list the lines of a repository, the oldest first, as a
// JSON array:
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
	listen := flag.String("listen", "127.0.0.1:5000", "`address` for HTTP")
	listenTLS := flag.String("listen-tls", "", "`address` for HTTPS, if any")
	certificate := flag.String("tls-cert", "", "`file` with the certificate for HTTPS")
	key := flag.String("tls-key", "", "`file` with its key")
	blobs := flag.String("blobs", "", "`directory` for layers; registries may share one")
	flag.Func("image", "initial image with one static program: `repository=PROGRAM`; without a program an empty base image", func(value string) error {
		images = append(images, value)
		return nil
	})
	flag.Parse()

	password := os.Getenv("REGISTRY_PASSWORD")
	if password == "" {
		return errors.New("REGISTRY_PASSWORD is not set")
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

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nonRoot is the user of all images, as a number because the kubelet cannot tell from a
// name whether it is root.
const nonRoot = "65532:65532"

// imageTag is the tag of the initial images.
const imageTag = "1"

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// put builds an image of a program and stores it in the registry, which is not reachable
// yet.
func put(store http.Handler, repository, program string) error {
	image, err := imageOf(program)
	if err != nil {
		return err
	}
	server := httptest.NewServer(store)
	defer server.Close()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + repository + ":" + imageTag)
	if err != nil {
		return err
	}
	return remote.Write(tag, image)
}

// imageOf returns an image with only the program, or an empty base image.
func imageOf(program string) (v1.Image, error) {
	config, err := empty.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.User = nonRoot
	if program == "" {
		return mutate.ConfigFile(empty.Image, config)
	}
	file := "/" + filepath.Base(program)
	config.Config.Entrypoint = []string{file}
	base, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := writer.WriteHeader(&tar.Header{Name: file[1:], Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, layer)
}

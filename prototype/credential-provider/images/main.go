// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command images makes private images in the registry main of a test cluster, and the users that
// may read them:
//
//	images push REPOSITORY                 prints the digest; the tag is v1
//	images user NAME PASSWORD REPOSITORIES lets the user read what has this prefix
//	images reads REPOSITORY                prints who read a manifest, and who was rejected
//
// It reads the addresses from the file registries.json beside the kubeconfig.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pullsecrets.dev/test/env"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	content, err := os.ReadFile(filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "registries.json"))
	if err != nil {
		return err
	}
	var registries env.Registries
	if err := json.Unmarshal(content, &registries); err != nil {
		return err
	}
	switch main := registries.Main; {
	case main == nil:
		return errors.New("there is no registry main")
	case len(args) == 2 && args[0] == "push":
		digest, err := main.Push(ctx, args[1], "v1")
		if err == nil {
			fmt.Println(digest)
		}
		return err
	case len(args) == 4 && args[0] == "user":
		return main.SetUser(ctx, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "reads":
		requests, err := main.Requests(ctx, args[1])
		for _, r := range requests {
			if strings.Contains(r.Path, "/manifests/") {
				fmt.Printf("user=%q status=%d %s %s\n", r.User, r.Status, r.Method, r.Path)
			}
		}
		return err
	}
	return errors.New("usage: push REPOSITORY, user NAME PASSWORD REPOSITORIES, or reads REPOSITORY")
}

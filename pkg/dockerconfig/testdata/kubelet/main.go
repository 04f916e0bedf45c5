// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command kubelet writes testdata/kubelet.jsonl: what the kubelet's own code
// answers for many configs and images. The controller must not depend on
// k8s.io/kubernetes, so its answers are kept, and TestKubeletAnswers compares
// this package with them. It runs in the one module of the repository that has
// that code:
//
//	cd test/controlplane
//	go run ../../pkg/dockerconfig/testdata/kubelet/main.go > ../../pkg/dockerconfig/testdata/kubelet.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime/debug"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
	"k8s.io/kubernetes/pkg/util/parsers"
)

var (
	version = regexp.MustCompile("^/v[12]/")
	schemes = []string{"", "", "https://", "http://"}
	hosts   = []string{
		"docker.io", "index.docker.io", "registry-1.docker.io", "*.docker.io", "*.io", "docker.*", "*", "*.*",
		"ghcr.io", "GHCR.io", "quay.io", "reg.example.com", "*.example.com", "reg.*.com", "r*g.example.com",
		"reg.example.com:5000", "*.example.com:5000", "localhost", "localhost:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "bücher.example",
	}
	paths  = []string{"", "", "", "", "/", "/v1/", "/v2/", "/v1", "/acme", "/acme/", "/ac", "/acme/app", "/v1/acme", "/library", "/v1/v2/acme"}
	images = []string{
		"nginx", "nginx:1", "library/nginx", "acme/app", "acme/app:1", "acmeco/app", "v1/acme/app", "docker.io/nginx", "docker.io/acme/app:1",
		"index.docker.io/acme/app", "registry-1.docker.io/acme/app", "ghcr.io/acme/app", "ghcr.io/acme/app:1", "ghcr.io/acmeco/app", "ghcr.io/other/app",
		"ghcr.io/acme/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"ghcr.io/acme/app:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"GHCR.io/acme/app", "quay.io/acme/app", "reg.example.com/acme/app", "reg.example.com:5000/acme/app", "reg.example.com:443/acme/app",
		"a.reg.example.com/acme/app", "localhost/acme/app", "localhost:5000/acme/app", "FOO/acme/app", "ACME/app",
		"[2001:db8::1]:5000/acme/app", "[2001:db8::1]/acme/app", "127.0.0.1:5000/acme/app",
		"", "Nginx", "ghcr.io/Acme/app", "ghcr.io//app", "ghcr.io/", "https://ghcr.io/acme/app", "ghcr.io/acme/app:", "a b", "bücher.example/acme/app",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "ghcr.io/acme/app@sha256:12",
	}
)

// header is the first line.
type header struct {
	Kubernetes string
	Images     []string
}

// answers, one on each other line, is one config and, for each image that it serves, the numbers of the
// keys whose credentials the kubelet tries, in its order.
type answers struct {
	Keys  []string
	Tries map[string][]int
}

func main() {
	kubernetes := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "k8s.io/kubernetes" {
				kubernetes = dep.Version
			}
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	write := func(line any) {
		if err := encoder.Encode(line); err != nil {
			log.Fatal(err)
		}
	}
	write(header{kubernetes, images})
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(all []string) string { return all[r.IntN(len(all))] }
	for range 150 {
		var keys []string
		seen := map[string]bool{}
		for range 1 + r.IntN(5) {
			host, path := pick(hosts), pick(paths)
			// Of two credentials for one registry, which is first is chance.
			registry := host + strings.TrimSuffix(version.ReplaceAllString(path, "/"), "/")
			if !seen[registry] {
				seen[registry] = true
				keys = append(keys, pick(schemes)+host+path)
			}
		}
		write(ask(keys))
	}
}

func ask(keys []string) answers {
	auths := map[string]any{}
	for i, key := range keys {
		auths[key] = map[string]string{"username": fmt.Sprint(i), "password": "p"}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		log.Fatal(err)
	}
	keyring, err := secrets.MakeDockerKeyring([]corev1.Secret{{
		Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: text},
	}}, &credentialprovider.BasicDockerKeyring{})
	if err != nil {
		log.Fatal(err)
	}
	a := answers{Keys: keys, Tries: map[string][]int{}}
	for _, image := range images {
		repository, _, _, err := parsers.ParseImageName(image)
		if err != nil {
			continue
		}
		found, _ := keyring.Lookup(repository)
		for _, credential := range found {
			var i int
			if _, err := fmt.Sscan(credential.Username, &i); err != nil {
				log.Fatal(err)
			}
			a.Tries[image] = append(a.Tries[image], i)
		}
	}
	return a
}

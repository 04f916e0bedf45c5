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
//	go run ../../pkg/dockerconfig/testdata/kubelet/main.go -lists > ../../pkg/dockerconfig/testdata/kubelet-lists.jsonl
//
// With -lists, each config is a list of Secrets of any type and content.
package main

import (
	"encoding/base64"
	"encoding/json"
	"flag"
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

// list, one on each other line with -lists, is a list of Secrets, and what the kubelet does with
// it: whether it fails, or for each image what it tries, in its order. Each entry has the email
// S.E of its Secret and its own number, by which it is known. One that is sent without a
// username has a minus after it.
type list struct {
	Secrets []secret
	Fails   bool
	Tries   map[string][]string
}

type secret struct {
	Type corev1.SecretType
	Text string
}

func main() {
	lists := flag.Bool("lists", false, "answer for lists of Secrets")
	flag.Parse()
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
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(all []string) string { return all[r.IntN(len(all))] }
	if *lists {
		images = []string{
			"nginx", "acme/app:1", "acmeco/app", "ghcr.io/acme/app:1", "ghcr.io/acmeco/app", "ghcr.io/other/app", "quay.io/acme/app",
			"reg.example.com/acme/app", "reg.example.com:5000/acme/app", "registry-1.docker.io/acme/app", "localhost/acme/app", "FOO/acme/app", "",
		}
	}
	write(header{kubernetes, images})
	if *lists {
		for range 300 {
			write(askFor(someSecrets(rand.New(rand.NewPCG(r.Uint64(), 0)))))
		}
		return
	}
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

// someSecrets returns a list of Secrets. No two keys of one Secret are for one registry, because
// which of them is first is random.
func someSecrets(r *rand.Rand) (all []secret) {
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	for i := range 1 + r.IntN(4) {
		var (
			members []string
			seen    = map[string]bool{}
		)
		for j := range r.IntN(4) {
			host, path := pick("docker.io", "index.docker.io", "*.docker.io", "*.io", "ghcr.io", "ghcr.io", "*.example.com", "reg.example.com:5000", "localhost"), pick("", "", "", "/acme", "/ac", "/acme/app", "/v1/")
			if registry := host + version.ReplaceAllString(path, ""); !seen[registry] {
				seen[registry] = true
				key, _ := json.Marshal(pick(schemes...) + host + path)
				members = append(members, string(key)+":"+someEntry(r, fmt.Sprintf("%d.%d", i, j)))
			}
		}
		if r.IntN(30) == 0 {
			members = append(members, `"ghcr.io:x":`+someEntry(r, fmt.Sprint(i, ".9")))
		}
		entries := "{" + strings.Join(members, ",") + "}"
		s := secret{corev1.SecretTypeDockerConfigJson, `{"auths":` + entries + `}`}
		switch r.IntN(40) {
		case 0, 1, 2, 3, 4:
			s = secret{corev1.SecretTypeDockercfg, entries}
		case 5, 6:
			s.Type = corev1.SecretTypeOpaque
		case 7:
			s.Text = `{"auths":[]}`
		case 8:
			s.Text = `{"auths":` + entries + `,"HttpHeaders":{"a":1}}`
		case 9:
			s.Text = `{"auths":` + entries + `,"credsStore":"x","Auths":null}`
		case 10:
			s.Text = pick("null", "", "[]", "{", `{"AUTHS":`+entries+`}`)
		}
		all = append(all, s)
	}
	return all
}

// someEntry returns the value of an entry, mostly one with a credential.
func someEntry(r *rand.Rand, email string) string {
	login := base64.StdEncoding.EncodeToString([]byte("u:p"))
	with := func(fields string) string { return `{` + fields + `"email":"` + email + `"}` }
	switch r.IntN(80) {
	case 0:
		return `"u:p"`
	case 1:
		return `{"auth":"` + login + `","email":1}`
	case 2:
		return with(`"auth":"none",`)
	case 3:
		return with(`"auth":1,`)
	case 4, 5:
		return with(``)
	case 6, 7:
		return with(`"password":"p",`)
	case 8, 9:
		return with(`"username":"u",`)
	case 10, 11:
		return with(`"identitytoken":"t",`)
	case 12:
		return with(`"auth":"` + login + `","registrytoken":1,`)
	case 13, 14, 15, 16, 17, 18, 19, 20:
		return with(`"username":"u","password":"p",`)
	}
	return with(`"auth":"` + login + `",`)
}

func askFor(given []secret) list {
	answer := list{Secrets: given}
	var all []corev1.Secret
	for _, s := range given {
		key := corev1.DockerConfigJsonKey
		if s.Type == corev1.SecretTypeDockercfg {
			key = corev1.DockerConfigKey
		}
		all = append(all, corev1.Secret{Type: s.Type, Data: map[string][]byte{key: []byte(s.Text)}})
	}
	keyring, err := secrets.MakeDockerKeyring(all, &credentialprovider.BasicDockerKeyring{})
	if answer.Fails = err != nil; answer.Fails {
		return answer
	}
	answer.Tries = map[string][]string{}
	for _, image := range images {
		repository, _, _, err := parsers.ParseImageName(image)
		if err != nil {
			continue
		}
		found, _ := keyring.Lookup(repository)
		for _, credential := range found {
			entry := credential.Email
			if credential.Username == "" {
				entry += "-"
			}
			answer.Tries[image] = append(answer.Tries[image], entry)
		}
	}
	return answer
}

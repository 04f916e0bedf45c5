// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Registry is a private registry of a cluster, with basic auth. Until a test creates
// users, only its administrator may read images outside public/.
type Registry struct {
	// Host is the prefix of its images, and the key in pull secrets.
	Host string `json:"host"`
	// URL is its address for this program.
	URL string `json:"url"`
	// Password is the administrator's.
	Password string `json:"password"`
}

// Registries are the private registries of a cluster.
type Registries struct {
	Main  *Registry `json:"main"`
	Other *Registry `json:"other"`
	// Hub serves under the names of Docker Hub, with a certificate that the cluster
	// trusts. It is nil on a cluster that uses the real one.
	Hub *Registry `json:"hub,omitempty"`
}

const (
	registryAdministrator = "admin"
	// appRepository has an image, which serves on its $PORT if a node can run it.
	appRepository = "public/app"
)

// readRegistries reads the registries of a cluster from the file beside its kubeconfig.
// It returns nil if there is none.
func readRegistries(l layout) (*Registries, error) {
	content, err := os.ReadFile(l.registries())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := &Registries{}
	if err := json.Unmarshal(content, found); err != nil {
		return nil, fmt.Errorf("%s: %w", l.registries(), err)
	}
	if found.Main == nil || found.Other == nil {
		return nil, fmt.Errorf("%s does not contain the registries main and other", l.registries())
	}
	return found, nil
}

func (r *Registries) write(l layout) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(l.registries(), content, 0o600)
}

// startRegistries starts the registries of a local cluster, on which Knative resolves tags.
func (s *supervisor) startRegistries(ctx context.Context) error {
	s.sayf("starting registries")
	if err := os.MkdirAll(s.layout.blobs(), 0o755); err != nil {
		return err
	}
	all := &Registries{}
	for name, registry := range map[string]**Registry{"registry": &all.Main, "other-registry": &all.Other} {
		port, err := s.ports.of(name)
		if err != nil {
			return err
		}
		*registry = &Registry{Host: address(port), URL: "http://" + address(port), Password: s.state.Token}
		err = s.run(childSpec{
			name: name, program: filepath.Join(s.builder.binDir(), binRegistry),
			// Nothing runs the image, so it needs no program.
			args:  []string{"-listen", address(port), "-blobs", s.layout.blobs(), "-image", appRepository},
			env:   []string{"REGISTRY_PASSWORD=" + s.state.Token},
			ready: func(ctx context.Context) error { return probe(ctx, "http://"+address(port)+"/health") },
			grace: 3 * time.Second,
		})
		if err != nil {
			return err
		}
		if err := s.waitReady(ctx, name); err != nil {
			return err
		}
	}
	return all.write(s.layout)
}

// Push pushes a copy of the image in appRepository, different with each call so that no
// node has it, and returns its digest.
func (r *Registry) Push(ctx context.Context, repository, tag string) (string, error) {
	var manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	content, err := r.call(ctx, http.MethodGet, "/v2/"+appRepository+"/manifests/1", "", nil)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(content, &manifest); err != nil {
		return "", err
	}
	config := map[string]any{}
	if content, err = r.call(ctx, http.MethodGet, "/v2/"+appRepository+"/blobs/"+manifest.Config.Digest, "", nil); err != nil {
		return "", err
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return "", err
	}
	// A node identifies images by the digest of this part.
	config["author"] = rand.Text()
	if content, err = json.Marshal(config); err != nil {
		return "", err
	}
	manifest.Config.Digest, manifest.Config.Size = digestOf(content), len(content)
	if _, err := r.call(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+manifest.Config.Digest, "application/octet-stream", content); err != nil {
		return "", err
	}
	if content, err = json.Marshal(manifest); err != nil {
		return "", err
	}
	_, err = r.call(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, manifest.MediaType, content)
	return digestOf(content), err
}

// descriptor is a reference in a manifest to a part of an image.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

// PublicImage returns the names of an image that serves on its $PORT and can be pulled
// anonymously, by tag and by digest.
func (r *Registry) PublicImage(ctx context.Context) (byTag, byDigest string, err error) {
	content, err := r.call(ctx, http.MethodGet, "/v2/"+appRepository+"/manifests/1", "", nil)
	return r.Host + "/" + appRepository + ":1", r.Host + "/" + appRepository + "@" + digestOf(content), err
}

func digestOf(manifest []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(manifest)) }

// SetUser lets a user read the repositories with the prefix, with this password only.
func (r *Registry) SetUser(ctx context.Context, name, password, repositories string) error {
	content, err := json.Marshal(map[string]string{"password": password, "repositories": repositories})
	if err != nil {
		return err
	}
	_, err = r.call(ctx, http.MethodPut, "/users/"+name, "application/json", content)
	return err
}

// RemoveUser removes a user.
func (r *Registry) RemoveUser(ctx context.Context, name string) error {
	_, err := r.call(ctx, http.MethodDelete, "/users/"+name, "", nil)
	return err
}

func (r *Registry) call(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(registryAdministrator, r.Password)
	request.Header.Set("Content-Type", contentType)
	// Ignore proxies of the caller's environment.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("call the registry %s: %w", r.Host, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("registry %s returned %s for %s %s: %s", r.Host, response.Status, method, path, content)
	}
	return content, err
}

// RegistryRequest is a request to a registry and its result.
type RegistryRequest struct {
	Time       time.Time `json:"time"`
	User       string    `json:"user"` // empty for an anonymous request
	Method     string    `json:"method"`
	Repository string    `json:"repository"`
	Path       string    `json:"path"`
	Status     int       `json:"status"`
}

// Granted reports whether this request read a manifest, which every pull does.
func (r RegistryRequest) Granted() bool {
	return r.Status == http.StatusOK && strings.Contains(r.Path, "/manifests/")
}

func (r RegistryRequest) String() string {
	return fmt.Sprintf("%s as %q: %d", r.Method+" "+r.Path, r.User, r.Status)
}

// Requests returns the requests for the repository so far, in order.
func (r *Registry) Requests(ctx context.Context, repository string) ([]RegistryRequest, error) {
	content, err := r.call(ctx, http.MethodGet, "/requests/"+repository, "", nil)
	if err != nil {
		return nil, err
	}
	var all []RegistryRequest
	err = json.Unmarshal(content, &all)
	return all, err
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// HTTPGet returns what a program of config/ answers at a port, by its name, and a path. A Pod
// is reached through the API server.
func (e *Env) HTTPGet(ctx context.Context, program, port, path string) (code int, body string, err error) {
	status, err := e.Processes.Get(ctx, program)
	if err != nil {
		return 0, "", err
	}
	client, url := http.DefaultClient, fmt.Sprintf("http://%s/%s", address(status.Ports[port]), path)
	if status.Pod != "" {
		if client, err = rest.HTTPClientFor(e.Config); err != nil {
			return 0, "", err
		}
		url = fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:%d/proxy/%s", e.Config.Host, pullsecrets.SystemNamespace, status.Pod, status.Ports[port], path)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// profiled is the duration of a profile.
const profiled = 15 * time.Second

// profile writes the controller's CPU profile to a file, starting when f starts.
func profile(ctx context.Context, e *env.Env, path string, f func() error) error {
	if _, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, "config-observability", types.MergePatchType,
		[]byte(`{"data":{"runtime-profiling":"enabled"}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	process, err := e.Processes.Get(ctx, "controller")
	if err != nil {
		return err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/", process.Ports["profiling"])
	// The controller picks up the setting asynchronously.
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return fetch(ctx, base+"cmdline", io.Discard) == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the controller's profiles: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	go func() { taken <- fetch(ctx, fmt.Sprintf("%sprofile?seconds=%.0f", base, profiled.Seconds()), file) }()
	return errors.Join(f(), <-taken, file.Close())
}

func fetch(ctx context.Context, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

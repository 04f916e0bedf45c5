// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/e2e/model"
	"pullsecrets.dev/test/env"
)

// machinery controls the processes of the cluster. The controller may run behind a
// watchProxy.
type machinery struct {
	*env.Env
	watches *watchProxy
}

// behindProxy runs the controller behind a watchProxy until the test ends.
func behindProxy(t *testing.T) machinery {
	t.Helper()
	m := machinery{env.Get(t), newWatchProxy(t, env.Get(t))}
	if err := m.Processes.Restart(t.Context(), "controller", m.environment("controller")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Processes.Restart(context.WithoutCancel(t.Context()), "controller", nil); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m machinery) environment(process string) map[string]string {
	if m.watches == nil || process != "controller" {
		return nil
	}
	return map[string]string{"KUBECONFIG": m.watches.Kubeconfig}
}

// do performs an operation on processes.
func (m machinery) do(ctx context.Context, op model.Op) error {
	name, what := op.Args[0], op.Args[1]
	switch what {
	case "hold":
		m.watches.hold()
		return nil
	case "release", "drop":
		m.watches.release(what == "drop")
		return nil
	case "failover": // A second replica finds the lease of a leader that was killed.
		return errors.Join(m.Processes.Scale(ctx, name, 2), m.Processes.Kill(ctx, name))
	case "return": // The first one takes over from a leader that releases its lease.
		return errors.Join(m.Processes.Start(ctx, name, m.environment(name)), m.Processes.Scale(ctx, name, 1))
	case "stop":
		return m.Processes.Stop(ctx, name)
	case "kill":
		return m.Processes.Kill(ctx, name)
	case "start":
		return m.Processes.Start(ctx, name, m.environment(name))
	case "restart":
		return m.Processes.Restart(ctx, name, m.environment(name))
	}
	return errors.ErrUnsupported
}

// restore starts all stopped processes, and ends additional replicas of the controller.
func (m machinery) restore(ctx context.Context) error {
	if m.watches != nil {
		m.watches.release(false)
	}
	all, err := m.Processes.List(ctx)
	if err != nil {
		return err
	}
	for _, process := range all {
		switch {
		case process.Name == "controller-1":
			err = errors.Join(err, m.Processes.Scale(ctx, "controller", 1))
		case process.PID == 0:
			err = errors.Join(err, m.Processes.Start(ctx, process.Name, m.environment(process.Name)))
		}
	}
	return err
}

// unlimited removes the backfill's rate limit until the test ends.
func unlimited(t *testing.T) { settings(t, map[string]any{"backfill-per-minute": "0"}) }

// settings changes the settings of the installation until the test ends.
func settings(t *testing.T, data map[string]any) {
	t.Helper()
	e := env.Get(t)
	client := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace)
	const name = "config-pullsecrets"
	before, err := client.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(ctx context.Context, data map[string]any) {
		if _, err := client.Patch(ctx, name, types.MergePatchType, encode(map[string]any{"data": data}), metav1.PatchOptions{FieldManager: editor}); err != nil {
			t.Error("update the settings: ", err)
		}
	}
	write(t.Context(), data)
	t.Cleanup(func() {
		was := map[string]any{}
		for key := range data {
			was[key] = nil
			if value, found := before.Data[key]; found {
				was[key] = value
			}
		}
		write(context.WithoutCancel(t.Context()), was)
	})
}

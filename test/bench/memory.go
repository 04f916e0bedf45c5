// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// perNamespace is the number of Services per namespace.
const perNamespace = 100

// memory measures the controller's resident memory without Services and with many.
// Knative's controller is stopped, so there are no Revisions; the memory that they take is
// measured by BenchmarkMemory of pkg/reconciler/revision.
func memory(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	var rows []memoryRow
	look := func(when string) error {
		size, err := settled(ctx, e, "controller")
		rows = append(rows, memoryRow{when, size})
		return err
	}
	if err := look("without Services"); err != nil {
		return err
	}

	namespaces := (s.memoryServices + perNamespace - 1) / perNamespace
	namespace := func(i int) string { return fmt.Sprintf("bench-memory-%02d", i) }
	notef("memory: creating %d Services", s.memoryServices)
	for i := range namespaces {
		if err := makeNamespace(ctx, e, namespace(i), secretName); err != nil {
			return err
		}
		if err := makeReadyServices(ctx, e, namespace(i), min(perNamespace, s.memoryServices-i*perNamespace)); err != nil {
			return err
		}
	}
	if err := look("with the Services"); err != nil {
		return err
	}

	notef("memory: opting them in")
	for i := range namespaces {
		if err := optIn(ctx, e, namespace(i), secretName); err != nil {
			return err
		}
	}
	for i := range namespaces {
		if err := fleet.Wait(ctx, e.Serving, namespace(i), "have the pull secret", timeout, fleet.Has(secretName)); err != nil {
			return err
		}
	}
	if err := look("after all of them were changed"); err != nil {
		return err
	}
	if err := e.Processes.Restart(ctx, "controller", nil); err != nil {
		return err
	}
	if err := look("after a restart"); err != nil {
		return err
	}

	printMemory(out, s.memoryServices, namespaces, rows)
	return nil
}

// memoryRow is the controller's memory at one point of the measurement.
type memoryRow struct {
	when string
	size footprint
}

func printMemory(out io.Writer, services, namespaces int, rows []memoryRow) {
	fmt.Fprintf(out, "\nResident memory of the controller, %d Services in %d namespaces (MiB)\n", services, namespaces)
	fmt.Fprintf(out, "  %-32s %8s %8s\n", "", "now", "peak")
	for _, r := range rows {
		fmt.Fprintf(out, "  %-32s %8.0f %8.0f\n", r.when, mebi(r.size.now), mebi(r.size.peak))
	}
	last := rows[len(rows)-1].size
	fmt.Fprintf(out, "  each Service takes %.1f KiB\n", float64(last.now-rows[0].size.now)/1024/float64(services))
}

// foreignSecrets measures the controller's resident memory beside many large Secrets that
// are not copies. The controller must not cache them.
func foreignSecrets(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	client, err := kubernetes.NewForConfig(unlimitedConfig(e))
	if err != nil {
		return err
	}
	before, err := settled(ctx, e, "controller")
	if err != nil {
		return err
	}
	const namespace = "bench-foreign"
	if err := makeNamespace(ctx, e, namespace); err != nil {
		return err
	}
	notef("secrets: creating %d Secrets", s.foreignSecrets)
	data := map[string][]byte{"data": bytes.Repeat([]byte("x"), 10_000)}
	err = fleet.Each(ctx, s.foreignSecrets, 16, func(ctx context.Context, i int) error {
		_, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("foreign-%05d", i), Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}}, Data: data,
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	after, err := settled(ctx, e, "controller")
	if err != nil {
		return err
	}
	if err := e.Processes.Restart(ctx, "controller", nil); err != nil {
		return err
	}
	restarted, err := settled(ctx, e, "controller")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nResident memory of the controller beside %d Secrets of 10 KB that are not copies (MiB, now and peak)\n", s.foreignSecrets)
	fmt.Fprintf(out, "  before: %.0f, %.0f; with them: %.0f, %.0f; after a restart: %.0f, %.0f\n",
		mebi(before.now), mebi(before.peak), mebi(after.now), mebi(after.peak), mebi(restarted.now), mebi(restarted.peak))
	return nil
}

// footprint is a memory size in bytes.
type footprint struct{ now, peak int64 }

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

// settled returns the footprint of a program once it is stable: Go returns memory to the
// system with a delay.
func settled(ctx context.Context, e *env.Env, program string) (footprint, error) {
	var before footprint
	for steady, deadline := 0, time.Now().Add(time.Minute); ; {
		now, err := residentMemory(ctx, e, program)
		if err != nil {
			return now, err
		}
		if difference := now.now - before.now; max(difference, -difference) < 1<<20 {
			steady++
		} else {
			steady = 0
		}
		if steady == 10 || time.Now().After(deadline) {
			return now, nil
		}
		before = now
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func residentMemory(ctx context.Context, e *env.Env, program string) (size footprint, err error) {
	process, err := e.Processes.Get(ctx, program)
	if err != nil {
		return size, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.PID))
	if err != nil {
		return size, fmt.Errorf("read the memory of the %s (Linux only): %w", program, err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "VmRSS:" && fields[0] != "VmHWM:" {
			continue
		}
		kibi, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return size, err
		}
		if fields[0] == "VmRSS:" {
			size.now = kibi << 10
		} else {
			size.peak = kibi << 10
		}
	}
	return size, nil
}

// threads returns the controller's concurrency, from its environment.
func threads(ctx context.Context, e *env.Env) (int, error) {
	pid, err := controllerPID(ctx, e)
	if err != nil {
		return 0, err
	}
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return 0, fmt.Errorf("read the controller's environment (Linux only): %w", err)
	}
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		if value, found := bytes.CutPrefix(variable, []byte("K_THREADS_PER_CONTROLLER=")); found {
			return strconv.Atoi(string(value))
		}
	}
	return 0, fmt.Errorf("the controller was started without K_THREADS_PER_CONTROLLER")
}

func controllerPID(ctx context.Context, e *env.Env) (int, error) {
	status, err := e.Processes.Get(ctx, "controller")
	return status.PID, err
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// largeSize is the size of a large cluster.
type largeSize struct{ namespaces, services, clusterPullSecrets, secrets int }

// large measures everything on a cluster of the size of the largest that are known: how
// long the controller takes after a start and after the death of the leader, the memory of
// both programs, their CPU at rest, one opt-in, admission, and distribution beside a bare
// client. Knative's controller is stopped, so Services get their status from the loader.
func large(ctx context.Context, e *env.Env, s settings, out io.Writer) error {
	if err := e.Processes.Stop(ctx, "knative-controller"); err != nil {
		return err
	}
	d, err := newDistributor(ctx, e)
	if err != nil {
		return err
	}
	l := &largeCluster{distributor: d, size: s.large}
	if l.serving, err = unlimited(e); err != nil {
		return err
	}
	if err := l.load(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nA cluster of %d Namespaces, %d Services, %d ClusterPullSecrets and %d other Secrets\n",
		l.size.namespaces, l.size.services, l.size.clusterPullSecrets, l.size.secrets)
	for _, measure := range []func(context.Context, io.Writer) error{l.start, l.failover, l.memory, l.rest, l.optIn, l.admission} {
		if err := measure(ctx, out); err != nil {
			return err
		}
	}
	return d.measure(ctx, s.largeRounds, s.newNamespaces, out)
}

type largeCluster struct {
	*distributor
	size    largeSize
	serving servingclient.Interface
}

// group is the label that a ClusterPullSecret of the loaded cluster selects.
const group = "bench.test/group"

// load creates the objects. The webhooks are stopped meanwhile, because they would take
// most of the time.
func (l *largeCluster) load(ctx context.Context) error {
	notef("large: creating %d Namespaces", l.size.namespaces)
	if err := l.grow(ctx, l.size.namespaces); err != nil {
		return err
	}
	err := fleet.Each(ctx, l.size.namespaces, 16, func(ctx context.Context, i int) error {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:"g%d"},"annotations":{%q:%q}}}`, group, i%l.size.clusterPullSecrets, pullsecrets.SecretsAnnotation, secretName)
		_, err := l.admin.CoreV1().Namespaces().Patch(ctx, namespaceName(i), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
	if err != nil {
		return err
	}
	notef("large: creating %d Secrets", l.size.secrets)
	err = fleet.Each(ctx, l.size.secrets, 16, func(ctx context.Context, i int) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", i/l.size.namespaces)}, Data: map[string][]byte{"data": make([]byte, 2000)}}
		if i < l.size.namespaces {
			secret.Name, secret.Type, secret.Data = secretName, corev1.SecretTypeDockerConfigJson, credential("own")
		}
		_, err := l.admin.CoreV1().Secrets(namespaceName(i%l.size.namespaces)).Create(ctx, secret, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	notef("large: creating %d ClusterPullSecrets", l.size.clusterPullSecrets)
	err = fleet.Each(ctx, l.size.clusterPullSecrets, 8, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("bench-group-%d", i)
		_, err := l.admin.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: credential(name),
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: name}}
		object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: name}
		object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{group: fmt.Sprintf("g%d", i)}}
		object.Spec.Always = &v1alpha1.Always{}
		_, err = l.cps.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return l.withoutWebhooks(ctx, l.loadServices)
}

// withoutWebhooks runs load while the webhooks of Knative and of the project are stopped and
// the API server ignores that.
func (l *largeCluster) withoutWebhooks(ctx context.Context, load func(context.Context) error) error {
	stopped := []string{"controller", "webhook", "knative-webhook"}
	for _, program := range stopped {
		if err := l.Processes.Stop(ctx, program); err != nil {
			return err
		}
	}
	if err := l.setFailurePolicy(ctx, "Ignore"); err != nil {
		return err
	}
	err := errors.Join(load(ctx), l.setFailurePolicy(ctx, "Fail"))
	for i := range stopped {
		err = errors.Join(err, l.Processes.Start(ctx, stopped[len(stopped)-1-i], nil))
	}
	return err
}

// setFailurePolicy changes the configurations of Knative's webhook.
func (l *largeCluster) setFailurePolicy(ctx context.Context, policy string) error {
	client := l.admin.AdmissionregistrationV1()
	patch := func(webhooks int) []byte {
		var operations []string
		for i := range webhooks {
			operations = append(operations, fmt.Sprintf(`{"op":"replace","path":"/webhooks/%d/failurePolicy","value":%q}`, i, policy))
		}
		return []byte("[" + strings.Join(operations, ",") + "]")
	}
	mutating, err := client.MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, configuration := range mutating.Items {
		if !strings.HasSuffix(configuration.Name, ".serving.knative.dev") {
			continue
		}
		_, err := client.MutatingWebhookConfigurations().Patch(ctx, configuration.Name, types.JSONPatchType, patch(len(configuration.Webhooks)), metav1.PatchOptions{})
		if err != nil {
			return err
		}
	}
	validating, err := client.ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, configuration := range validating.Items {
		if !strings.HasSuffix(configuration.Name, ".serving.knative.dev") {
			continue
		}
		_, err := client.ValidatingWebhookConfigurations().Patch(ctx, configuration.Name, types.JSONPatchType, patch(len(configuration.Webhooks)), metav1.PatchOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadServices creates the Services, which are Ready and have the pull secret that their
// Namespace declares.
func (l *largeCluster) loadServices(ctx context.Context) error {
	notef("large: creating %d Services", l.size.services)
	return fleet.Each(ctx, l.size.services, 16, func(ctx context.Context, i int) error {
		namespace := namespaceName(i % l.size.namespaces)
		svc := deployedService(namespace, fleet.Name(i/l.size.namespaces))
		svc.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secretName}}
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, pullsecrets.AddedAnnotation, fmt.Sprintf(`{%q:"namespace"}`, secretName))
		client := l.serving.ServingV1().Services(namespace)
		if _, err := client.Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return err
		}
		patch, err := json.Marshal(map[string]any{"status": readyStatus(namespace, svc.Name)})
		if err != nil {
			return err
		}
		_, err = client.Patch(ctx, svc.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "controller"}, "status")
		return err
	})
}

// start measures how long a started controller takes until its work queues are empty.
func (l *largeCluster) start(ctx context.Context, out io.Writer) error {
	if err := l.caughtUp(ctx, "controller"); err != nil {
		return err
	}
	if err := l.Processes.Stop(ctx, "controller"); err != nil {
		return err
	}
	mark, err := l.Audit.Mark()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.Processes.Start(ctx, "controller", nil); err != nil {
		return err
	}
	if err := l.caughtUp(ctx, "controller"); err != nil {
		return err
	}
	took := time.Since(began)
	requests, err := l.Audit.Since(mark)
	if err != nil {
		return err
	}
	writes := requests.By(pullsecrets.ControllerUser).Writes()
	fmt.Fprintf(out, "  the controller has caught up %.1f s after its start, with %d writes besides leases\n",
		took.Seconds(), len(writes)-len(writes.Of("leases.coordination.k8s.io")))
	return nil
}

// caughtUp returns once a controller leads and its work queues stay empty.
func (l *largeCluster) caughtUp(ctx context.Context, program string) error {
	empty := 0
	return wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		code, body, err := l.HTTPGet(ctx, program, "metrics", "metrics")
		if err != nil || code != 200 {
			return false, nil //nolint:nilerr // it is starting
		}
		depth, queues := sum(body, "kn_workqueue_depth")
		done, _ := sum(body, "kn_workqueue_process_duration_seconds_count")
		if queues > 0 && depth == 0 && done >= float64(l.size.services) {
			empty++
		} else {
			empty = 0
		}
		return empty == 4, nil
	})
}

// sum returns the sum of a metric in Prometheus' text format, and the number of its series.
func sum(text, metric string) (total float64, series int) {
	for line := range strings.Lines(text) {
		name, rest, found := strings.Cut(line, "{")
		if !found || name != metric {
			continue
		}
		_, value, _ := strings.Cut(rest, "} ")
		number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err == nil && !math.IsNaN(number) {
			total, series = total+number, series+1
		}
	}
	return total, series
}

// failover measures how long another replica takes to do the work of a leader that is
// killed: a Namespace that opts in right afterwards.
func (l *largeCluster) failover(ctx context.Context, out io.Writer) error {
	if err := l.Processes.Scale(ctx, "controller", 2); err != nil {
		return err
	}
	// A replica that does not lead has filled its caches once its memory is stable.
	if _, err := settled(ctx, l.Env, "controller-1"); err != nil {
		return err
	}
	if err := l.Processes.Kill(ctx, "controller"); err != nil {
		return err
	}
	took, err := l.timeOptIn(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  after the leader was killed, an opt-in took %.1f s (a lease of 15 s expires first)\n", took.Seconds())
	if err := l.Processes.Start(ctx, "controller", nil); err != nil {
		return err
	}
	return l.Processes.Scale(ctx, "controller", 1)
}

// timeOptIn makes a Namespace declare one more pull secret, and waits until its Services
// have it.
func (l *largeCluster) timeOptIn(ctx context.Context, i int) (time.Duration, error) {
	began := time.Now()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%s,other"}}}`, pullsecrets.SecretsAnnotation, secretName)
	if _, err := l.admin.CoreV1().Namespaces().Patch(ctx, namespaceName(i), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return 0, err
	}
	err := fleet.Wait(ctx, l.serving, namespaceName(i), "have both pull secrets", timeout, fleet.Has(secretName, "other"))
	return time.Since(began), err
}

// optIn measures opt-ins of Namespaces.
func (l *largeCluster) optIn(ctx context.Context, out io.Writer) error {
	var all []time.Duration
	for i := range 11 {
		took, err := l.timeOptIn(ctx, 10+i)
		if err != nil {
			return err
		}
		all = append(all, took)
	}
	fmt.Fprintf(out, "  the opt-in of a Namespace with %d Services took %.0f ms (median of %d), as seen by a client that asks every 200 ms\n",
		l.size.services/l.size.namespaces, milliseconds(percentile(all, 50)), len(all))
	return nil
}

// memory measures the memory of both programs.
func (l *largeCluster) memory(ctx context.Context, out io.Writer) error {
	if err := l.Processes.Restart(ctx, "controller", nil); err != nil {
		return err
	}
	if err := l.caughtUp(ctx, "controller"); err != nil {
		return err
	}
	for _, program := range []string{"controller", "webhook"} {
		size, err := settled(ctx, l.Env, program)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  memory of the %s: %.0f MiB, at most %.0f MiB since its start\n", program, mebi(size.now), mebi(size.peak))
	}
	return nil
}

// rest measures the CPU usage of the programs at rest.
func (l *largeCluster) rest(ctx context.Context, out io.Writer) error {
	const pause = 30 * time.Second
	shares, err := busyWhile(ctx, l.Env, func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			return nil
		}
	})
	if err != nil {
		return err
	}
	for i, program := range programs {
		if program == "controller" || program == "webhook" {
			fmt.Fprintf(out, "  CPU of the %s at rest: %.1f %% of a core, over %s\n", program, shares[i], pause)
		}
	}
	return nil
}

// admission measures the creation of Services as a client sees it, with and without the
// webhook.
func (l *largeCluster) admission(ctx context.Context, out io.Writer) error {
	if err := makeDeclaringNamespace(ctx, l.Env, bypassedNamespace, map[string]string{awayLabel: "true"}); err != nil {
		return err
	}
	if err := bypass(ctx, l.Env, l.serving); err != nil {
		return err
	}
	return pairs(ctx, l.Env, l.serving, pairing{namespace: func(i int) string { return namespaceName(100 + i%(l.size.namespaces-100)) }, namespaces: l.size.namespaces, pairs: 400}, out)
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// deployments are the programs of config/ on a cluster with Pods. A program that is
// stopped has no replicas.
type deployments struct {
	cluster *Env // as its administrator
}

// programs are the Deployments in config/.
var programs = []string{"controller", "webhook"}

// replicasAnnotation remembers the replicas of a Deployment that is stopped.
const replicasAnnotation = "test.pullsecrets.dev/replicas"

const rolloutTimeout = 3 * time.Minute

func (d *deployments) List(ctx context.Context) ([]ProcessStatus, error) {
	var all []ProcessStatus
	for _, name := range programs {
		status, err := d.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
}

// Get returns the status of the first Pod, without the fields of local processes. A program
// that runs has the PID 1, as in its container.
func (d *deployments) Get(ctx context.Context, name string) (ProcessStatus, error) {
	pods, err := d.pods(ctx, name)
	status := ProcessStatus{Name: name}
	if len(pods) > 0 {
		status.PID, status.Pod, status.Ports = 1, pods[0].Name, map[string]int{}
		for _, port := range pods[0].Spec.Containers[0].Ports {
			status.Ports[port.Name] = int(port.ContainerPort)
		}
	}
	return status, err
}

// Stop scales the Deployment to zero.
func (d *deployments) Stop(ctx context.Context, name string) error {
	err := d.change(ctx, name, func(deployment *appsv1.Deployment) {
		if *deployment.Spec.Replicas > 0 {
			metav1.SetMetaDataAnnotation(&deployment.ObjectMeta, replicasAnnotation, fmt.Sprint(*deployment.Spec.Replicas))
		}
		deployment.Spec.Replicas = new(int32)
	})
	if err != nil {
		return err
	}
	return d.await(ctx, func(ctx context.Context) error {
		pods, err := d.pods(ctx, name)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%s still has %d Pods", name, len(pods))
		}
		return err
	})
}

// Kill deletes the Pods with the shortest grace period, and then stops the Deployment. The
// other way round, the grace period of its Pods would begin, in which the webhook
// serves requests. Without any grace period, the API server would forget a Pod whose
// container still runs. Meanwhile no node accepts Pods, so that none replaces these.
func (d *deployments) Kill(ctx context.Context, name string) error {
	if err := d.setUnschedulable(ctx, true); err != nil {
		return err
	}
	killed, err := d.pods(ctx, name)
	for _, pod := range killed {
		err = errors.Join(err, d.cluster.Kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(1))}))
	}
	if err == nil {
		err = d.await(ctx, func(ctx context.Context) error {
			pods, err := d.pods(ctx, name)
			for _, pod := range pods {
				if pod.Spec.NodeName != "" {
					err = errors.Join(err, fmt.Errorf("Pod %s is not dead yet", pod.Name))
				}
			}
			return err
		})
	}
	return errors.Join(err, d.Stop(ctx, name), d.setUnschedulable(ctx, false))
}

// setUnschedulable is "kubectl cordon" or "kubectl uncordon" of all nodes.
func (d *deployments) setUnschedulable(ctx context.Context, unschedulable bool) error {
	nodes, err := d.cluster.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec": {"unschedulable": %t}}`, unschedulable)
	for _, node := range nodes.Items {
		_, failure := d.cluster.Kube.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		err = errors.Join(err, failure)
	}
	return err
}

func (d *deployments) Start(ctx context.Context, name string, environment map[string]string) error {
	return d.roll(ctx, name, func(deployment *appsv1.Deployment) {
		if *deployment.Spec.Replicas == 0 {
			replicas := int32(1)
			_, _ = fmt.Sscan(deployment.Annotations[replicasAnnotation], &replicas)
			deployment.Spec.Replicas = &replicas
		}
		setEnvironment(deployment, environment)
	})
}

func (d *deployments) Restart(ctx context.Context, name string, environment map[string]string) error {
	if err := d.Stop(ctx, name); err != nil {
		return err
	}
	return d.Start(ctx, name, environment)
}

func (d *deployments) Scale(ctx context.Context, name string, replicas int) error {
	return d.roll(ctx, name, func(deployment *appsv1.Deployment) { deployment.Spec.Replicas = new(int32(replicas)) })
}

func (d *deployments) InstallProject(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "kubectl", "--kubeconfig", d.cluster.Kubeconfig, "apply", "-f", d.cluster.Manifest).CombinedOutput()
	if err != nil {
		return fmt.Errorf("apply %s: %w\n%s", d.cluster.Manifest, err, output)
	}
	for _, name := range programs {
		if err := d.roll(ctx, name, func(*appsv1.Deployment) {}); err != nil {
			return err
		}
	}
	return nil
}

// setEnvironment replaces the variables that an earlier call added. They come after those
// of the manifest.
func setEnvironment(deployment *appsv1.Deployment, environment map[string]string) {
	const added = "test.pullsecrets.dev/environment"
	container := &deployment.Spec.Template.Spec.Containers[0]
	own := 0
	_, _ = fmt.Sscan(deployment.Annotations[added], &own)
	container.Env = container.Env[:len(container.Env)-own]
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: environment[name]})
	}
	metav1.SetMetaDataAnnotation(&deployment.ObjectMeta, added, fmt.Sprint(len(environment)))
}

func (d *deployments) change(ctx context.Context, name string, edit func(*appsv1.Deployment)) error {
	client := d.cluster.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		deployment, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		edit(deployment)
		_, err = client.Update(ctx, deployment, metav1.UpdateOptions{})
		return err
	})
}

// roll changes the Deployment and returns when only Pods of its current version run, and
// are ready.
func (d *deployments) roll(ctx context.Context, name string, edit func(*appsv1.Deployment)) error {
	if err := d.change(ctx, name, edit); err != nil {
		return err
	}
	err := d.await(ctx, func(ctx context.Context) error {
		deployment, err := d.cluster.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s, want := deployment.Status, *deployment.Spec.Replicas; s.ObservedGeneration != deployment.Generation ||
			s.UpdatedReplicas != want || s.AvailableReplicas != want || s.Replicas != want {
			return fmt.Errorf("%s has %d of %d current Pods, %d of them available", name, s.UpdatedReplicas, want, s.AvailableReplicas)
		}
		return nil
	})
	if err != nil || name != "webhook" {
		return err
	}
	return d.await(ctx, d.webhookAnswers)
}

// webhookAnswers returns nil once the API server reaches the webhook: a Pod is available before
// kube-proxy has programmed its address.
func (d *deployments) webhookAnswers(ctx context.Context) error {
	clusterPullSecrets := d.cluster.Dynamic.Resource(schema.GroupVersionResource{Group: pullsecrets.GroupName, Version: "v1alpha1", Resource: "clusterpullsecrets"})
	_, err := clusterPullSecrets.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": pullsecrets.GroupName + "/v1alpha1",
		"kind":       "ClusterPullSecret",
		"metadata":   map[string]any{"name": "is-the-webhook-there"},
		"spec": map[string]any{
			"secretRef":         map[string]any{"namespace": pullsecrets.SourcesNamespace, "name": "any"},
			"namespaceSelector": map[string]any{},
		},
	}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func (d *deployments) await(ctx context.Context, holds func(context.Context) error) error {
	var missing error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, rolloutTimeout, true, func(ctx context.Context) (bool, error) {
		missing = holds(ctx)
		return missing == nil, nil
	})
	if err != nil {
		return errors.Join(err, missing)
	}
	return nil
}

// pods returns all Pods of a program, terminating ones too, but none that a test gave its labels.
func (d *deployments) pods(ctx context.Context, name string) ([]corev1.Pod, error) {
	deployment, err := d.cluster.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return nil, err
	}
	list, err := d.cluster.Kube.CoreV1().Pods(pullsecrets.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String() + "," + appsv1.DefaultDeploymentUniqueLabelKey})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

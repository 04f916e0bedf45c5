// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
)

// TestHelm moves an installation to Helm, upgrades it and uninstalls it. What the programs
// wrote into objects of the installation stays, and so do ClusterPullSecrets and sources.
func TestHelm(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl)
	l := &lifecycle{Env: env.Get(t), t: t}
	t.Cleanup(l.restore)
	written := l.written()

	l.helm("install", l.chart("0.0.1"), "--take-ownership")
	if diff := cmp.Diff(written, l.written()); diff != "" {
		t.Error("taking ownership changed what the programs wrote (-before, +after):", diff)
	}
	l.helm("upgrade", l.chart("0.0.2"), "--set", "controller.replicas=3")
	if diff := cmp.Diff(written, l.written()); diff != "" {
		t.Error("an upgrade changed what the programs wrote (-before, +after):", diff)
	}
	deployment, err := l.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(t.Context(), "controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := deployment.Spec.Template.Labels["app.kubernetes.io/version"]; *deployment.Spec.Replicas != 3 || got != "v0.0.2" {
		t.Errorf("Deployment has %d replicas of version %q after the upgrade, want 3 of v0.0.2", *deployment.Spec.Replicas, got)
	}
	l.uninstall()
}

// uninstall removes the release while a ClusterPullSecret exists, and then what stays, as
// documented.
func (l *lifecycle) uninstall() {
	l.t.Helper()
	ctx := l.t.Context()
	client, err := versioned.NewForConfig(l.Config)
	if err != nil {
		l.t.Fatal(err)
	}
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "stays"}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "stays"}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"none": "none"}}
	// A webhook that has just started may not answer yet.
	l.eventually(func(ctx context.Context) error {
		_, err := client.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	if _, err := l.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(ctx, pullSecret("stays"), metav1.CreateOptions{}); err != nil {
		l.t.Fatal(err)
	}
	l.run(".", env.Tool(l.t, "helm")+" uninstall pullsecrets --namespace pullsecrets-system")
	if l.Kind == env.Local { // Pods end with their Deployments.
		for _, program := range []string{"controller", "webhook"} {
			if err := l.Processes.Kill(ctx, program); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	if _, err := l.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, "controller", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		l.t.Errorf("Deployment still exists: %v", err)
	}
	if _, err := l.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Get(ctx, "stays", metav1.GetOptions{}); err != nil {
		l.t.Errorf("helm uninstall removed a source: %v", err)
	}
	left, err := client.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, "stays", metav1.GetOptions{})
	if err != nil || left.DeletionTimestamp != nil {
		l.t.Fatalf("helm uninstall deleted a ClusterPullSecret: %+v, %v", left.ObjectMeta, err)
	}
	// No controller removes the finalizer.
	l.run(".", `kubectl patch clusterpullsecrets.pullsecrets.dev stays --type=merge -p '{"metadata":{"finalizers":null}}'
kubectl delete clusterpullsecrets.pullsecrets.dev stays
kubectl delete customresourcedefinition clusterpullsecrets.pullsecrets.dev
kubectl delete namespace pullsecrets-sources pullsecrets-system`)
}

// helm runs helm install or upgrade with the images of the present Deployments. A local
// cluster may have none, and pulls no images.
func (l *lifecycle) helm(action, chart string, args ...string) {
	l.t.Helper()
	command := []string{env.Tool(l.t, "helm"), action, "pullsecrets", chart, "--namespace", pullsecrets.SystemNamespace}
	for _, program := range []string{"controller", "webhook"} {
		deployment, err := l.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(l.t.Context(), program, metav1.GetOptions{})
		if apierrors.IsNotFound(err) && l.Kind == env.Local {
			continue
		}
		if err != nil {
			l.t.Fatal(err)
		}
		command = append(command, "--set-string", program+".image.repository="+deployment.Spec.Template.Spec.Containers[0].Image)
	}
	l.run(".", "'"+strings.Join(append(command, args...), "' '")+"'")
}

// chart returns a copy of the chart with a version.
func (l *lifecycle) chart(version string) string {
	l.t.Helper()
	folder := filepath.Join(l.t.TempDir(), "pullsecrets")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "charts", "pullsecrets"))); err != nil {
		l.t.Fatal(err)
	}
	file := filepath.Join(folder, "Chart.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	text := strings.NewReplacer("version: 0.0.0-devel\n", "version: "+version+"\n", "appVersion: devel\n", "appVersion: v"+version+"\n").Replace(string(content))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return folder
}

// written is what the programs write into objects of the installation. It waits until all of
// it is there.
func (l *lifecycle) written() (found map[string]string) {
	l.t.Helper()
	l.eventually(func(ctx context.Context) error {
		found = map[string]string{}
		certs, err := l.Kube.CoreV1().Secrets(pullsecrets.SystemNamespace).Get(ctx, "pullsecrets-webhook-certs", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(certs.Data) == 0 {
			return fmt.Errorf("Secret %s has no certificate", certs.Name)
		}
		data, err := json.Marshal(certs.Data)
		if err != nil {
			return err
		}
		found["certificate"] = string(data)
		mutating, err := l.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "inject.pullsecrets.dev", metav1.GetOptions{})
		if err != nil {
			return err
		}
		validating, err := l.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, "validation.pullsecrets.dev", metav1.GetOptions{})
		if err != nil {
			return err
		}
		found[mutating.Name] = string(mutating.Webhooks[0].ClientConfig.CABundle)
		found[validating.Name] = string(validating.Webhooks[0].ClientConfig.CABundle)
		for name, value := range found {
			if value == "" {
				return fmt.Errorf("%s has no CA bundle", name)
			}
		}
		return nil
	})
	return found
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

const (
	networkPolicies = "../../kustomize/components/network-policy/network-policy.yaml"
	// networkPlugin enforces them where the node has no plugin that does.
	networkPlugin = "../kind/network-policies.yaml"
	// scraper is the namespace of Prometheus in the policies.
	scraper = "monitoring"
)

// A network plugin that enforces the NetworkPolicies leaves the ways that docs/profiles.md
// lists, and no other, and the programs work with them. The test is not parallel, because the
// policies are for the installation.
func TestNetworkPoliciesAreEnforced(t *testing.T) {
	e := env.Get(t)
	e.Need(t, env.Pulls, env.ProgramControl)
	p := newPlatform(t)
	p.grant()
	n := newTenant(t, p.granted(), optedIn(p.name))
	n.waitForCopy(p.name, "one")
	n.needNetworkPlugin()
	n.needScraper()

	labels := func(component string) map[string]string {
		return map[string]string{"app.kubernetes.io/name": "pullsecrets", "app.kubernetes.io/component": component}
	}
	probes := map[string]*probe{
		"a tenant":           n.probe(n.ns, nil),
		"Prometheus":         n.probe(scraper, nil),
		"webhook":            n.probe(pullsecrets.SystemNamespace, labels("webhook")),
		"controller":         n.probe(pullsecrets.SystemNamespace, labels("controller")),
		"a Pod beside these": n.probe(pullsecrets.SystemNamespace, nil),
	}
	to := func(name, port string) string { return net.JoinHostPort(probes[name].ip, port) }
	// Probes have the labels of the programs, and only the programs listen on their ports.
	webhook, controller := n.programAddress("webhook"), n.programAddress("controller")
	admission, metricsOfWebhook := net.JoinHostPort(webhook, "8443"), net.JoinHostPort(webhook, "9090")
	metricsOfController := net.JoinHostPort(controller, "9090")
	apiServer, dns := n.serviceAddress(metav1.NamespaceDefault, "kubernetes", "443"), n.serviceAddress(metav1.NamespaceSystem, "kube-dns", "53")

	allowed := map[way]bool{
		{"a tenant", admission}:                           true,
		{"a tenant", metricsOfWebhook}:                    false,
		{"a tenant", metricsOfController}:                 false,
		{"a tenant", to("a Pod beside these", probePort)}: false,
		{"Prometheus", metricsOfWebhook}:                  true,
		{"Prometheus", metricsOfController}:               true,
		{"Prometheus", to("webhook", probePort)}:          false,
		{"webhook", apiServer}:                            true,
		{"webhook", dns}:                                  false,
		{"webhook", to("a tenant", probePort)}:            false,
		{"controller", apiServer}:                         true,
		{"controller", dns}:                               true,
		{"controller", to("a tenant", probePort)}:         false,
		{"a Pod beside these", apiServer}:                 false,
		{"a Pod beside these", dns}:                       false,
		{"a Pod beside these", to("a tenant", probePort)}: false,
	}
	every := make(map[way]bool)
	for w := range allowed {
		every[w] = true
	}
	waitForWays(t, probes, every)

	n.applyForTest(networkPolicies)
	waitForWays(t, probes, allowed)

	// New Pods start, pass their probes, reach the API server and are reached by it.
	for _, program := range []string{"webhook", "controller"} {
		t.Cleanup(func() { n.start(program) })
		if err := e.Processes.Restart(t.Context(), program, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.rotate("two")
	n.waitForCopy(p.name, "two")
	n.applyAs("by-digest.yaml", "app")
	n.checkList("app", p.name)
	waitForWays(t, probes, map[way]bool{{"controller", apiServer}: true, {"controller", to("a tenant", probePort)}: false})
}

// way is from a probe to an address.
type way struct{ from, to string }

// waitForWays waits until exactly the wanted ways are open.
func waitForWays(t *testing.T, probes map[string]*probe, want map[way]bool) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		got := make(map[way]bool)
		var failed error
		var mu sync.Mutex
		var running sync.WaitGroup
		for w := range want {
			running.Go(func() {
				open, err := probes[w.from].reaches(ctx, w.to)
				mu.Lock()
				defer mu.Unlock()
				got[w], failed = open, errors.Join(failed, err)
			})
		}
		running.Wait()
		if failed != nil {
			return failed
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("ways that are open (-want, +got):\n%s", diff)
		}
		return nil
	})
}

// probePort is where probes listen.
const probePort = "8080"

// probe is a Pod from which addresses are dialled.
type probe struct {
	*tenant
	namespace, name, ip string
}

// probe starts a Pod with labels. It is never Ready, so that no Service of these labels
// sends requests to it.
func (n *tenant) probe(namespace string, labels map[string]string) *probe {
	n.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Namespace: namespace, Labels: labels}}
	pod.Spec.AutomountServiceAccountToken = new(false)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers = []corev1.Container{{
		Name:           "probe",
		Image:          n.Registries.Main.Host + "/public/app:1",
		Env:            []corev1.EnvVar{{Name: "PORT", Value: probePort}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/never"}}}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}}
	pods := n.Kube.CoreV1().Pods(namespace)
	var created *corev1.Pod
	// A new namespace has no ServiceAccount for it yet.
	eventually(n.t, func(ctx context.Context) (err error) {
		created, err = pods.Create(ctx, pod, metav1.CreateOptions{FieldManager: user})
		return err
	})
	n.t.Cleanup(func() {
		if err := pods.Delete(context.WithoutCancel(n.t.Context()), created.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil && !apierrors.IsNotFound(err) {
			n.t.Error("delete a probe: ", err)
		}
	})
	p := &probe{tenant: n, namespace: namespace, name: created.Name}
	eventually(n.t, func(ctx context.Context) error {
		running, err := pods.Get(ctx, p.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.ip = running.Status.PodIP; running.Status.Phase != corev1.PodRunning || p.ip == "" {
			return fmt.Errorf("probe in namespace %s does not run: %+v", namespace, running.Status)
		}
		return nil
	})
	return p
}

// reaches reports whether the Pod can open a connection. It is asked through the API server,
// whose traffic comes from the only node and is always allowed.
func (p *probe) reaches(ctx context.Context, address string) (bool, error) {
	answer, err := p.Kube.CoreV1().Pods(p.namespace).ProxyGet("", p.name, probePort, "dial", map[string]string{"address": address}).DoRaw(ctx)
	if err != nil {
		return false, fmt.Errorf("ask a probe in namespace %s: %w", p.namespace, err)
	}
	return strings.TrimSpace(string(answer)) == "connected", nil
}

// programAddress returns the address of a Pod of a program.
func (n *tenant) programAddress(program string) string {
	n.t.Helper()
	pods, err := n.Kube.CoreV1().Pods(pullsecrets.SystemNamespace).List(n.t.Context(), metav1.ListOptions{
		LabelSelector: "pod-template-hash,app.kubernetes.io/component=" + program, FieldSelector: "status.phase=Running",
	})
	if err != nil || len(pods.Items) == 0 {
		n.t.Fatalf("no Pod of program %s runs: %v", program, err)
	}
	return pods.Items[0].Status.PodIP
}

func (n *tenant) serviceAddress(namespace, name, port string) string {
	n.t.Helper()
	service, err := n.Kube.CoreV1().Services(namespace).Get(n.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return net.JoinHostPort(service.Spec.ClusterIP, port)
}

// needNetworkPlugin starts a network plugin for the test, unless the cluster has the one of
// kind.
func (n *tenant) needNetworkPlugin() {
	n.t.Helper()
	_, err := n.Kube.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(n.t.Context(), "kindnet", metav1.GetOptions{})
	if err == nil {
		return
	}
	if !apierrors.IsNotFound(err) {
		n.t.Fatal(err)
	}
	n.applyForTest(networkPlugin)
	kubectlOf(n.t, n.Env, "-n", metav1.NamespaceSystem, "rollout", "status", "daemonset/network-policies", "--timeout=2m")
}

// applyForTest applies a file, and deletes its objects after the test.
func (n *tenant) applyForTest(file string) {
	n.t.Helper()
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), timeout)
		defer cancel()
		kubectl := exec.CommandContext(ctx, env.Tool(n.t, "kubectl"), "--kubeconfig", n.Kubeconfig, "delete", "-f", file, "--cascade=foreground")
		if output, err := kubectl.CombinedOutput(); err != nil {
			n.t.Errorf("delete what is in %s: %v\n%s", file, err, output)
		}
	})
	kubectlOf(n.t, n.Env, "apply", "-f", file)
}

// needScraper creates the namespace of Prometheus.
func (n *tenant) needScraper() {
	n.t.Helper()
	namespaces, exists := n.Kube.CoreV1().Namespaces(), false
	eventually(n.t, func(ctx context.Context) error {
		_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: scraper}}, metav1.CreateOptions{FieldManager: user})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		found, err := namespaces.Get(ctx, scraper, metav1.GetOptions{})
		if err == nil && !found.DeletionTimestamp.IsZero() {
			err = fmt.Errorf("namespace %s of an earlier test is not deleted yet", scraper)
		}
		exists = err == nil
		return err
	})
	if exists {
		return
	}
	n.t.Cleanup(func() {
		if err := namespaces.Delete(context.WithoutCancel(n.t.Context()), scraper, metav1.DeleteOptions{}); err != nil {
			n.t.Error("delete the namespace of Prometheus: ", err)
		}
	})
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package lifecycle installs, upgrades and removes the project, which affects every test
// of a suite. So it needs a cluster to itself, on which it installs config/ again at the
// end.
package lifecycle

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
	"pullsecrets.dev/test/pages"
)

const (
	root = "../../.."
	// timeout is how long the test waits for a condition, on a busy machine with Pods too.
	timeout = 3 * time.Minute
)

func TestMain(m *testing.M) { env.Main(m) }

// TestLifecycle installs a release, uses it, upgrades it to the next one, and removes it
// as documented. Each step builds on the one before.
func TestLifecycle(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl)
	l := &lifecycle{Env: env.Get(t), t: t, image: fleet.Image}
	if l.Kind != env.Local && l.Registries != nil {
		var err error
		if _, l.image, err = l.Registries.Main.PublicImage(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(l.restore)
	first, second := l.release("v0.0.1"), l.release("v0.0.2")
	l.install(first)
	l.use()
	t.Run("upgrade", func(t *testing.T) { l.on(t).upgrade(second) })
	t.Run("remove", func(t *testing.T) { l.on(t).remove(second) })
}

type lifecycle struct {
	*env.Env
	t *testing.T
	// image is one that the Services of the test can run.
	image string
}

func (l *lifecycle) on(t *testing.T) *lifecycle { return &lifecycle{l.Env, t, l.image} }

// restore installs config/ again, for the tests that follow on the same cluster.
func (l *lifecycle) restore() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	defer cancel()
	for _, namespace := range []string{cleared, kept, late} {
		err := l.Kube.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			l.t.Error(err)
		}
	}
	// The namespace of the installation may be terminating, too.
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		for _, name := range []string{pullsecrets.SystemNamespace, cleared, kept, late} {
			namespace, err := l.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			if !apierrors.IsNotFound(err) && (err != nil || namespace.DeletionTimestamp != nil) {
				return false, nil //nolint:nilerr // until the timeout
			}
		}
		return true, nil
	})
	if err == nil {
		err = l.Processes.InstallProject(ctx)
	}
	if err != nil {
		l.t.Error("install config/ again:", err)
	}
}

// The namespaces of the test: one from which everything is removed, one that keeps what it
// has, and one that is created after the upgrade.
const cleared, kept, late = "team-cleared", "team-kept", "team-late"

// release writes a release.yaml. A release of "make release" differs from config/ only in
// the version and in the images; TestRelease in test/tools/release checks this. A local
// cluster never pulls them, and others have the images of what is installed.
func (l *lifecycle) release(version string) string {
	l.t.Helper()
	release := filepath.Join(l.t.TempDir(), "release.yaml")
	if l.Manifest != "" { // It has the policies too.
		l.publish(release, version, l.Manifest)
		return release
	}
	l.publish(release, version, filepath.Join(root, "config", "*.yaml"))
	if served, err := env.ServesMutatingPolicies(l.Kube.Discovery()); err != nil {
		l.t.Fatal(err)
	} else if served {
		l.publish(filepath.Join(filepath.Dir(release), "outage.yaml"), version, filepath.Join(root, "config", "outage", "*.yaml"))
	}
	return release
}

// publish writes the manifests that match the pattern into a file, with this version.
func (l *lifecycle) publish(file, version, pattern string) {
	l.t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		l.t.Fatalf("found no manifests %s: %v", pattern, err)
	}
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		all.WriteString("\n---\n" + strings.ReplaceAll(string(content), "app.kubernetes.io/version: devel", "app.kubernetes.io/version: "+version))
	}
	if err := os.WriteFile(file, []byte(all.String()), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// install applies a release as documented. On a local cluster it also restarts the
// processes as the Deployments would.
func (l *lifecycle) install(release string) {
	l.t.Helper()
	l.run(filepath.Dir(release), "kubectl apply -f release.yaml\nif [ -e outage.yaml ]; then kubectl apply -f outage.yaml; fi")
	if l.Kind != env.Local {
		l.run(".", "kubectl -n pullsecrets-system rollout status deployment/controller deployment/webhook --timeout=3m")
		return
	}
	for _, program := range []string{"controller", "webhook"} {
		if err := l.Processes.Restart(l.t.Context(), program, nil); err != nil {
			l.t.Fatal(err)
		}
	}
}

// run runs commands as an administrator, with the kubectl of the tests.
func (l *lifecycle) run(folder, commands string) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), "sh", "-e", "-u", "-c", commands)
	cmd.Dir = folder
	cmd.Env = []string{
		"KUBECONFIG=" + l.Kubeconfig, "HOME=" + l.t.TempDir(),
		"PATH=" + filepath.Dir(env.Tool(l.t, "kubectl")) + string(filepath.ListSeparator) + os.Getenv("PATH"),
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%s\nfailed: %v\n%s", commands, err, output)
	}
}

func (l *lifecycle) eventually(holds func(ctx context.Context) error) {
	l.t.Helper()
	var missing error
	err := wait.PollUntilContextTimeout(l.t.Context(), 50*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		missing = holds(ctx)
		return missing == nil, nil
	})
	if err != nil {
		l.t.Fatalf("After %s still: %v", timeout, missing)
	}
}

// use creates the objects of a platform team and two teams.
func (l *lifecycle) use() {
	l.t.Helper()
	ctx, secrets := l.t.Context(), l.Kube.CoreV1().Secrets
	if _, err := secrets(pullsecrets.SourcesNamespace).Create(ctx, pullSecret("registry"), metav1.CreateOptions{}); err != nil {
		l.t.Fatal(err)
	}
	for _, namespace := range []string{cleared, kept} {
		l.join(namespace)
		// All that is listed exists, so that nothing is to be reported.
		for _, name := range []string{"team", "own", "platform"} {
			if _, err := secrets(namespace).Create(ctx, pullSecret(name), metav1.CreateOptions{}); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	client, err := versioned.NewForConfig(l.Config)
	if err != nil {
		l.t.Fatal(err)
	}
	object := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "registry"}}
	object.Spec.SecretRef = v1alpha1.SecretReference{Namespace: pullsecrets.SourcesNamespace, Name: "registry"}
	object.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "true"}}
	object.Spec.Always = &v1alpha1.Always{Services: true, ServiceAccounts: []string{"default"}}
	// A webhook that has just started may not answer yet.
	l.eventually(func(ctx context.Context) error {
		_, err := client.PullsecretsV1alpha1().ClusterPullSecrets().Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	for _, namespace := range []string{cleared, kept} {
		l.eventually(func(ctx context.Context) error {
			_, err := secrets(namespace).Get(ctx, "registry", metav1.GetOptions{})
			return err
		})
		service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
		service.Spec.Template.Spec.Containers = []corev1.Container{{Image: l.image}}
		service.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
		if _, err := l.Serving.ServingV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
			l.t.Fatal(err)
		}
		l.eventually(func(ctx context.Context) error {
			state := l.state(namespace)
			want := []string{"own", "team", "registry"}
			if !state.Ready || !slices.Equal(state.Service, want) || !slices.Equal(state.Account, []string{"platform", "team", "registry"}) {
				return fmt.Errorf("namespace %s is not as declared: %+v", namespace, state)
			}
			return nil
		})
	}
}

// join creates a namespace that is granted the credential and whose ServiceAccount has an
// entry of the platform team.
func (l *lifecycle) join(namespace string) {
	l.t.Helper()
	_, err := l.Kube.CoreV1().Namespaces().Create(l.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"team": "true"},
		Annotations: map[string]string{pullsecrets.SecretsAnnotation: "team", pullsecrets.ServiceAccountsAnnotation: "default"},
	}}, metav1.CreateOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.eventually(func(ctx context.Context) error {
		account, err := l.Kube.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return err
		}
		account.ImagePullSecrets = slices.Insert(account.ImagePullSecrets, 0, corev1.LocalObjectReference{Name: "platform"})
		_, err = l.Kube.CoreV1().ServiceAccounts(namespace).Update(ctx, account, metav1.UpdateOptions{})
		return err
	})
}

func pullSecret(name string) *corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte("robot:not-a-real-one"))
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"registry.example.com":{"auth":%q}}}`, auth)},
	}
}

// state is what matters of a namespace to the controller and its users.
type state struct {
	Service       []string
	ServiceLedger string
	Ready         bool
	Revisions     int
	Account       []string
	AccountLedger string
	// Copy is the UID and resourceVersion of the copy, CopyLabels its labels.
	Copy       string
	CopyLabels map[string]string
}

func (l *lifecycle) state(namespace string) state {
	l.t.Helper()
	ctx := l.t.Context()
	var s state
	service, err := l.Serving.ServingV1().Services(namespace).Get(ctx, "app", metav1.GetOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	s.Service, s.ServiceLedger = names(service.Spec.Template.Spec.ImagePullSecrets), service.Annotations[pullsecrets.AddedAnnotation]
	s.Ready = fleet.Ready(service)
	revisions, err := l.Serving.ServingV1().Revisions(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	s.Revisions = len(revisions.Items)
	account, err := l.Kube.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	s.Account, s.AccountLedger = names(account.ImagePullSecrets), account.Annotations[pullsecrets.AddedAnnotation]
	copied, err := l.Kube.CoreV1().Secrets(namespace).Get(ctx, "registry", metav1.GetOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	s.Copy, s.CopyLabels = string(copied.UID)+" "+copied.ResourceVersion, copied.Labels
	return s
}

func names(refs []corev1.LocalObjectReference) []string {
	var list []string
	for _, ref := range refs {
		list = append(list, ref.Name)
	}
	return list
}

// upgrade applies the next release and checks that nothing else changes.
func (l *lifecycle) upgrade(release string) {
	ctx := l.t.Context()
	before := map[string]state{cleared: l.state(cleared), kept: l.state(kept)}
	mark, err := l.Audit.Mark()
	if err != nil {
		l.t.Fatal(err)
	}
	l.install(release)
	for _, program := range []string{"controller", "webhook"} {
		deployment, err := l.Kube.AppsV1().Deployments(pullsecrets.SystemNamespace).Get(ctx, program, metav1.GetOptions{})
		if err != nil {
			l.t.Fatal(err)
		}
		if got := deployment.Spec.Template.Labels["app.kubernetes.io/version"]; got != "v0.0.2" {
			l.t.Errorf("Deployment %s creates Pods of version %q, want v0.0.2", program, got)
		}
	}
	// A new namespace is handled last, and shows that both programs work.
	l.join(late)
	l.eventually(func(ctx context.Context) error {
		_, err := l.Kube.CoreV1().Secrets(late).Get(ctx, "registry", metav1.GetOptions{})
		return err
	})
	l.eventually(func(ctx context.Context) error {
		service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
		service.Spec.Template.Spec.Containers = []corev1.Container{{Image: l.image}}
		made, err := l.Serving.ServingV1().Services(late).Create(ctx, service, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(made.Spec.Template.Spec.ImagePullSecrets) == 0 {
			err = fmt.Errorf("Service got nothing at admission")
		}
		return err
	})
	for namespace, want := range before {
		if diff := cmp.Diff(want, l.state(namespace)); diff != "" {
			l.t.Errorf("upgrade changed namespace %s (-before, +after):\n%s", namespace, diff)
		}
	}
	requests, err := l.Audit.Since(mark)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, namespace := range []string{cleared, kept} {
		if writes := requests.By(pullsecrets.ControllerUser).In(namespace).Writes(); len(writes) > 0 {
			l.t.Errorf("after the upgrade the controller wrote:\n%s", writes)
		}
	}
}

// remove follows the documentation, keeping everything that can be kept in one namespace
// and nothing in the other.
func (l *lifecycle) remove(release string) {
	ctx := l.t.Context()
	before := map[string]state{cleared: l.state(cleared), kept: l.state(kept)}
	text, err := pages.Section(filepath.Join(root, "docs"), "operations.md", "Removing it")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, commands := range pages.Blocks(text, "sh") {
		l.run(filepath.Dir(release), "NAMESPACES="+cleared+"\n"+commands)
		if strings.Contains(commands, "delete -f") && l.Kind == env.Local { // Pods end with their Deployments.
			for _, program := range []string{"controller", "webhook"} {
				if err := l.Processes.Kill(ctx, program); err != nil {
					l.t.Fatal(err)
				}
			}
		}
	}
	want := before[kept]
	want.ServiceLedger, want.Account, want.AccountLedger = "", []string{"platform"}, ""
	l.checkLeft(kept, want)
	want = before[cleared]
	want.Service, want.ServiceLedger, want.Account, want.AccountLedger = []string{"own"}, "", []string{"platform"}, ""
	l.eventually(func(context.Context) error {
		// One for the change that removed the entries, after up to two that came too early.
		if got := l.state(cleared).Revisions; got <= want.Revisions || got > want.Revisions+3 {
			return fmt.Errorf("namespace %s has %d Revisions, had %d", cleared, got, want.Revisions)
		}
		return nil
	})
	want.Revisions = l.state(cleared).Revisions
	l.checkLeft(cleared, want)
	l.checkGone(release)
}

// checkLeft waits until a namespace is in the wanted state, with its copy an ordinary
// Secret.
func (l *lifecycle) checkLeft(namespace string, want state) {
	l.t.Helper()
	want.Copy, _, _ = strings.Cut(want.Copy, " ")
	want.CopyLabels = nil
	l.eventually(func(ctx context.Context) error {
		got := l.state(namespace)
		got.Copy, _, _ = strings.Cut(got.Copy, " ")
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("namespace %s (-want, +got):\n%s", namespace, diff)
		}
		return nil
	})
}

// checkGone checks that nothing of the release is left and that Knative works without it.
func (l *lifecycle) checkGone(release string) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), env.Tool(l.t, "kubectl"), "--kubeconfig="+l.Kubeconfig, "get", "-f", release, "--ignore-not-found", "-o", "name")
	if output, err := cmd.Output(); err != nil || len(output) > 0 {
		l.t.Errorf("left of the release (%v):\n%s", err, output)
	}
	crds := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets." + pullsecrets.GroupName
	if err := l.Kube.Discovery().RESTClient().Get().AbsPath(crds).Do(l.t.Context()).Error(); !apierrors.IsNotFound(err) {
		l.t.Errorf("CustomResourceDefinition still exists: %v", err)
	}
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "without"}}
	service.Spec.Template.Spec.Containers = []corev1.Container{{Image: l.image}}
	made, err := l.Serving.ServingV1().Services(kept).Create(l.t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		l.t.Fatalf("create a Service after the removal: %v", err)
	}
	if got := names(made.Spec.Template.Spec.ImagePullSecrets); len(got) > 0 {
		raw, _ := json.Marshal(made.Annotations)
		l.t.Errorf("new Service got %v: %s", got, raw)
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

const (
	// streamers is the number of clients that create Services concurrently, and
	// streamPace the interval between two Services of one client: short enough that some
	// requests are always in flight, and long enough for a small machine.
	streamers  = 6
	streamPace = 40 * time.Millisecond
	// phase is the number of Services that are created before the next step.
	phase = 40
	// coldStarts is the number of restarts of the webhook while Services are created.
	coldStarts = 3

	webhookRole = "pullsecrets-webhook"
	webhookUser = "system:serviceaccount:pullsecrets-system:webhook"
)

// stream is a number of clients that create Services without a pause, and the responses
// that they got.
type stream struct {
	*tenant
	shape func(int, *servingv1.Service)
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu       sync.Mutex
	next     int
	made     map[string]bool // by name: whether the response had the pull secret
	rejected []error
}

func (n *tenant) startStream(shape func(int, *servingv1.Service)) *stream {
	n.t.Helper()
	ctx, stop := context.WithCancel(n.t.Context())
	s := &stream{tenant: n, shape: shape, stop: stop, made: map[string]bool{}}
	pace := time.NewTicker(streamPace)
	n.t.Cleanup(func() { s.end(); pace.Stop() })
	for range streamers {
		s.work.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
					s.create()
				}
			}
		})
	}
	return s
}

// create creates the next Service. The end of the stream does not cancel it: every
// request that was sent gets its response.
func (s *stream) create() {
	s.mu.Lock()
	i := s.next
	s.next++
	s.mu.Unlock()
	svc := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: fleet.Name(i)}}
	svc.Spec.Template.Spec.Containers = []corev1.Container{{Image: fleet.Image}}
	s.shape(i, svc)
	made, err := s.Serving.ServingV1().Services(s.ns).Create(s.t.Context(), svc, metav1.CreateOptions{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.rejected = append(s.rejected, err)
		return
	}
	s.made[svc.Name] = len(made.Spec.Template.Spec.ImagePullSecrets) > 0
}

// state returns the number of Services created so far, and how many of them got the pull
// secret at admission.
func (s *stream) state() (made, admitted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, had := range s.made {
		if had {
			admitted++
		}
	}
	return len(s.made), admitted
}

// waitForMore waits until that many more Services were created.
func (s *stream) waitForMore(more int) {
	s.t.Helper()
	before, _ := s.state()
	eventually(s.t, func(context.Context) error {
		if made, _ := s.state(); made < before+more {
			return fmt.Errorf("%d more Services were created, want %d", made-before, more)
		}
		return nil
	})
}

// end stops the stream and returns the responses.
func (s *stream) end() (made map[string]bool) {
	s.stop()
	s.work.Wait()
	return s.made
}

// checkCatchesUp stops the stream and checks that no request was rejected, and that the
// controller wrote exactly those Services that admission missed, once each.
func (s *stream) checkCatchesUp(counting writeCounter) {
	s.t.Helper()
	made := s.end()
	for _, err := range s.rejected {
		s.t.Errorf("Service was rejected: %v", err)
	}
	s.waitForFleet("have the pull secret", fleet.Has("ghcr"))
	s.settle("ghcr")

	written := map[string]int{}
	for _, r := range counting.fleetWrites() {
		written[r.Name]++
	}
	_, admitted := s.state()
	s.t.Logf("%d Services were created: %d got their pull secret at admission, %d from the controller", len(made), admitted, len(written))
	for _, name := range slices.Sorted(maps.Keys(made)) {
		want := 1
		if made[name] {
			want = 0
		}
		if written[name] != want {
			s.t.Errorf("Service %s got its pull secret at admission: %t; the controller wrote it %d times, want %d", name, made[name], written[name], want)
		}
	}
}

// checkAdmits checks that a new Service gets its pull secret at admission.
func (n *tenant) checkAdmits(name string) {
	n.t.Helper()
	if got := pullSecretsOf(n.create("by-digest.yaml", name)); !slices.Equal(got, []string{"ghcr"}) {
		n.t.Errorf("Service %s was created with imagePullSecrets %q, want ghcr", name, got)
	}
}

// create creates the Service of a file and returns it as in the response, before any
// controller could change it.
func (n *tenant) create(file, name string) *unstructured.Unstructured {
	n.t.Helper()
	object := manifests(n.t, n.Env, file)[0]
	object.SetName(name)
	made, err := n.Dynamic.Resource(services).Namespace(n.ns).Create(n.t.Context(), object, metav1.CreateOptions{FieldManager: user})
	if err != nil {
		n.t.Fatalf("create Service %s: %v", name, err)
	}
	return made
}

// The webhook is killed under load. No request is rejected: a Service without pull
// secrets for a while is better than no Service. The controller adds the pull secrets to
// the Services that admission missed and to no others, because each such write is a
// Revision. Once the webhook is back, new Services get them at admission again.
func TestKilledWebhookRejectsNothing(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl, env.RequestCounts)
	n := newTenant(t, optedIn("ghcr"))
	shape := withoutPods(t, n.Env)
	t.Cleanup(func() { n.start("webhook") })
	counting := n.startCounting()
	s := n.startStream(shape)

	s.waitForMore(phase)
	if made, admitted := s.state(); admitted != made {
		t.Errorf("%d of %d Services got their pull secret at admission, want all: the webhook was running", admitted, made)
	}
	if err := n.Processes.Kill(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	s.waitForMore(streamers) // Requests in flight may have been served before the kill.
	_, before := s.state()
	s.waitForMore(phase)
	if _, after := s.state(); after != before {
		t.Errorf("%d Services got their pull secret at admission while the webhook was down, so this test shows nothing", after-before)
	}
	n.start("webhook")
	s.waitForMore(phase)

	s.checkCatchesUp(counting)
	n.checkAdmits("later")
}

// The webhook restarts under load, as in a rollout with a single replica. While its
// caches are not synced, it neither rejects nor guesses: it leaves the Services to the
// controller.
func TestStartingWebhookRejectsNothing(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl, env.RequestCounts)
	n := newTenant(t, optedIn("ghcr"))
	shape := withoutPods(t, n.Env)
	t.Cleanup(func() { n.start("webhook") })
	counting := n.startCounting()
	s := n.startStream(shape)

	for range coldStarts {
		s.waitForMore(phase / 2)
		if err := n.Processes.Restart(t.Context(), "webhook", nil); err != nil {
			t.Fatal(err)
		}
	}
	s.waitForMore(phase / 2)

	s.checkCatchesUp(counting)
	n.checkAdmits("later")
}

// A webhook that was told to stop still answers, by what is declared then, not by what was
// declared when it was told to stop: the API server keeps its connections. It ends by itself.
func TestStoppingWebhookKnowsWhatIsDeclared(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl)
	n := newTenant(t, optedIn("ghcr"))
	n.checkAdmits("before")
	before, err := n.Processes.Get(t.Context(), "webhook")
	if err != nil {
		t.Fatal(err)
	}
	restarted := func() bool {
		t.Helper()
		now, err := n.Processes.Get(t.Context(), "webhook")
		if err != nil {
			t.Fatal(err)
		}
		return now.PID != before.PID
	}
	told := time.Now()
	if err := syscall.Kill(before.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "quay")
	attempt := 0
	eventually(t, func(context.Context) error {
		attempt++
		got := pullSecretsOf(n.create("by-digest.yaml", fmt.Sprint("during-", attempt)))
		if restarted() {
			t.Fatalf("%d Services were created while the webhook was stopping, and the last one has imagePullSecrets %q, want quay", attempt-1, got)
		}
		if !slices.Equal(got, []string{"quay"}) {
			return fmt.Errorf("Service was created with imagePullSecrets %q, want quay", got)
		}
		return nil
	})
	eventually(t, func(context.Context) error {
		if !restarted() {
			return errors.New("the webhook has not ended")
		}
		return nil
	})
	// A webhook that then also waited until nobody asks it would take twice as long.
	const documented = 45 * time.Second
	if took := time.Since(told); took < documented || took > 2*documented-5*time.Second {
		t.Errorf("the webhook ended after %s, want %s", took, documented)
	}
	n.start("webhook") // Returns when the next one is ready.
}

// A replica of the webhook is not ready before its caches are synced, so that a rollout
// does not replace replicas with synced caches by one without. Here the caches cannot
// sync, because the webhook lacks the right to list ServiceAccounts. This rejects no
// Service either.
func TestWebhookIsNotReadyBeforeItsCachesAreSynced(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl)
	n := newTenant(t, optedIn("ghcr"))
	t.Cleanup(func() { n.start("webhook") })
	restore := hideAccounts(t, n.Env)
	if err := n.Processes.Stop(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- n.Processes.Start(t.Context(), "webhook", nil) }()

	eventually(t, func(ctx context.Context) error {
		code, body, err := readiness(ctx, n.Env, "webhook")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.Contains(body, "the caches of Namespaces, ServiceAccounts and ClusterPullSecrets")) {
			err = fmt.Errorf("the readiness probe answers %d %q, want 503 that names the caches", code, body)
		}
		return err
	})
	n.applyAs("by-digest.yaml", "early")
	n.waitForList("early", "ghcr") // by the controller
	if code, body, err := readiness(t.Context(), n.Env, "webhook"); code != http.StatusServiceUnavailable {
		t.Errorf("the readiness probe answers %d %q, %v; want 503 as long as the webhook cannot list ServiceAccounts", code, body, err)
	}

	restore()
	if err := <-started; err != nil {
		t.Fatal("start the webhook: ", err)
	}
	n.checkAdmits("late")
}

// A credential is rotated and revoked while the webhook is down and others cannot write
// ClusterPullSecrets: the webhook is not called for the controller's writes.
func TestRotationDoesNotWaitForTheWebhook(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl)
	p := newPlatform(t)
	n, other := newTenant(t, optedIn(p.name), p.granted()), newTenant(t, optedIn(p.name), p.granted())
	t.Cleanup(func() { n.start("webhook"); n.start("controller") })
	p.grant()
	p.waitForStatus("2/2", selects(2))
	if err := n.Processes.Kill(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}

	p.rotate("two")
	version := n.waitForCopy(p.name, "two").Annotations[pullsecrets.SourceResourceVersionAnnotation]
	other.waitForCopy(p.name, "two")
	p.waitForStatus("the new version in all copies", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && c.Status.Source.ResourceVersion == version
	})
	other.labelNamespace(teamLabel, "none")
	other.waitForNoCopy(p.name)
	p.waitForStatus("1/1", selects(1))

	// The webhook is not called for a deletion.
	n.start("webhook")
	if err := n.Processes.Stop(t.Context(), "controller"); err != nil {
		t.Fatal(err)
	}
	if err := p.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.Processes.Kill(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	n.start("controller")
	n.waitForNoCopy(p.name)
	p.waitForDeletion()
}

// readiness calls the readiness probe of a program.
func readiness(ctx context.Context, e *env.Env, program string) (code int, body string, err error) {
	return e.HTTPGet(ctx, program, "probes", "readiness")
}

// hideAccounts revokes the webhook's right to list ServiceAccounts until restore is
// called or the test ends.
func hideAccounts(t *testing.T, e *env.Env) (restore func()) {
	t.Helper()
	role, err := e.Kube.RbacV1().ClusterRoles().Get(t.Context(), webhookRole, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules := role.Rules
	set := func(rules []rbacv1.PolicyRule) {
		ctx := context.WithoutCancel(t.Context())
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			role, err := e.Kube.RbacV1().ClusterRoles().Get(ctx, webhookRole, metav1.GetOptions{})
			if err != nil {
				return err
			}
			role.Rules = rules
			_, err = e.Kube.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{FieldManager: user})
			return err
		})
		if err != nil {
			t.Error("update the rights of the webhook: ", err)
		}
	}
	set(slices.DeleteFunc(slices.Clone(rules), func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "serviceaccounts") }))
	t.Cleanup(func() { set(rules) })
	webhook, err := e.As(webhookUser)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		_, err := webhook.Kube.CoreV1().ServiceAccounts("").List(ctx, metav1.ListOptions{Limit: 1})
		switch {
		case apierrors.IsForbidden(err):
			return nil
		case err == nil:
			return errors.New("the webhook may still list ServiceAccounts")
		}
		return err
	})
	return func() { set(rules) }
}

// An invalid setting is rejected when it is written, with its key and the reason, and the
// settings in force stay. An operator should not have to find it in a log.
func TestInvalidSettingsAreRejected(t *testing.T) {
	o := newOperator(t)
	defer o.restore()
	n := newTenant(t, withoutAdmission)
	n.applyAs("by-tag.yaml", "tagged")
	n.waitForReady("tagged")
	o.set(map[string]string{backfill: "report"})
	before := readSettings(t.Context(), t, n.Env)

	for _, mistake := range []struct {
		name, key, value string
		want             []string
	}{
		{settingsName, backfill, "sometimes", []string{"backfill", `"sometimes"`, "is not one of safe, all, report and disabled"}},
		{settingsName, backfillPerMinute, "-1", []string{"backfill-per-minute", `"-1"`, "expected 0 (no limit) or more"}},
		{settingsName, excludedNamespaces, "team-[", []string{"excluded-namespaces", `"team-["`, "is not a valid glob"}},
		{settingsName, "source-namespaces", pullsecrets.SystemNamespace, []string{"source-namespaces", "must not contain sources"}},
		{settingsName, "_example", "backfill: all", []string{"_example"}},
		{"config-logging", "loglevel.controller", "loud", []string{"invalid logging level: loud"}},
		{"config-leader-election", "lease-duration", "soon", []string{"lease-duration", `"soon"`}},
		// The policy leases.pullsecrets.dev would reject such leases.
		{"config-leader-election", "map-lease-prefix.controller.Namespaces", "x", []string{"map-lease-prefix.controller.Namespaces", "not supported"}},
	} {
		attempt := dryRun
		if mistake.key == backfill {
			attempt = nil // Not a dry run: the settings are restored at the end.
		}
		err := n.applySetting(mistake.name, mistake.key, mistake.value, attempt...)
		if !apierrors.IsBadRequest(err) {
			t.Errorf("apply %s: %q to %s: %v; want it rejected as a bad request", mistake.key, mistake.value, mistake.name, err)
			continue
		}
		for _, want := range mistake.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("apply %s: %q to %s: rejected with %q, want %q in it", mistake.key, mistake.value, mistake.name, err, want)
			}
		}
	}
	if after := readSettings(t.Context(), t, n.Env); !maps.Equal(after, before) {
		t.Errorf("settings are %v, want them unchanged: %v", after, before)
	}
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("tagged"), "BackfillDeferred", "backfill: report")

	for _, good := range [][3]string{{"config-logging", "loglevel.controller", "debug"}, {"config-leader-election", "lease-duration", "60s"}} {
		if err := n.applySetting(good[0], good[1], good[2], metav1.DryRunAll); err != nil {
			t.Errorf("apply %s: %q to %s: %v", good[1], good[2], good[0], err)
		}
	}
	if err := n.applySetting(settingsName, backfill, "all"); err != nil {
		t.Fatal(err)
	}
	n.waitForList("tagged", "ghcr")
}

// applySetting is "kubectl apply --server-side" of a ConfigMap with one setting.
func (n *tenant) applySetting(name, key, value string, dryRun ...string) error {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": pullsecrets.SystemNamespace, "name": name},
		"data":     map[string]any{key: value},
	}}
	client, err := resource(n.Env, object)
	if err != nil {
		return err
	}
	_, err = client.Apply(n.t.Context(), name, object, metav1.ApplyOptions{FieldManager: user, Force: true, DryRun: dryRun})
	return err
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// fleetSize is the number of Services in a whole namespace of them.
const fleetSize = 200

// fleetTimeout is the timeout for hundreds of Services, on a small machine that runs
// everything.
const fleetTimeout = 5 * time.Minute

const (
	// kills is the number of kills during the backfill of a fleet, each after a random
	// part of workSpan.
	kills    = 5
	workSpan = 300 * time.Millisecond
	// podFleet is the size of the fleet where the controller is a Pod, and podRate a
	// backfill-per-minute that lasts for all kills: a Pod starts in seconds, in which a
	// controller without a limit writes hundreds. Each Service costs such a cluster far more.
	podFleet, podRate = 60, "120"
	// controllerThreads is the controller's concurrency.
	controllerThreads = 8
)

// withoutPods makes Services start with no Pod, so that hundreds of them cost the machine
// little. It enables this in Knative's settings until the test ends.
func withoutPods(t *testing.T, e *env.Env) func(int, *servingv1.Service) {
	t.Helper()
	set := func(ctx context.Context, value any) {
		var failure error
		// Hundreds of Services can keep Knative's webhook from answering for a moment.
		err := wait.PollUntilContextTimeout(ctx, time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, failure = e.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-autoscaler", "application/merge-patch+json",
				encode(map[string]any{"data": map[string]any{"allow-zero-initial-scale": value}}), metav1.PatchOptions{FieldManager: user})
			return failure == nil, nil
		})
		if err != nil {
			t.Error("update Knative's settings: ", errors.Join(err, failure))
		}
	}
	set(t.Context(), "true")
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), nil) })
	// Knative's webhook observes the setting asynchronously and rejects such Services
	// until then.
	probe := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
	probe.Spec.Template.Spec.Containers = []corev1.Container{{Image: fleet.Image}}
	shape := func(_ int, svc *servingv1.Service) {
		svc.Spec.Template.Annotations = map[string]string{"autoscaling.knative.dev/initial-scale": "0"}
	}
	shape(0, probe)
	eventually(t, func(ctx context.Context) error {
		_, err := e.Serving.ServingV1().Services(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	return shape
}

// makeFleet creates Services whose images are given by digest and waits until they are
// Ready.
func (n *tenant) makeFleet(size int, shape func(int, *servingv1.Service)) {
	n.t.Helper()
	if err := fleet.Create(n.t.Context(), n.Serving, n.ns, 0, size, shape); err != nil {
		n.t.Fatal(err)
	}
	n.waitForFleet("are Ready", fleet.Ready)
}

// clearFleet deletes all Services of the namespace, and waits until nothing routes to them.
func (n *tenant) clearFleet() {
	n.t.Helper()
	ctx := context.WithoutCancel(n.t.Context())
	if err := n.Serving.ServingV1().Services(n.ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		n.t.Error("delete the fleet: ", err)
		return
	}
	err := wait.PollUntilContextTimeout(ctx, time.Second, fleetTimeout, true, func(ctx context.Context) (bool, error) {
		left, err := n.Kube.CoreV1().Services(n.ns).List(ctx, metav1.ListOptions{})
		return err == nil && len(left.Items) == 0, nil
	})
	if err != nil {
		n.t.Error("wait until the fleet is gone: ", err)
	}
}

func (n *tenant) waitForFleet(what string, condition func(*servingv1.Service) bool) {
	n.t.Helper()
	if err := fleet.Wait(n.t.Context(), n.Serving, n.ns, what, fleetTimeout, condition); err != nil {
		n.t.Fatal(err)
	}
}

// fleetWrites returns the successful writes of the fleet's Services.
func (c writeCounter) fleetWrites() env.Requests {
	c.t.Helper()
	requests, _ := c.requests()
	return slices.DeleteFunc(requests.Writes().Of(servicesResource), func(r env.Request) bool {
		return r.Code != http.StatusOK || !strings.HasPrefix(r.Name, fleet.Prefix)
	})
}

// checkFleet checks that each Service of the fleet was written exactly once and has
// exactly one more Revision. Knative must have reconciled all of them.
func (n *tenant) checkFleet(counting writeCounter, size int) {
	n.t.Helper()
	written := map[string]int{}
	for _, r := range counting.fleetWrites() {
		written[r.Name]++
	}
	revisions, err := n.Serving.ServingV1().Revisions(n.ns).List(n.t.Context(), metav1.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	made := map[string]int{}
	for _, revision := range revisions.Items {
		made[revision.Labels["serving.knative.dev/service"]]++
	}
	list, err := n.Serving.ServingV1().Services(n.ns).List(n.t.Context(), metav1.ListOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	generations := map[string]int64{}
	for _, svc := range list.Items {
		generations[svc.Name] = svc.Generation
	}
	unanswered := 0
	for i := range size {
		name := fleet.Name(i)
		if written[name] == 0 {
			unanswered++
		}
		// Each change of a spec is a generation.
		if generations[name] != 2 || made[name] != 2 || written[name] > 1 {
			n.t.Errorf("Service %s has generation %d and %d Revisions, and was written %d times; want 2, 2 and 1",
				name, generations[name], made[name], written[name])
		}
	}
	// A write whose client is killed before the answer may be noted as failed.
	if unanswered > kills*controllerThreads {
		n.t.Errorf("audit log lacks the writes of %d Services, more than were in flight at the kills", unanswered)
	}
}

// TestControllerIsKilledDuringBackfill kills the controller repeatedly during a backfill.
// The next controller finishes what the last one had begun, and nothing is written twice.
func TestControllerIsKilledDuringBackfill(t *testing.T) {
	env.Get(t).Need(t, env.ProgramControl, env.RequestCounts)
	n := newTenant(t)
	size := fleetSize
	if n.Kind != env.Local {
		size = podFleet
		o := newOperator(t)
		defer o.restore()
		o.set(map[string]string{backfillPerMinute: podRate})
		// kube-proxy follows their removal for a while, and meanwhile no new address.
		defer n.clearFleet()
	}
	n.makeFleet(size, withoutPods(t, n.Env))
	t.Cleanup(func() { n.start("controller") })
	counting := n.startCounting()
	// The same moments each time, as far as a busy machine allows.
	random := rand.New(rand.NewPCG(1, 2))

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	for kill := range kills {
		before := n.countWritten()
		if before == size {
			t.Errorf("all Services were written after %d kills, so %d kills did not happen", kill, kills-kill)
			break
		}
		// It has started to write again; let it continue for a moment.
		eventually(t, func(context.Context) error {
			if n.countWritten() == before {
				return fmt.Errorf("none of %d Services was written since the controller started", size-before)
			}
			return nil
		})
		time.Sleep(time.Duration(random.Int64N(int64(workSpan))))
		if err := n.Processes.Kill(t.Context(), "controller"); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed the controller after %d of %d Services were written", n.countWritten(), size)
		n.start("controller")
	}

	n.waitForFleet("have the pull secret", fleet.Has("ghcr"))
	n.waitForFleet("have their second Revision", func(svc *servingv1.Service) bool {
		return svc.Status.ObservedGeneration == svc.Generation && strings.HasSuffix(svc.Status.LatestCreatedRevisionName, "-00002")
	})
	n.settle("ghcr")
	n.checkFleet(counting, size)
}

// countWritten returns the number of Services in the namespace with pull secrets.
func (n *tenant) countWritten() int {
	n.t.Helper()
	list, err := n.Serving.ServingV1().Services(n.ns).List(n.t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		n.t.Fatal(err)
	}
	written := 0
	for i := range list.Items {
		if len(list.Items[i].Spec.Template.Spec.ImagePullSecrets) > 0 {
			written++
		}
	}
	return written
}

// start starts a process unless it runs.
func (n *tenant) start(process string) {
	n.t.Helper()
	ctx := context.WithoutCancel(n.t.Context())
	status, err := n.Processes.Get(ctx, process)
	if err == nil && status.PID == 0 {
		err = n.Processes.Start(ctx, process, nil)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestAPIServerIsRestarted stops the API server while Services opt in and a credential is
// rotated. Everything that was declared before or is declared later is done, once.
func TestAPIServerIsRestarted(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl, env.RequestCounts)
	const many = 40
	p := newPlatform(t)
	p.makeNamespaces(many)
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.Always = &v1alpha1.Always{} })
	p.waitForStatus("40/40", selects(many))
	n := newTenant(t)
	names := numbered("app-%d", 4)
	for _, name := range names {
		n.applyAs("by-digest.yaml", name)
	}
	n.waitForReady(names...)
	t.Cleanup(func() { n.start("kube-apiserver"); n.start("controller") })

	// At this moment the controller may or may not have observed the opt-in and the
	// rotation, and may be about to write.
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	p.rotate("two")
	source, err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Get(t.Context(), p.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Processes.Kill(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	// Long enough for its lease to expire, as in an outage of minutes.
	time.Sleep(10 * time.Second)
	if err := n.Processes.Start(t.Context(), "kube-apiserver", nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		n.waitForList(name, "ghcr")
	}
	n.waitForReady(names...)
	p.waitForStatus("40/40 of the new version", func(c *v1alpha1.ClusterPullSecret) bool {
		return selects(many)(c) && c.Status.Source.ResourceVersion == source.ResourceVersion
	})

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	for _, name := range names {
		n.waitForList(name, "ghcr", "quay")
	}
	n.waitForReady(names...)
	n.settle("ghcr", "quay")
	for _, name := range names {
		n.checkRevisions(name, 3)
	}
	if status, err := n.Processes.Get(t.Context(), "controller"); err != nil || status.PID == 0 {
		t.Errorf("controller is not running: %+v, %v", status, err)
	}
}

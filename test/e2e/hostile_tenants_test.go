// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/fleet"
)

// keepAt calls act repeatedly until stop is called. Requests that the API server rejects
// may affect others too.
func keepAt(t *testing.T, every time.Duration, act func(ctx context.Context, turn int) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for turn := 0; ctx.Err() == nil; turn++ {
			if err := act(ctx, turn); err != nil && ctx.Err() == nil {
				t.Log("hostile tenant was rejected: ", err)
			}
			_ = wait.PollUntilContextTimeout(ctx, every, every, false, func(context.Context) (bool, error) { return true, nil })
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// longNames returns an annotation value of about this size.
func longNames(size int) string {
	names := numbered("no-such-secret-of-anybody-%04d", size/len("no-such-secret-of-anybody-0000,"))
	return strings.Join(names, ",")
}

// Twenty Services with annotations near the API server's size limit, changed all the
// time, are admitted with a warning. Meanwhile a tenant with ordinary annotations gets
// everything that ClusterPullSecrets provide.
func TestLongAnnotationsDelayNoOtherTenant(t *testing.T) {
	t.Parallel()
	all := []*platform{newPlatform(t), newPlatform(t), newPlatform(t)}
	p := all[0]
	for _, other := range all[1:] {
		// They select the same Namespaces.
		other.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.NamespaceSelector.MatchLabels[teamLabel] = p.name })
	}
	hostile, good := newTenant(t, p.granted()), newTenant(t, p.granted())
	good.applyAs("by-digest.yaml", "existing")
	good.waitForReady("existing")

	const many, long, longest = 20, 194 << 10, 250 << 10
	err := fleet.Create(t.Context(), hostile.Serving, hostile.ns, 0, many, func(_ int, svc *servingv1.Service) {
		svc.Annotations = map[string]string{pullsecrets.SecretsAnnotation: longNames(long)}
	})
	if err != nil {
		t.Fatal("long annotation was rejected: ", err)
	}
	a := hostile.askToCreate("by-digest.yaml", nil, annotated(pullsecrets.SecretsAnnotation, longNames(longest))).succeeded(t)
	a.checkWarned(t, pullsecrets.SecretsAnnotation, "longer than 4096 bytes")
	a.checkList(t, strings.Split(longNames(long), ",")[:pullsecrets.MaxSecrets]...)
	stop := keepAt(t, 200*time.Millisecond, func(ctx context.Context, turn int) error {
		return hostile.tryPatch(ctx, fleet.Name(turn%many), annotations(pullsecrets.SecretsAnnotation, fmt.Sprintf("turn-%d,%s", turn, longNames(long))))
	})

	p.grant()
	good.annotateNamespace(pullsecrets.SecretsAnnotation, p.name)
	good.waitForCopy(p.name, "one")
	good.waitForList("existing", p.name)
	eventually(t, func(ctx context.Context) error {
		// Admission sees the Namespace's annotation once its own cache has it.
		a := good.askToCreate("by-digest.yaml", dryRun).succeeded(t)
		if got := pullSecretsOf(a.object); len(got) != 1 || got[0] != p.name {
			return fmt.Errorf("admission set imagePullSecrets %q, want %s", got, p.name)
		}
		return nil
	})
	p.rotate("two")
	good.waitForCopy(p.name, "two")
	p.withdraw()
	good.waitForNoCopy(p.name)
	stop()
}

// A tenant whose Services were never Ready, so that they have priority, and that keeps
// requesting other names, never finishes its backfill. A tenant with one Service of low
// priority gets its turn meanwhile.
func TestBackfillTurnsAreByNamespace(t *testing.T) {
	env.Get(t).Need(t, env.RevisionOutcomes)
	const many = 70
	hostile := newTenant(t, env.Labelled(env.RevisionsLabel, env.RevisionsWait))
	good := newTenant(t)
	good.apply("by-digest.yaml")
	good.waitForReady("app")
	if err := fleet.Create(t.Context(), hostile.Serving, hostile.ns, 0, many, nil); err != nil {
		t.Fatal(err)
	}
	hostile.waitForFleet("are known to Knative", func(svc *servingv1.Service) bool { return svc.Status.ObservedGeneration == svc.Generation })
	o := newOperator(t)
	defer o.restore()

	// All Services of the hostile tenant queue before the other one opts in.
	o.set(map[string]string{backfillPerMinute: slowRate})
	hostile.annotateNamespace(pullsecrets.SecretsAnnotation, "flap")
	hostile.applyAs("by-digest.yaml", "latecomer", annotated(pullsecrets.SecretsAnnotation, "Not-A-Name"))
	hostile.waitForEvent(service("latecomer"), "InvalidAnnotation")
	stop := keepAt(t, 200*time.Millisecond, func(ctx context.Context, turn int) error {
		_, err := hostile.Kube.CoreV1().Namespaces().Patch(ctx, hostile.ns, "application/merge-patch+json",
			encode(annotations(pullsecrets.SecretsAnnotation, fmt.Sprint("flap-", turn))), metav1.PatchOptions{FieldManager: user})
		return err
	})
	good.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	o.set(map[string]string{backfillPerMinute: "60"})
	good.waitForList("app", "ghcr")

	list, err := hostile.Serving.ServingV1().Services(hostile.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for i := range list.Items {
		if len(list.Items[i].Spec.Template.Spec.ImagePullSecrets) > 0 {
			done++
		}
	}
	if done >= many {
		t.Errorf("the other tenant got its turn after all %d Services of the hostile one", done)
	}
	t.Logf("the other tenant got its turn after %d Services of the hostile one", done)
	stop()
}

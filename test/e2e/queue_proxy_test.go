// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// setQueueProxy changes the image of the queue-proxy until the test ends.
func setQueueProxy(t *testing.T, e *env.Env, image string) {
	t.Helper()
	set := func(ctx context.Context, image string) {
		_, err := e.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-deployment", types.MergePatchType,
			encode(map[string]any{"data": map[string]any{"queue-sidecar-image": image}}), metav1.PatchOptions{FieldManager: user})
		if err != nil {
			t.Error("update Knative's settings: ", err)
		}
	}
	before := queueProxy(t, e)
	set(t.Context(), image)
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), before) })
}

func queueProxy(t *testing.T, e *env.Env) string {
	t.Helper()
	settings, err := e.Kube.CoreV1().ConfigMaps("knative-serving").Get(t.Context(), "config-deployment", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return settings.Data["queue-sidecar-image"]
}

// With inject: auto the image of the queue-proxy counts, which no template contains. If
// the platform team moves it to another registry, new and changed Services get the
// credential for it, failing ones too, and working ones are left alone. The test is not
// parallel, because the change affects the Revisions of others.
func TestAutoCoversTheQueueProxy(t *testing.T) {
	e := env.Get(t)
	elsewhere, auto := imageElsewhere(t), annotated(pullsecrets.InjectAnnotation, "auto")
	const mirror = "mirror.example.net/knative/queue"
	platforms := covering(t, queueProxy(t, e), mirror)
	before, after := platforms[0].name, platforms[1].name
	n := newTenant(t, platforms[0].granted())
	n.applyAs("by-digest.yaml", "app", running(elsewhere, "", ""), auto)
	n.waitForCopy(before, "one")
	n.checkList("app", before)
	n.checkLedger("app", map[string]string{before: "clusterpullsecret/" + before})
	n.waitForReady("app")
	if e.Kind != env.Local {
		return // A node would need this image.
	}
	broken := newTenant(t, platforms[0].granted(), env.Labelled(env.RevisionsLabel, env.RevisionsFail))
	broken.applyAs("by-digest.yaml", "app", running(elsewhere, "", ""), auto)
	broken.waitForFailed()
	broken.checkList("app", before)

	setQueueProxy(t, e, mirror)
	broken.waitForCopy(after, "one")
	broken.waitForList("app", after, before) // Entries that are no longer declared stay.
	n.waitForCopy(after, "one")
	eventually(t, func(context.Context) error {
		a := n.askToCreate("by-digest.yaml", dryRun, named("new"), running(elsewhere, "", ""), auto).succeeded(t)
		if got := pullSecretsOf(a.object); !slices.Equal(got, []string{after}) {
			return fmt.Errorf("a new Service gets %q, want %q", got, after)
		}
		return nil
	})
	n.settle()
	n.checkList("app", before)
	n.checkRevisions("app", 1)
	n.patch("app", released())
	n.checkList("app", after)
}

// The controller can read only the settings of Knative that it needs.
func TestControllerReadsKnativesImages(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	controller, err := e.As(pullsecrets.ControllerUser, "system:serviceaccounts", "system:serviceaccounts:"+pullsecrets.SystemNamespace, "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	settings := controller.Kube.CoreV1().ConfigMaps("knative-serving")
	only := func(name string) metav1.ListOptions {
		return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	}
	if found, err := settings.List(t.Context(), only("config-deployment")); err != nil || len(found.Items) != 1 {
		t.Errorf("list config-deployment: %v", err)
	}
	for what, options := range map[string]metav1.ListOptions{"all": {}, "config-defaults": only("config-defaults")} {
		if _, err := settings.List(t.Context(), options); !apierrors.IsForbidden(err) {
			t.Errorf("list %s of Knative's settings: %v, want it forbidden", what, err)
		}
	}
	_, err = settings.Patch(t.Context(), "config-deployment", types.MergePatchType, encode(labelled("x")), metav1.PatchOptions{DryRun: dryRun})
	if !apierrors.IsForbidden(err) {
		t.Errorf("update Knative's settings: %v, want it forbidden", err)
	}
}

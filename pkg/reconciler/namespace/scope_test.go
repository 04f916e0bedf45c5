// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/controller"
	knativetesting "knative.dev/pkg/reconciler/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	. "pullsecrets.dev/pkg/reconciler/testing"
)

func verifying(cps *v1alpha1.ClusterPullSecret) { cps.Spec.Verify = &v1alpha1.Verify{} }

// A process that did not read the version that the status accepts cannot know whether the
// current one was verified. It waits for the status, and not forever.
func TestUnverifiedSourceIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The source is at version 9, and the status names 7.
		row := knativetesting.TableRow{Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", verifying), sourceOf(two)}}
		c, actions, _ := factory()(t, &row)
		if again, after := controller.IsRequeueKey(c.Reconcile(row.Ctx, "team")); !again || after != statusTimeout {
			t.Errorf("requeued: %t after %s, want it after %s", again, after, statusTimeout)
		}
		if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) > 0 {
			t.Errorf("%d copies were created (%v), want none", len(all.Creates), err)
		}
		time.Sleep(statusTimeout) // In a synctest bubble, this returns immediately.
		if err := c.Reconcile(row.Ctx, "team"); err != nil {
			t.Errorf("after that: %v", err)
		}
		if all, err := actions.ActionsByVerb(); err != nil || len(all.Creates) != 1 {
			t.Errorf("%d copies were created (%v), want one", len(all.Creates), err)
		}
	})
}

// A source whose contents differ from all copies never replaces them before the status says
// that it was verified, however long that takes.
func TestUnverifiedSourceReplacesNoCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		row := knativetesting.TableRow{Objects: []runtime.Object{asks(), ClusterPullSecret("ghcr", verifying), sourceOf(two), copied(one, "7")}}
		c, actions, _ := factory()(t, &row)
		for range 3 {
			_ = c.Reconcile(row.Ctx, "team")
			time.Sleep(statusTimeout) // In a synctest bubble, this returns immediately.
		}
		if all, err := actions.ActionsByVerb(); err != nil || len(all.Updates) > 0 || len(all.Creates) > 0 {
			t.Errorf("%d copies were updated (%v), want none", len(all.Updates), err)
		}
	})
}

// Two ClusterPullSecrets with one source and different registries have different copies, and a
// copy of the same version with other registries is updated in place.
func TestCopiesHoldTheirRegistries(t *testing.T) {
	scoped := func(registries ...string) ClusterPullSecretOption {
		return func(cps *v1alpha1.ClusterPullSecret) {
			cps.Spec.SecretRef.Name = "ghcr"
			cps.Spec.Registries = registries
			cps.Status.Source.ResourceVersion = "9"
		}
	}
	row := knativetesting.TableRow{Objects: []runtime.Object{
		Namespace("team", WithNamespaceAnnotation("pullsecrets.dev/secrets", "ghcr, other")),
		ClusterPullSecret("ghcr", scoped("ghcr.io/shop/")), ClusterPullSecret("other", scoped("ghcr.io/search/")),
		sourceOf(two), copied(two, "9"),
	}}
	c, actions, _ := factory()(t, &row)
	if err := c.Reconcile(row.Ctx, "team"); err != nil {
		t.Fatal(err)
	}
	all, err := actions.ActionsByVerb()
	if err != nil || len(all.Updates) != 1 || len(all.Creates) != 1 {
		t.Fatalf("%d updates and %d creations, %v; want one of each", len(all.Updates), len(all.Creates), err)
	}
	for object, key := range map[runtime.Object]string{all.Updates[0].GetObject(): `"ghcr.io/shop/"`, all.Creates[0].GetObject(): `"ghcr.io/search/"`} {
		secret := object.(*corev1.Secret)
		if text := string(secret.Data[corev1.DockerConfigJsonKey]); !strings.Contains(text, key) || strings.Count(text, "ghcr.io") != 1 {
			t.Errorf("Secret %s has other keys than %s", secret.Name, key)
		}
	}
}

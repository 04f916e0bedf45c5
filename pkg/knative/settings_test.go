// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package knative

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	logtesting "knative.dev/pkg/logging/testing"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/template"
)

func defaults(timeout string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace(), Name: "config-defaults"},
		Data:       map[string]string{"revision-timeout-seconds": timeout},
	}
}

// fills reports whether these settings set that timeout as default.
func fills(s *Settings, timeout string) bool {
	const rest = `"containerConcurrency":0,"containers":[{"name":"user-container","image":"x","readinessProbe":{"tcpSocket":{"port":0},"successThreshold":1}}]}}}}`
	side := func(object, marker string) template.Service {
		return template.Service{Object: []byte(object), Template: map[string]any{"side": marker}}
	}
	old := side(`{"spec":{"template":{"spec":{"timeoutSeconds":`+timeout+`,`+rest, "")
	requested := side(`{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}`, "")
	requested.Template = map[string]any{"side": nil}
	return !s.Template().Changed(old, requested)
}

// Changes of a ConfigMap take effect. One that does not parse, or is deleted, leaves the
// previous settings, as in Knative.
func TestSettingsAreFollowed(t *testing.T) {
	s := settings(t)
	if !fills(s, "300") {
		t.Error("The first settings are not those that Knative is compiled with")
	}
	s.OnConfigChanged(defaults("60"))
	if !fills(s, "60") {
		t.Error("A change of config-defaults has no effect")
	}
	s.OnConfigChanged(defaults("much"))
	if !fills(s, "60") {
		t.Error("A ConfigMap that does not parse has an effect")
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSettings()
		if err := s.Follow(t.Context(), fake.NewClientset(defaults("60")), logtesting.TestLogger(t), Defaults, Features); err != nil {
			t.Fatal(err)
		}
		if s.Wait(t.Context()); !fills(s, "60") {
			t.Error("config-defaults is not read")
		}
	})
}

// No program waits longer than the grace period for settings that cannot be read.
func TestKnownAfterGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings(t)
		s.synced = append(s.synced, func() bool { return false })
		if s.Known() {
			t.Error("Known() = true at the start")
		}
		began := time.Now()
		if s.Wait(t.Context()); !s.Known() || time.Since(began) > 2*grace {
			t.Errorf("Known() = %t after %v", s.Known(), time.Since(began))
		}
	})
}

func settings(t *testing.T) *Settings {
	s := NewSettings()
	s.logger, s.started = logtesting.TestLogger(t), time.Now()
	return s
}

// A ConfigMap that does not parse does not end the program, even if it is the first.
func TestInvalidFirstConfigMapDoesNotEndTheProgram(t *testing.T) {
	s := NewSettings()
	s.logger = failsOnFatal{t}
	s.OnConfigChanged(defaults("much"))
	s.OnConfigChanged(deploymentMap(map[string]string{"registries-skipping-tag-resolving": "quay.io"}))
	if !fills(s, "300") || s.Covers(holding("quay.io"), grant.Image{Reference: "localhost/app"}) {
		t.Error("A ConfigMap that does not parse has an effect")
	}
}

type failsOnFatal struct{ t *testing.T }

func (f failsOnFatal) Debugf(string, ...any)        {}
func (f failsOnFatal) Infof(string, ...any)         {}
func (f failsOnFatal) Errorf(string, ...any)        {}
func (f failsOnFatal) Fatalf(text string, a ...any) { f.t.Errorf("the program ends: "+text, a...) }

func deploymentMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace(), Name: "config-deployment"}, Data: data}
}

func holding(registries ...string) *v1alpha1.ClusterPullSecret {
	var cps v1alpha1.ClusterPullSecret
	cps.Status.Registries = registries
	return &cps
}

// The settings of images in config-deployment take effect, by Knative's parser, and
// registered functions are called for changes of those only.
func TestSettingsOfImages(t *testing.T) {
	cps := holding("ghcr.io", "localhost", "ko.local")
	queueProxy, hub, local := grant.Image{QueueProxy: true}, grant.Image{Reference: "localhost/acme/app"}, grant.Image{Reference: "ko.local/acme/app"}
	heard, s := 0, settings(t)
	s.OnImages(func() { heard++ })
	for _, step := range []struct {
		reason string
		data   map[string]string
		covers []grant.Image
		heard  int
	}{
		{"nothing is set", nil, []grant.Image{local}, 0},
		{"a queue-proxy", map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue"}, []grant.Image{local, queueProxy}, 1},
		{"another setting, which only a newer Knative knows", map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue", "default-affinity-type": "new"}, []grant.Image{local, queueProxy}, 1},
		{"no queue-proxy, which Knative does not accept", map[string]string{}, []grant.Image{local, queueProxy}, 1},
		{"a queue-proxy of another registry", map[string]string{"queue-sidecar-image": "quay.io/acme/queue"}, []grant.Image{local}, 2},
		{"the key of an old Knative", map[string]string{"queueSidecarImage": "ghcr.io/acme/queue"}, []grant.Image{local, queueProxy}, 3},
		{
			"unresolved registries", map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue", "registries-skipping-tag-resolving": "quay.io, index.docker.io"},
			[]grant.Image{local, queueProxy, hub}, 4,
		},
		{"the same in another order", map[string]string{"queue-sidecar-image": "ghcr.io/acme/queue", "registries-skipping-tag-resolving": "index.docker.io,quay.io"}, []grant.Image{local, queueProxy, hub}, 4},
	} {
		if step.data != nil {
			s.OnConfigChanged(deploymentMap(step.data))
		}
		for _, image := range []grant.Image{queueProxy, hub, local} {
			if got, want := s.Covers(cps, image), slices.Contains(step.covers, image); got != want {
				t.Errorf("%s: Covers(%+v) = %t, want %t", step.reason, image, got, want)
			}
		}
		if heard != step.heard {
			t.Errorf("%s: called %d times, want %d", step.reason, heard, step.heard)
		}
	}
}

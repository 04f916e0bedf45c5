// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package knative

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	logtesting "knative.dev/pkg/logging/testing"

	"pullsecrets.dev/pkg/template"
)

func defaults(timeout string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace(), Name: "config-defaults"},
		Data:       map[string]string{"revision-timeout-seconds": timeout},
	}
}

// fills reports whether these settings fill in that timeout.
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

// A ConfigMap is followed live, one that does not parse leaves what was, and one that
// goes away too, as in Knative.
func TestSettingsAreFollowed(t *testing.T) {
	s := newSettings(logtesting.TestLogger(t))
	if !fills(s, "300") {
		t.Error("The first settings are not those that Knative is compiled with")
	}
	s.store.OnConfigChanged(defaults("60"))
	if !fills(s, "60") {
		t.Error("A change of config-defaults has no effect")
	}
	s.store.OnConfigChanged(defaults("much"))
	if !fills(s, "60") {
		t.Error("A ConfigMap that does not parse has an effect")
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Follow(t.Context(), fake.NewClientset(defaults("60")), logtesting.TestLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		for !s.Known() {
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if !fills(s, "60") {
			t.Error("config-defaults is not read")
		}
	})
}

// Nobody waits for long for what cannot be read.
func TestKnownAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSettings(logtesting.TestLogger(t))
		s.synced = append(s.synced, func() bool { return false })
		if s.Known() {
			t.Error("Known() = true at the start")
		}
		time.Sleep(grace + time.Second)
		if !s.Known() {
			t.Error("Known() = false for ever")
		}
	})
}

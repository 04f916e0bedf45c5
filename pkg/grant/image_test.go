// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// Whether a copy covers an image is decided by the status and Knative's settings.
func TestCovers(t *testing.T) {
	const digest = "@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	queueProxy := grant.Image{QueueProxy: true}
	mirrored := grant.ImageSettings{QueueProxy: "ghcr.io/acme/queue:v1", Unresolved: sets.New("localhost", "index.docker.io")}
	for _, test := range []struct {
		reason   string
		settings grant.ImageSettings
		image    grant.Image
		want     bool
	}{
		{"a registry of its", grant.ImageSettings{}, grant.Image{Reference: "ghcr.io/acme/app"}, true},
		{"another path", grant.ImageSettings{}, grant.Image{Reference: "ghcr.io/other/app"}, false},
		{"another registry", grant.ImageSettings{}, grant.Image{Reference: "quay.io/acme/app"}, false},
		{"an image volume", grant.ImageSettings{}, grant.Image{Reference: "ghcr.io/acme/model", KubeletAlone: true}, true},
		{"an image volume of another registry", grant.ImageSettings{}, grant.Image{Reference: "quay.io/acme/model", KubeletAlone: true}, false},
		{"an image that tag resolution looks for on Docker Hub", grant.ImageSettings{}, grant.Image{Reference: "localhost/acme/app"}, false},
		{"the same as an image volume", grant.ImageSettings{}, grant.Image{Reference: "localhost/acme/model", KubeletAlone: true}, true},
		// Knative reads localhost as a path of Docker Hub.
		{"tags of the Hub that are not resolved", mirrored, grant.Image{Reference: "localhost/acme/app"}, true},
		{"the same for a digest", mirrored, grant.Image{Reference: "localhost/acme/app" + digest}, true},
		{"tags of another registry that are not resolved", grant.ImageSettings{Unresolved: sets.New("quay.io")}, grant.Image{Reference: "localhost/acme/app"}, false},
		{"an unresolved tag that the kubelet has no credential for either", grant.ImageSettings{Unresolved: sets.New("quay.io")}, grant.Image{Reference: "quay.io/acme/app"}, false},
		{"no name of an image", grant.ImageSettings{Unresolved: sets.New("")}, grant.Image{Reference: "ghcr.io/acme/App"}, false},
		{"the queue-proxy", mirrored, queueProxy, true},
		{"a queue-proxy that is not known", grant.ImageSettings{}, queueProxy, false},
		{"a queue-proxy of another registry", grant.ImageSettings{QueueProxy: "gcr.io/knative-releases/queue"}, queueProxy, false},
		{"a queue-proxy by digest", grant.ImageSettings{QueueProxy: "ghcr.io/acme/queue" + digest}, queueProxy, true},
		{"a queue-proxy that tag resolution would look for elsewhere", grant.ImageSettings{QueueProxy: "localhost/acme/queue"}, queueProxy, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var cps v1alpha1.ClusterPullSecret
			cps.Status.Registries = []string{"ghcr.io/acme", "localhost"}
			if got := test.settings.Covers(&cps, test.image); got != test.want {
				t.Errorf("Covers(%+v) = %t, want %t", test.image, got, test.want)
			}
		})
	}
}

func TestImageSettingsEqual(t *testing.T) {
	a := grant.ImageSettings{QueueProxy: "a", Unresolved: sets.New("x", "y")}
	for _, test := range []struct {
		other grant.ImageSettings
		want  bool
	}{
		{grant.ImageSettings{QueueProxy: "a", Unresolved: sets.New("y", "x")}, true},
		{grant.ImageSettings{QueueProxy: "b", Unresolved: sets.New("y", "x")}, false},
		{grant.ImageSettings{QueueProxy: "a", Unresolved: sets.New("x")}, false},
	} {
		if got := a.Equal(test.other); got != test.want {
			t.Errorf("Equal(%v) = %t, want %t", test.other, got, test.want)
		}
	}
}

func TestImagesAreBounded(t *testing.T) {
	var many []grant.Image
	for i := range 3 * grant.MaxImages {
		many = append(many, grant.Image{Reference: fmt.Sprint(i / 2)})
	}
	got := grant.Images(many)
	if len(got) != grant.MaxImages {
		t.Fatalf("%d images, want %d", len(got), grant.MaxImages)
	}
	for i, image := range got {
		if image.Reference != fmt.Sprint(i) {
			t.Errorf("image %d is %s, want each once and in order", i, image.Reference)
		}
	}
}

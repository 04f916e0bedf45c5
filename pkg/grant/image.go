// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
)

// Image is an image that the Pods of a Service need.
type Image struct {
	Reference string
	// KubeletAlone: Knative resolves no tag of it, so that the kubelet is the only
	// one to look for its credential. So it is with image volumes.
	KubeletAlone bool
	// QueueProxy: it is the image of the container that Knative adds to every Pod. The
	// settings have its reference.
	QueueProxy bool
}

// MaxImages is how many images of one Service credentials are looked for: each costs a
// look at each ClusterPullSecret, and a tenant can write as many as the API server takes.
const MaxImages = 64

// Images returns the first [MaxImages] of images, each once.
func Images(images []Image) []Image {
	seen := sets.New[Image]()
	var distinct []Image
	for _, image := range images {
		if len(distinct) == MaxImages {
			break
		}
		if !seen.Has(image) {
			seen.Insert(image)
			distinct = append(distinct, image)
		}
	}
	return distinct
}

// Covers reports whether a ClusterPullSecret holds a credential for an image.
type Covers func(cps *v1alpha1.ClusterPullSecret, image Image) bool

// ImageSettings is what Knative's settings say about the images of all Services.
type ImageSettings struct {
	// QueueProxy is the reference of the queue-proxy's image. It is empty where it is
	// not known, and then nothing covers it.
	QueueProxy string
	// Unresolved are the registries whose tags Knative does not resolve.
	Unresolved sets.Set[string]
}

// Equal reports whether both say the same.
func (s ImageSettings) Equal(other ImageSettings) bool {
	return s.QueueProxy == other.QueueProxy && s.Unresolved.Equal(other.Unresolved)
}

// Covers reports whether a copy of a ClusterPullSecret holds a credential for an image.
// It decides by the registries in the status, so that no program needs to read a Secret
// for it. Where Knative resolves no tag, the kubelet's rule alone decides.
func (s ImageSettings) Covers(cps *v1alpha1.ClusterPullSecret, image Image) bool {
	registries := cps.Status.Registries
	switch {
	case image.QueueProxy:
		return s.QueueProxy != "" && dockerconfig.CoversForKubelet(registries, s.QueueProxy)
	case image.KubeletAlone, s.Unresolved.Has(dockerconfig.RegistryOf(image.Reference)):
		return dockerconfig.CoversForKubelet(registries, image.Reference)
	}
	return dockerconfig.Covers(registries, image.Reference)
}

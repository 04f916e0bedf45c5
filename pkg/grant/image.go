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
	// KubeletAlone means that Knative does not resolve its tag, so that only the kubelet
	// needs a credential. This is so for image volumes.
	KubeletAlone bool
	// QueueProxy means the image of the container that Knative adds to every Pod. Its
	// reference is in the settings.
	QueueProxy bool
}

// MaxImages is the number of images of one Service for which credentials are searched:
// each is compared with each ClusterPullSecret, and the number of images in a Service has
// no other limit.
const MaxImages = 64

// Images returns the first [MaxImages] distinct images.
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

// ImageSettings are Knative's settings for the images of all Services.
type ImageSettings struct {
	// QueueProxy is the reference of the queue-proxy's image. If it is empty, nothing
	// covers that image.
	QueueProxy string
	// Unresolved are the registries whose tags Knative does not resolve.
	Unresolved sets.Set[string]
}

// Equal reports whether both settings are equal.
func (s ImageSettings) Equal(other ImageSettings) bool {
	return s.QueueProxy == other.QueueProxy && s.Unresolved.Equal(other.Unresolved)
}

// Covers reports whether a copy of a ClusterPullSecret holds a credential for an image. It
// uses the registries in the status, so that no program needs to read a Secret for it. If
// Knative does not resolve the tag, only the kubelet's rule applies.
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

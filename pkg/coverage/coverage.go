// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// Kind is what a Pod uses an image for.
type Kind string

// The kinds of images.
const (
	Container     Kind = "container"
	InitContainer Kind = "init container"
	ImageVolume   Kind = "image volume"
	QueueProxy    Kind = "queue-proxy"
)

// Image is an image of a template.
type Image struct {
	Kind Kind
	// Name of the container or of the volume.
	Name      string
	Reference string
}

// Template is what coverage depends on of the template of a Service, or of a Revision.
type Template struct {
	// Images are those of its Pods but the queue-proxy, which [Of] adds.
	Images []Image
	// PullSecrets are the names in its imagePullSecrets, in order.
	PullSecrets []string
	// ServiceAccount are the names in the imagePullSecrets of its ServiceAccount, in order.
	ServiceAccount []string
	// AccountUnknown means that the ServiceAccount could not be read.
	AccountUnknown bool
	// Resolved means that the status of the Revision has all digests, so that tag resolution
	// reads nothing.
	Resolved bool
}

// TemplateOf returns what a template or a Revision says itself: its images in the order
// containers, init containers and image volumes, and its list.
func TemplateOf(spec *corev1.PodSpec) Template {
	var t Template
	for i := range spec.Containers {
		t.Images = append(t.Images, Image{Container, spec.Containers[i].Name, spec.Containers[i].Image})
	}
	for i := range spec.InitContainers {
		t.Images = append(t.Images, Image{InitContainer, spec.InitContainers[i].Name, spec.InitContainers[i].Image})
	}
	for i := range spec.Volumes {
		if from := spec.Volumes[i].Image; from != nil {
			t.Images = append(t.Images, Image{ImageVolume, spec.Volumes[i].Name, from.Reference})
		}
	}
	for _, secret := range spec.ImagePullSecrets {
		t.PullSecrets = append(t.PullSecrets, secret.Name)
	}
	return t
}

// State is how much is known of a Secret.
type State int

// The states of Secrets.
const (
	// Unknown means that it was not read. A name without a Secret is unknown.
	Unknown State = iota
	// Absent means that it does not exist.
	Absent
	// Ungranted means that it does not exist, and that no ClusterPullSecret with this name
	// is granted to the namespace.
	Ungranted
	// Known means that it exists or will exist, with these facts.
	Known
)

// Secret is what is known of a Secret.
type Secret struct {
	State State
	Facts dockerconfig.Facts
	// Expires is when its credentials expire that do not say so themselves, or zero.
	Expires metav1.Time
	// CopyOf is the ClusterPullSecret that it is a copy of, or will be. It is empty for any
	// other Secret, and where that is not known.
	CopyOf string
}

// Result is the coverage of one image.
type Result struct {
	Image
	// ByDigest means that the image is given by digest, so that Knative resolves no tag.
	ByDigest bool
	// SkipsResolution means that Knative resolves no tags of its registry.
	SkipsResolution bool
	// Verdicts are those of the readers.
	Verdicts [dockerconfig.Readers]Verdict
}

// Verdict is how one reader gets a credential for one image.
type Verdict struct {
	Reason Reason
	// Repository is where the reader looks for the image. It is empty if it does not.
	Repository string
	// Entries are what each Secret has for the image: those that the reader reads, in its
	// order, and then the others. They are empty if the reader looks for no credential.
	Entries []Entry
	// decisive is the position of the entry that the reason is about, or -1.
	decisive int
}

// Entry is what one Secret has for one image and reader.
type Entry struct {
	// Secret is its name. It is empty for entries that are not known.
	Secret string
	// ServiceAccount means that it is in the list of the ServiceAccount, and not in the
	// template's.
	ServiceAccount bool
	// Unread means that the reader does not read the Secret: because the template's list
	// replaces the ServiceAccount's in the Pod, or because it is in neither.
	Unread bool
	// Reason is why it covers the image, or why not.
	Reason Reason
	// Key is the key that matches, or that should.
	Key string
	// Better is the key to use instead, for WrongKey.
	Better string
	// Turn is the place of the key among those that the reader tries, from 1. It is 0 if the
	// key does not match.
	Turn int
	// Expires is when the credential expires, or zero if that is not known.
	Expires metav1.Time
	// Problem is what is wrong with the Secret, for Malformed and WrongType.
	Problem error
	// CopyOf is that of the Secret.
	CopyOf string
}

// Covered reports whether both readers have what they need.
func (r Result) Covered() bool {
	_, _, failing := r.Failing()
	return !failing
}

// Failing returns the first reader that does not have what it needs.
func (r Result) Failing() (reader dockerconfig.Reader, verdict Verdict, failing bool) {
	for reader := range dockerconfig.Readers {
		if !r.Verdicts[reader].Reason.OK() {
			return reader, r.Verdicts[reader], true
		}
	}
	return 0, Verdict{}, false
}

// Decisive returns the entry that the reason is about. There is none for InvalidImage,
// NotResolved and NoPullSecrets, and for NotChecked if the image is not known or not checked.
func (v Verdict) Decisive() (Entry, bool) {
	if v.decisive < 0 {
		return Entry{}, false
	}
	return v.Entries[v.decisive], true
}

const (
	// maxReference is the length of the longest reference that can be pulled: a host has at
	// most 253 bytes, a path 255 and a tag 128.
	maxReference = 1024
	// maxLabel is the length of the longest label of a host (RFC 1035), with a port.
	maxLabel = 63 + len(":65535")
)

// Of returns the coverage of the images of a template, in their order, and of the
// queue-proxy's image at the end.
//
// secrets are by name what is known of the Secrets in both lists. A further one is in neither;
// it is a candidate that could be added, such as that of a granted ClusterPullSecret.
func Of(t Template, secrets map[string]Secret, settings grant.ImageSettings, now metav1.Time) []Result {
	images := append(slices.Clip(t.Images), Image{QueueProxy, string(QueueProxy), settings.QueueProxy})
	views := [dockerconfig.Readers]view{}
	for reader := range dockerconfig.Readers {
		views[reader] = viewOf(reader, t, secrets)
	}
	results := make([]Result, len(images))
	for i, image := range images {
		r := &results[i]
		r.Image = image
		if i >= grant.MaxImages || image.Kind == QueueProxy && image.Reference == "" {
			for reader := range r.Verdicts {
				r.Verdicts[reader] = Verdict{Reason: NotChecked, decisive: -1}
			}
			continue
		}
		r.check(&views, settings, t.Resolved, now)
	}
	return results
}

// check fills in what depends on the image.
func (r *Result) check(views *[dockerconfig.Readers]view, settings grant.ImageSettings, resolved bool, now metav1.Time) {
	r.ByDigest = dockerconfig.ByDigest(r.Reference)
	target, parsed := targetOf(dockerconfig.TagResolution, r.Reference)
	r.SkipsResolution = parsed && settings.Unresolved.Has(target.Host())
	read := !resolved && (r.Kind == Container || r.Kind == InitContainer)
	asked := !r.ByDigest && !r.SkipsResolution
	r.Verdicts[dockerconfig.TagResolution] = views[dockerconfig.TagResolution].resolution(target, parsed, read, asked, now)

	pulled := r.Reference
	if parsed && asked && r.Kind == Container {
		pulled = target.Repository
	}
	target, parsed = targetOf(dockerconfig.Kubelet, pulled)
	r.Verdicts[dockerconfig.Kubelet] = views[dockerconfig.Kubelet].verdict(target, parsed, now)
}

// targetOf returns where a reader looks for an image, if that can exist.
func targetOf(reader dockerconfig.Reader, reference string) (dockerconfig.Target, bool) {
	if len(reference) > maxReference {
		return dockerconfig.Target{}, false
	}
	target, parsed := reader.Target(reference)
	for label := range strings.SplitSeq(target.Host(), ".") {
		parsed = parsed && len(label) <= maxLabel
	}
	return target, parsed
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/rollout"
)

// maxFailure is the number of characters of a message of Knative or a node that are shown.
const maxFailure = 300

// failure is what is observed of the newest Revision.
type failure struct {
	// ready is True, False or Unknown.
	ready string
	// message is that of Knative or the node, or empty.
	message string
	// pull means that an image could not be pulled or its tag not resolved.
	pull bool
	// rejected means that the registry rejected the request for lack of a valid credential.
	rejected bool
	// container is the container whose image the node could not pull, if that is known.
	container string
	// node means that a node could not pull the image, and not Knative resolve its tag.
	node bool
	// at is when Knative reported it, or zero.
	at metav1.Time
}

// observe returns what is observed of the newest Revision.
func (s *subject) observe() failure {
	configurations := s.Service.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)
	f := failure{ready: "Unknown", at: s.failedAt()}
	if configurations != nil && s.Service.Status.ObservedGeneration == s.Service.Generation {
		f.ready = string(configurations.Status)
	}
	if f.ready == string(corev1.ConditionTrue) {
		return f
	}
	newest := s.newest()
	// Conditions keep the message until the Revision is Ready.
	outdated := func(message string) bool {
		return newest != nil && rollout.Resolved(newest) && strings.Contains(message, unresolved)
	}
	if configurations.IsFalse() && !outdated(configurations.GetMessage()) {
		f.take(configurations.GetMessage())
	}
	if newest != nil {
		for _, condition := range newest.Status.Conditions {
			if condition.IsFalse() && condition.Type != apis.ConditionReady && !outdated(condition.Message) {
				f.take(condition.Message)
			}
		}
	}
	for _, pod := range s.Pods {
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if w := status.State.Waiting; w != nil && slices.Contains(pullReasons, w.Reason) && !f.pull {
				f.take(w.Reason + ": " + w.Message)
				f.pull, f.node, f.container, f.at = true, true, status.Name, metav1.Time{}
			}
		}
	}
	return f
}

// unresolved is part of each message of Knative about a tag that it could not resolve.
const unresolved = "failed to resolve image to digest"

// pullReasons are those of a container that waits for its image.
var pullReasons = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}

// nodeRejection matches how nodes report that a registry rejected a request: by its status, its
// codes or their texts. None of them can be part of a reference, which messages quote and which
// contains no space.
var nodeRejection = regexp.MustCompile(`(?i)(^|\s)(40[13] (unauthorized|forbidden|\()|(unauthorized|denied): |access denied\b|authentication required\b|no basic auth credentials\b|authorization failed\b)`)

// isRejection reports whether a message says that a registry rejected the credential, or its
// absence. About the resolution of a tag, it is the decision of the controller.
func isRejection(message string) bool {
	return rollout.Rejected(message) || !strings.Contains(message, unresolved) && nodeRejection.MatchString(message)
}

// pulls are parts of messages about a pull or the resolution of a tag that failed.
var pulls = []string{"unable to fetch image", "failed to resolve image", "errimagepull", "imagepullbackoff", "failed to pull"}

// take notes a message, of which the first that is about a pull counts most.
func (f *failure) take(message string) {
	lower := strings.ToLower(message)
	contains := func(part string) bool { return strings.Contains(lower, part) }
	pull := slices.ContainsFunc(pulls, contains)
	if message == "" || f.pull || f.message != "" && !pull {
		return
	}
	f.message, f.pull = Line(message), pull
	f.rejected = pull && isRejection(message)
	f.node = pull && !contains("failed to resolve image")
}

// Line returns a text of others as one line of limited length, so that it cannot forge other
// lines of a report.
func Line(message string) string {
	text := Plain(message)
	if runes := []rune(text); len(runes) > maxFailure {
		text = string(runes[:maxFailure]) + "…"
	}
	return strings.TrimSpace(text)
}

// quoted returns a value of a user for a message.
func quoted(text string) string { return annotation.Quote(text) }

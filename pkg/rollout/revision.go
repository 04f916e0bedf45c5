// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"regexp"
	"strings"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// Resolved reports whether the status of a Revision has all digests. Knative never resolves
// its tags again (revision.go:84-88 of knative.dev/serving/pkg/reconciler/revision v0.50.0).
func Resolved(r *servingv1.Revision) bool {
	return len(r.Status.ContainerStatuses)+len(r.Status.InitContainerStatuses) == len(r.Spec.Containers)+len(r.Spec.InitContainers)
}

// rejection matches how go-containerregistry reports the status 401 and 403 in the condition of
// a Revision: by the status, or by the codes of the registry
// (pkg/v1/remote/transport/error.go).
var rejection = regexp.MustCompile(`status code 40[13]\b|\b(UNAUTHORIZED|DENIED): `)

// Rejected reports whether the message of a Revision whose tag was not resolved says that the
// registry rejected the credential, or its absence. The image that the message quotes does not
// count: a tag or a digest may contain 401.
func Rejected(message string) bool { return rejection.MatchString(message) }

// Mentions reports whether a message has this image reference, or this repository: as a whole,
// not as a part of a longer one. A reference to Docker Hub may have its host in the message
// and not in image. CRI-O writes references as URLs, docker://ghcr.io/acme/app.
func Mentions(message, image string) bool {
	for from := 0; image != ""; {
		at := strings.Index(message[from:], image)
		if at < 0 {
			break
		}
		before, after := message[:from+at], message[from+at+len(image):]
		if begins(before) && !continues(strings.TrimPrefix(after, ".")) {
			return true
		}
		from += at + 1
	}
	return false
}

// begins reports whether a reference can begin after this text.
func begins(before string) bool {
	if before == "" || strings.HasSuffix(before, "://") || !continues(before[len(before)-1:]) {
		return true
	}
	for _, hub := range []string{"docker.io/library/", "docker.io/"} {
		if rest, found := strings.CutSuffix(before, hub); found {
			return begins(strings.TrimSuffix(rest, "index."))
		}
	}
	return false
}

// continues reports whether text begins with a character that a reference has besides its
// colons and its @.
func continues(text string) bool {
	const others = "_-/."
	return text != "" && (text[0] >= 'a' && text[0] <= 'z' || text[0] >= 'A' && text[0] <= 'Z' || text[0] >= '0' && text[0] <= '9' || strings.IndexByte(others, text[0]) >= 0)
}

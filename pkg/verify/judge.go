// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Result is what is known of a credential.
type Result string

const (
	// Accepted means that a registry let the credential read an image.
	Accepted Result = "accepted"
	// Rejected means that a registry answered 401 or 403.
	Rejected Result = "rejected"
	// Unknown means that no registry said either.
	Unknown Result = "unknown"
)

// Answer is the answer to a question.
type Answer struct {
	Question
	Result Result
	// Why is a few words of our own if the result is not Accepted.
	Why string
}

// Verdict is what all answers say about a credential.
type Verdict struct {
	Result Result
	// Message names the registries and the cause. It is empty if all are accepted. It is
	// stable as long as the registries answer the same.
	Message string
	// Rejected are the registries whose credential is rejected.
	Rejected []string
}

// Judge returns what answers say. For images that the platform team named, each must be
// accepted; for those of Services, one of each credential. There, the rejection of an image
// that is not proven says nothing: a tenant can name one that nobody may read.
func Judge(answers []Answer, named bool) Verdict {
	byRegistry := map[string][]Answer{}
	for _, a := range answers {
		if a.Unproven && a.Result == Rejected {
			a.Result, a.Why = Unknown, a.Why+" for an image that no Service has pulled with this credential"
		}
		byRegistry[a.Registry] = append(byRegistry[a.Registry], a)
	}
	messages := map[Result][]string{}
	var rejected []string
	for _, registry := range slices.Sorted(maps.Keys(byRegistry)) {
		worst := judgeOne(byRegistry[registry], named)
		if worst.Result == Rejected {
			rejected = append(rejected, registry)
		}
		messages[worst.Result] = append(messages[worst.Result], fmt.Sprintf("%s: %s", registry, worst.Why))
	}
	switch {
	case len(messages[Rejected]) > 0:
		return Verdict{Rejected, joined(messages[Rejected]), rejected}
	case len(messages[Unknown]) > 0:
		return Verdict{Result: Unknown, Message: joined(messages[Unknown])}
	case len(messages[Accepted]) > 0:
		return Verdict{Result: Accepted}
	}
	return Verdict{Result: Unknown, Message: "no image to ask for"}
}

// maxMessages is the number of credentials that a verdict names.
const maxMessages = 8

func joined(messages []string) string {
	if more := len(messages) - maxMessages; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(messages[:maxMessages], "; "), more)
	}
	return strings.Join(messages, "; ")
}

// judgeOne returns the answer that counts for one credential.
func judgeOne(answers []Answer, named bool) Answer {
	order := []Result{Accepted, Rejected, Unknown}
	if named {
		order = []Result{Rejected, Unknown, Accepted}
	}
	for _, result := range order {
		var found []Answer
		for _, a := range answers {
			if a.Result == result {
				found = append(found, a)
			}
		}
		if len(found) > 0 {
			// The same one whatever the order of the questions.
			return slices.MinFunc(found, func(a, b Answer) int { return strings.Compare(a.Why, b.Why) })
		}
	}
	return Answer{Result: Unknown}
}

// Errors of this package, which say that nothing was sent.
var (
	errOtherHost    = errors.New("it redirects to another host")
	errPlainHTTP    = errors.New("it refers to plain HTTP")
	errProxiedHTTP  = errors.New("it is asked over plain HTTP, which is not sent through a proxy")
	errPrivate      = errors.New("it refers to a token server with a private address")
	errTooManyHosts = errors.New("it refers to several token servers")
	errTooLong      = errors.New("its answer is too long")
)

// resultOf returns what the outcome of a question means. denied is the status 401 or 403 of the
// last request with the credential, or zero. Errors of the library quote the registry, so they
// are not shown.
func resultOf(err error, denied int) (Result, string) {
	if err == nil {
		return Accepted, ""
	}
	for _, own := range []error{errOtherHost, errPlainHTTP, errProxiedHTTP, errPrivate, errTooManyHosts, errTooLong} {
		if errors.Is(err, own) {
			return Unknown, own.Error()
		}
	}
	var (
		answered    *transport.Error
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &certificate), errors.As(err, &authority):
		return Unknown, "its certificate is not trusted"
	case errors.As(err, &answered):
		why := fmt.Sprintf("%d %s", answered.StatusCode, http.StatusText(answered.StatusCode))
		if denied != 0 && (answered.StatusCode == http.StatusUnauthorized || answered.StatusCode == http.StatusForbidden) {
			return Rejected, why
		}
		return Unknown, why
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unknown, noAnswer
	}
	return Unknown, "it cannot be reached, or does not answer as a registry"
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// sessions are the sessions of one check with one registry, by the key of the credential. So no
// connection and no token is used with two credentials.
type sessions struct {
	c         *Checker
	named     bool
	questions []Question
	open      map[string]*session
}

// of returns the session with a credential.
func (s *sessions) of(key string, registry name.Registry, username, password string) *session {
	if found := s.open[key]; found != nil {
		return found
	}
	made := &session{
		guard: newGuard(s.c.transport(), s.c.rate, registry), byScope: map[string]http.RoundTripper{},
		login: authn.FromConfig(authn.AuthConfig{Username: username, Password: password}),
	}
	// Of the images of Services, one is enough, so that a token for all is not needed.
	for _, q := range s.questions {
		reference, err := name.ParseReference(q.Image, name.WeakValidation)
		if err != nil || q.Registry != key || !s.named {
			continue
		}
		if scope := reference.Context().Scope(transport.PullScope); !slices.Contains(made.scopes, scope) {
			made.scopes = append(made.scopes, scope)
		}
	}
	if s.open == nil {
		s.open = map[string]*session{}
	}
	s.open[key] = made
	return made
}

// close drops the connections and tokens.
func (s *sessions) close() {
	for _, open := range s.open {
		open.guard.close()
	}
}

// session asks one registry with one credential.
type session struct {
	guard *guard
	login authn.Authenticator
	// scopes are the repositories of all questions, if one token is to be asked for all of
	// them. A registry may refuse that because of one of them, so then each is asked for by
	// itself, which is what counts.
	scopes []string
	// all is the transport with the token for all, and byScope are those for one repository.
	all     http.RoundTripper
	byScope map[string]http.RoundTripper
}

// head asks for a manifest.
func (s *session) head(ctx context.Context, reference name.Reference) error {
	s.guard.reset()
	if len(s.scopes) > 1 {
		err := s.headByAll(ctx, reference)
		if err == nil || ctx.Err() != nil || s.guard.deniedBy() == 0 {
			return err
		}
		s.scopes = nil
	}
	scope := reference.Context().Scope(transport.PullScope)
	if s.byScope[scope] == nil {
		made, err := s.authenticate(ctx, scope)
		if err != nil {
			return err
		}
		s.byScope[scope] = made
	}
	return send(ctx, s.byScope[scope], reference)
}

// headByAll asks for a manifest with the token for all repositories.
func (s *session) headByAll(ctx context.Context, reference name.Reference) (err error) {
	if s.all == nil {
		if s.all, err = s.authenticate(ctx, s.scopes...); err != nil {
			return err
		}
	}
	return send(ctx, s.all, reference)
}

// authenticate returns a transport that has a token for these repositories, if the registry
// wants one.
func (s *session) authenticate(ctx context.Context, scopes ...string) (http.RoundTripper, error) {
	return transport.NewWithContext(ctx, s.guard.registry, s.login, transport.NewUserAgent(s.guard, "pullsecrets"), scopes)
}

func send(ctx context.Context, by http.RoundTripper, reference name.Reference) error {
	_, err := remote.Head(reference, remote.WithContext(ctx), remote.WithTransport(by))
	return err
}

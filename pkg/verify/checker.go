// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"pullsecrets.dev/pkg/dockerconfig"
)

const (
	// Timeout is how long a registry may take to answer one question. The time between
	// requests does not count. A registry that takes longer is not asked the other questions.
	Timeout = 10 * time.Second
	// MaxTime is the longest time of a check, which includes the checks of the same registry
	// that it waits for. What is not answered by then is Unknown.
	MaxTime = 2 * time.Minute
)

// perRegistry is the time between two requests to one registry.
const perRegistry = time.Second

// maxHeader is the size of the header of an answer that is read.
const maxHeader = 64 << 10

// Checker asks registries. It is safe for concurrent use.
type Checker struct {
	rate   *rate
	queues *queues
	recent *recent
	// timeout is Timeout, and transport makes one for each credential and check. Tests
	// replace them.
	timeout   time.Duration
	transport func() *http.Transport
}

// NewChecker returns a Checker with the proxies and certificate authorities of the process.
func NewChecker() *Checker {
	return newChecker(perRegistry, Timeout, func() *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: Timeout,
		}
	})
}

func newChecker(period, timeout time.Duration, transport func() *http.Transport) *Checker {
	return &Checker{newRate(period), &queues{}, newRecent(), timeout, transport}
}

// Check asks all questions, and returns the answers, within MaxTime. Those to different
// registries are asked at the same time, and those to one registry after those of other checks
// that came before. If the images are those of Services, which is so unless named, the first
// that is accepted suffices for each credential.
func (c *Checker) Check(ctx context.Context, config dockerconfig.Config, questions []Question, named bool) []Answer {
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	byHost := map[string][]Question{}
	for _, q := range questions {
		byHost[q.Host] = append(byHost[q.Host], q)
	}
	var (
		wait    sync.WaitGroup
		mu      sync.Mutex
		answers []Answer
	)
	for host, of := range byHost {
		wait.Go(func() {
			found := c.checkHost(ctx, config, host, of, named)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, found...)
		})
	}
	wait.Wait()
	return answers
}

// Reasons why a question was not answered.
var (
	noAnswer = fmt.Sprintf("no answer within %s", Timeout)
	noTurn   = fmt.Sprintf("too many requests wait for it, of which it gets one per second: no turn within %s", MaxTime)
)

// checkHost asks one registry, once it is the turn of this check.
func (c *Checker) checkHost(ctx context.Context, config dockerconfig.Config, host string, questions []Question, named bool) (answers []Answer) {
	if leave, err := c.queues.enter(ctx, host); err == nil {
		defer leave()
	}
	sessions := sessions{c: c, named: named, questions: questions}
	defer sessions.close()
	accepted, silent := map[string]bool{}, false
	for _, q := range questions {
		if accepted[q.Registry] && !named {
			continue
		}
		a := Answer{Question: q}
		switch {
		case ctx.Err() != nil:
			a.Result, a.Why = Unknown, noTurn
		case silent:
			a.Result, a.Why = Unknown, noAnswer
		default:
			a.Result, a.Why, silent = c.ask(ctx, config, &sessions, q)
		}
		accepted[q.Registry] = accepted[q.Registry] || a.Result == Accepted
		answers = append(answers, a)
	}
	return answers
}

// ask sends the requests for one image, as Knative does (digestResolver.Resolve in
// pkg/reconciler/revision/resolve.go of Knative). silent means that the registry took too long.
func (c *Checker) ask(ctx context.Context, config dockerconfig.Config, sessions *sessions, q Question) (result Result, why string, silent bool) {
	reference, err := name.ParseReference(q.Image, name.WeakValidation)
	username, password, found := config.LoginOf(q.Registry, q.Image)
	if err != nil || !found || reference.Context().RegistryStr() != q.Host {
		return Unknown, "the source has changed", false
	}
	same := c.recent.keyOf(q.Host, q.Image, username, password)
	if result, why, known := c.recent.find(same, time.Now()); known {
		return result, why, false
	}
	limited, cancel := withBusyTimeout(ctx, c.timeout)
	defer cancel()
	s := sessions.of(q.Registry, reference.Context().Registry, username, password)
	err = s.head(limited, reference)
	result, why = resultOf(err, s.guard.deniedBy())
	if err != nil && ctx.Err() != nil || errors.Is(err, errNoTurn) {
		return Unknown, noTurn, false
	}
	if err == nil || limited.Err() == nil {
		c.recent.note(same, result, why, time.Now())
	}
	return result, why, err != nil && limited.Err() != nil
}

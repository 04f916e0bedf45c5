// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/dockerconfig"
)

// checkOne asks one registry for one image.
func checkOne(t *testing.T, c *Checker, password, host string) Answer {
	t.Helper()
	config := configOf(t, password, host)
	questions, uncovered := PlanFor(config.Registries(), []string{host + "/acme/app:1"})
	answers := c.Check(t.Context(), config, questions, true)
	if len(answers) != 1 || len(uncovered) != 0 {
		t.Fatalf("%d answers, and %q are uncovered", len(answers), uncovered)
	}
	if strings.Contains(fmt.Sprintf("%+v", answers), canary) {
		t.Errorf("The answer contains the credential: %+v", answers)
	}
	return answers[0]
}

func TestBasicAuthentication(t *testing.T) {
	c := newTestChecker(t, Timeout)
	for _, tt := range []struct {
		status   int
		password string
		want     Result
		why      string
	}{
		{200, canary, Accepted, ""},
		{200, "wrong", Rejected, "401 Unauthorized"},
		{403, canary, Rejected, "403 Forbidden"},
		{404, canary, Unknown, "404 Not Found"},
		{429, canary, Unknown, "429 Too Many Requests"},
		{500, canary, Unknown, "500 Internal Server Error"},
		{503, canary, Unknown, "503 Service Unavailable"},
	} {
		s := newServer(t, (*httptest.Server).StartTLS, basic(tt.status))
		if got := checkOne(t, c, tt.password, s.host()); got.Result != tt.want || got.Why != tt.why {
			t.Errorf("%d with %q: %s (%s), want %s (%s)", tt.status, tt.password, got.Result, got.Why, tt.want, tt.why)
		}
	}
}

// A firewall that answers 403 to all says nothing about a credential that it was not sent.
func TestDeniedWithoutACredentialIsUnknown(t *testing.T) {
	s := newServer(t, (*httptest.Server).StartTLS, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if got := checkOne(t, newTestChecker(t, Timeout), canary, s.host()); got.Result != Unknown {
		t.Errorf("%+v, want it to be unknown", got)
	}
}

func TestTokenServer(t *testing.T) {
	c := newTestChecker(t, Timeout)
	auth := newServer(t, (*httptest.Server).StartTLS, tokens)
	s := newServer(t, (*httptest.Server).StartTLS, bearer(auth.URL+"/token"))
	if got := checkOne(t, c, canary, s.host()); got.Result != Accepted {
		t.Errorf("with the right password: %+v", got)
	}
	if got := checkOne(t, c, "wrong", s.host()); got.Result != Rejected || got.Why != "401 Unauthorized" {
		t.Errorf("with the wrong password: %+v", got)
	}
	powerless := newServer(t, (*httptest.Server).StartTLS, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"no access"}`) })
	s = newServer(t, (*httptest.Server).StartTLS, bearer(powerless.URL))
	if got := checkOne(t, c, canary, s.host()); got.Result != Rejected {
		t.Errorf("with a token without access: %+v", got)
	}
}

// No request at all goes to a host that is neither the registry nor its token server.
func TestCredentialsStayWithTheRegistry(t *testing.T) {
	c := newTestChecker(t, Timeout)
	thief := newServer(t, (*httptest.Server).StartTLS, func(http.ResponseWriter, *http.Request) {})
	plain := newServer(t, (*httptest.Server).Start, tokens)
	toThief := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}
	redirecting := newServer(t, (*httptest.Server).StartTLS, toThief)
	for reason, handler := range map[string]http.HandlerFunc{
		"redirects all": toThief,
		"redirects manifests": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				basic(200)(w, r)
			} else {
				toThief(w, r)
			}
		},
		"has a token server over plain HTTP":                bearer(plain.URL),
		"has a token server that redirects":                 bearer(redirecting.URL),
		"redirects to itself over plain HTTP, another port": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) },
		"names two token servers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://first.example.com",service="x",Bearer realm=%q`, thief.URL))
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		s := newServer(t, (*httptest.Server).StartTLS, handler)
		if got := checkOne(t, c, canary, s.host()); got.Result != Unknown || got.Why == "" {
			t.Errorf("A registry that %s: %+v, want it to be unknown", reason, got)
		}
		for _, other := range []*server{thief, plain} {
			if requests, credentials := other.counts(); requests != 0 || credentials != 0 {
				t.Errorf("A registry that %s: %d requests went elsewhere, %d with a credential", reason, requests, credentials)
			}
		}
	}
}

// A registry that hangs holds up nobody, and its own check for no longer than the timeout.
func TestHangingRegistry(t *testing.T) {
	release := make(chan struct{})
	hanging := newServer(t, (*httptest.Server).StartTLS, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	good := newServer(t, (*httptest.Server).StartTLS, basic(200))
	config := configOf(t, canary, hanging.host(), good.host())
	questions, _ := PlanFor(config.Registries(), []string{hanging.host() + "/first", hanging.host() + "/second", good.host() + "/third"})
	c := newTestChecker(t, 500*time.Millisecond)
	started := time.Now()
	answers := c.Check(t.Context(), config, questions, true)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("It took %s", took)
	}
	if len(answers) != 3 {
		t.Errorf("%d answers, want 3", len(answers))
	}
	for _, a := range answers {
		want := map[bool]Result{true: Unknown, false: Accepted}[a.Host == hanging.host()]
		// On loopback, the library tries plain HTTP meanwhile, as Knative does.
		if a.Result != want || want == Unknown && a.Why == "" {
			t.Errorf("%+v, want %s", a, want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	c := newTestChecker(t, Timeout)
	gone := newServer(t, (*httptest.Server).StartTLS, basic(200))
	gone.Close()
	if got := checkOne(t, c, canary, gone.host()); got.Result != Unknown {
		t.Errorf("nobody listens: %+v", got)
	}
	long := newServer(t, (*httptest.Server).StartTLS, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			for range 64 {
				fmt.Fprint(w, strings.Repeat(" ", 64<<10))
			}
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	if got := checkOne(t, c, canary, long.host()); got.Result != Unknown || got.Why != errTooLong.Error() {
		t.Errorf("a token of 4 MiB: %+v", got)
	}
	untrusting := newTestChecker(t, Timeout)
	untrusting.transport = func() *http.Transport { return &http.Transport{} }
	s := newServer(t, (*httptest.Server).StartTLS, basic(200))
	if got := checkOne(t, untrusting, canary, s.host()); got.Result != Unknown || got.Why != "its certificate is not trusted" {
		t.Errorf("an unknown authority: %+v", got)
	}
	if _, credentials := s.counts(); credentials != 0 {
		t.Error("a registry without a trusted certificate got the credential")
	}
}

// Of the images of Services, one that is accepted suffices.
func TestOneAcceptedImageSuffices(t *testing.T) {
	s := newServer(t, (*httptest.Server).StartTLS, basic(200))
	config := configOf(t, canary, s.host())
	questions, _ := PlanFor(config.Registries(), []string{s.host() + "/first", s.host() + "/second"})
	if got := newTestChecker(t, Timeout).Check(t.Context(), config, questions, false); len(got) != 1 || got[0].Result != Accepted {
		t.Errorf("%+v, want one answer", got)
	}
	// A credential that the source no longer has is not asked about.
	other := configOf(t, canary, "ghcr.io")
	if got := newTestChecker(t, Timeout).Check(t.Context(), other, questions[:1], false); len(got) != 1 || got[0].Result != Unknown {
		t.Errorf("%+v, want it to be unknown", got)
	}
}

func TestRate(t *testing.T) {
	r, now := newRate(time.Second), time.Unix(1e9, 0)
	for i, tt := range []struct {
		host  string
		after time.Duration
		want  time.Duration
	}{{"a", 0, 0}, {"a", 0, time.Second}, {"b", 0, 0}, {"a", 0, 2 * time.Second}, {"a", 5 * time.Second, 0}} {
		if got, ok := r.take(tt.host, now.Add(tt.after), time.Time{}); got != tt.want || !ok {
			t.Errorf("request %d to %s waits %s, want %s", i, tt.host, got, tt.want)
		}
	}
	if len(r.next) != 1 {
		t.Errorf("%d registries are remembered", len(r.next))
	}
	// Who comes too late takes no turn from others.
	if _, ok := r.take("a", now.Add(5*time.Second), now.Add(6*time.Second)); ok {
		t.Error("a turn at the deadline was given")
	}
	if got, ok := r.take("a", now.Add(5*time.Second), now.Add(7*time.Second)); got != time.Second || !ok {
		t.Errorf("the next turn is after %s, %t", got, ok)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r = newRate(time.Hour)
	if err := r.wait(ctx, "a"); !errors.Is(err, context.Canceled) || len(r.next) != 0 {
		t.Errorf("wait = %v, with %d turns reserved", err, len(r.next))
	}
}

// A registry with a public address cannot send the credential, or requests, into the cluster.
func TestAddresses(t *testing.T) {
	type dial struct {
		address, resolved string
		ok                bool
	}
	for reason, dials := range map[string][]dial{
		"a public registry": {
			{"registry.example.com:443", "203.0.113.5:443", true}, {"auth.example.com:443", "203.0.113.6:443", true},
			{"auth.example.com:443", "10.0.0.1:443", false}, {"auth.example.com:443", "127.0.0.1:443", false},
			{"auth.example.com:443", "169.254.169.254:443", false}, {"auth.example.com:443", "[fe80::1]:443", false},
			{"auth.example.com:443", "[fd00::1]:443", false}, {"auth.example.com:443", "0.0.0.0:443", false},
			{"auth.example.com:443", "[::ffff:10.0.0.1]:443", false}, {"proxy.internal:3128", "10.0.0.9:3128", true},
		},
		"a private registry": {
			{"registry.example.com:443", "10.0.0.1:443", true}, {"auth.example.com:443", "10.0.0.2:443", true},
			{"auth.example.com:443", "169.254.169.254:443", false},
		},
	} {
		registry, err := name.NewRegistry("registry.example.com")
		if err != nil {
			t.Fatal(err)
		}
		g := newGuard(&http.Transport{}, newRate(0), registry)
		g.proxies[addressOf(&url.URL{Scheme: "http", Host: "proxy.internal:3128"})] = true
		for _, d := range dials {
			if d.address == "registry.example.com:443" {
				g.reached(netip.MustParseAddrPort(d.resolved).Addr())
			}
			if err := g.mayDial(d.address, d.resolved); (err == nil) != d.ok {
				t.Errorf("%s: %s at %s: %v, want allowed: %t", reason, d.address, d.resolved, err, d.ok)
			}
		}
	}
}

// A registry with a name in the DNS is never asked over plain HTTP.
func TestPlainHTTP(t *testing.T) {
	for host, ok := range map[string]bool{"registry.example.com": false, "127.0.0.1:5000": true, "10.1.2.3:5000": true} {
		registry, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		g := newGuard(&http.Transport{}, newRate(0), registry)
		if err := g.allow(&url.URL{Scheme: "https", Host: registry.RegistryStr()}); err != nil {
			t.Errorf("https://%s: %v", host, err)
		}
		if err := g.allow(&url.URL{Scheme: "http", Host: registry.RegistryStr()}); (err == nil) != ok {
			t.Errorf("http://%s: %v, want allowed: %t", host, err, ok)
		}
	}
}

// A question is asked with the credential that it is about, also if tag resolution uses another one.
func TestTheCredentialOfTheQuestion(t *testing.T) {
	s := newServer(t, (*httptest.Server).StartTLS, basic(200))
	text := fmt.Sprintf(`{"auths":{%q:{"username":"u","password":"wrong"},%q:{"username":"u","password":%q}}}`, s.host()+"/acme", s.host(), canary)
	config, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	questions, all := PlanAs(dockerconfig.Kubelet, config.Registries(), s.host()+"/acme/app:1")
	got := map[string]Result{}
	for _, a := range newTestChecker(t, Timeout).Check(t.Context(), config, questions, true) {
		got[a.Registry] = a.Result
	}
	if want := map[string]Result{s.host() + "/acme": Rejected, s.host(): Accepted}; !maps.Equal(got, want) || !all {
		t.Errorf("answers are %v, want %v", got, want)
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/dockerconfig"
)

// proxy is an HTTP proxy on loopback. All names are those of one server for it.
type proxy struct {
	*httptest.Server
	upstream string

	mu sync.Mutex
	// tunnels are the hosts that were asked for, and sent is all that the client sent.
	tunnels []string
	sent    bytes.Buffer
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	p := &proxy{upstream: upstream}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) Write(sent []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(sent)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.tunnels = append(p.tunnels, r.Method+" "+r.Host)
	fmt.Fprint(&p.sent, r.Header)
	p.mu.Unlock()
	to, err := net.Dial("tcp", p.upstream)
	if r.Method != http.MethodConnect || err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(io.MultiWriter(to, p), buffered); to.Close() }()
	_, _ = io.Copy(from, to)
}

// asChild is set in the environment of the test program that checks through a proxy. Go reads
// HTTPS_PROXY once in a process.
const asChild = "PULLSECRETS_TEST_CHECK"

// TestMain makes the test program the child of checkBehind if the environment says so.
func TestMain(m *testing.M) {
	image := os.Getenv(asChild)
	if image == "" {
		os.Exit(m.Run())
	}
	if err := check(image); err != nil {
		log.Fatal(err)
	}
}

// check prints as JSON what a registry answers.
func check(image string) error {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("this process resolves no name")
	}}
	reference, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, `{"auths":{%q:{"username":"robot","password":%q}}}`, reference.Context().RegistryStr(), canary)
	config, err := dockerconfig.Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text})
	if err != nil {
		return err
	}
	questions, _ := PlanFor(config.Registries(), []string{image})
	return json.NewEncoder(os.Stdout).Encode(NewChecker().Check(context.Background(), config, questions, true))
}

// checkBehind checks as the controller does, in a process with this environment.
func checkBehind(t *testing.T, image string, trusted []byte, env ...string) Answer {
	t.Helper()
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authorities, trusted, 0o600); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append([]string{asChild + "=" + image, "SSL_CERT_FILE=" + authorities, "SSL_CERT_DIR=" + t.TempDir()}, env...)
	out, err := child.CombinedOutput()
	var answers []Answer
	if line, _, _ := bytes.Cut(out, []byte("\n")); err != nil || json.Unmarshal(line, &answers) != nil || len(answers) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return answers[0]
}

// A check goes through the proxy that the environment names, which resolves the names. It sees
// neither credential nor token.
func TestProxy(t *testing.T) {
	var realm string
	s := newServer(t, (*httptest.Server).StartTLS, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "auth.") {
			tokens(w, r)
		} else {
			bearer(realm)(w, r)
		}
	})
	trusted := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	const image = "registry.example.com/acme/app:1"
	for _, tt := range []struct {
		reason, realm, noProxy string
		want                   Result
		why                    string
		tunnels                []string
	}{
		{"the proxy resolves all names, also to loopback", "https://auth.example.com/token", "", Accepted, "", []string{"CONNECT registry.example.com:443", "CONNECT auth.example.com:443"}},
		{"an internal address is no token server", "https://10.0.0.1/token", "", Unknown, errPrivate.Error(), []string{"CONNECT registry.example.com:443"}},
		{"a registry that needs no proxy", "https://auth.example.com/token", "registry.example.com", Unknown, "it cannot be reached, or does not answer as a registry", nil},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			realm = tt.realm
			p := newProxy(t, s.Listener.Addr().String())
			got := checkBehind(t, image, trusted, "HTTPS_PROXY="+p.URL, "NO_PROXY="+tt.noProxy)
			if got.Result != tt.want || got.Why != tt.why {
				t.Errorf("%s (%s), want %s (%s)", got.Result, got.Why, tt.want, tt.why)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(p.tunnels, tt.tunnels) {
				t.Errorf("the proxy got %q, want %q", p.tunnels, tt.tunnels)
			}
			for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte("robot:" + canary)), "Bearer", "Authorization"} {
				if bytes.Contains(p.sent.Bytes(), []byte(secret)) {
					t.Errorf("the proxy sees %q", secret)
				}
			}
		})
	}
}

// A registry on a private address may be asked over plain HTTP, but not through a proxy.
func TestNoPlainHTTPThroughAProxy(t *testing.T) {
	p := newProxy(t, "127.0.0.1:1") // Nobody listens there.
	got := checkBehind(t, "10.1.2.3:5000/acme/app:1", nil, "HTTPS_PROXY="+p.URL, "HTTP_PROXY="+p.URL)
	if got.Result != Unknown || got.Why != errProxiedHTTP.Error() {
		t.Errorf("%s (%s)", got.Result, got.Why)
	}
	if want := []string{"CONNECT 10.1.2.3:5000"}; !slices.Equal(p.tunnels, want) {
		t.Errorf("the proxy got %q, want %q", p.tunnels, want)
	}
}

// Behind a proxy, the address of the registry is known only if it is written out.
func TestAddressesBehindAProxy(t *testing.T) {
	for host, allowed := range map[string]map[string]bool{
		"registry.example.com": {"10.0.0.1": false, "8.8.8.8": true, "auth.example.com": true, "[64:ff9b::10.0.0.1]": false},
		"10.1.2.3:5000":        {"10.0.0.1": true, "169.254.169.254": false, "100.100.100.200": false, "[fd00:ec2::254]": false, "127.1": false},
		// What else may be read as an address.
		"registry.example.org": {
			"127.1": false, "2130706433": false, "127.0.0.1.": false, "0x7f.1": false, "0X7F000001:443": false, "0x": false, "a.0177": false, "\uff11\uff10.0.0.1": false,
			"1.example.com": true, "127.0.0.1.nip.io": true, "auth.example.com.": true, "cafe.face": true, "x0x1": true,
		},
	} {
		registry, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		g := newGuard(&http.Transport{}, newRate(0), registry)
		if err := g.mayProxy(&url.URL{Scheme: "https", Host: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		for to, ok := range allowed {
			if err := g.mayProxy(&url.URL{Scheme: "https", Host: to}); (err == nil) != ok {
				t.Errorf("%s with a token server at %s: %v, want allowed: %t", host, to, err, ok)
			}
		}
	}
}

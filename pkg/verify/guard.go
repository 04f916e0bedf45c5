// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"sync"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
)

// maxBody is the size of an answer that is read.
const maxBody = 1 << 20

// guard is the transport for questions to one registry. It lets requests through to the
// registry and to the token server that the registry names, and to nobody else.
type guard struct {
	*http.Transport
	rate     *rate
	registry name.Registry

	mu sync.Mutex
	// realms are the token servers, by host, with their scheme. There is at most one besides
	// the registry itself.
	realms map[string]string
	// proxies are the addresses of proxies.
	proxies map[string]bool
	// private means that the registry was reached at an internal address.
	private bool
	denied  int
	// pings are the answers to requests for authentication methods, by URL. Each is asked for
	// once, because the library asks before each token.
	pings map[string]*http.Response
}

func newGuard(transport *http.Transport, rate *rate, registry name.Registry) *guard {
	g := &guard{Transport: transport, rate: rate, registry: registry, realms: map[string]string{}, proxies: map[string]bool{}, pings: map[string]*http.Response{}}
	transport.DialContext = g.dial
	return g
}

// close drops the connections, with what they were authorized for.
func (g *guard) close() { g.CloseIdleConnections() }

// reset forgets who denied access.
func (g *guard) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied = 0
}

// deniedBy returns the status 401 or 403 of the last request with a credential since the last
// reset, or zero.
func (g *guard) deniedBy() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.denied
}

// RoundTrip sends a request if it may be sent, when it is its turn.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := g.allow(request.URL); err != nil {
		return nil, err
	}
	if known := g.pinged(request); known != nil {
		return known, nil
	}
	proxied, err := g.noteProxy(request)
	if err != nil {
		return nil, err
	}
	if proxied {
		err = g.mayProxy(request.URL)
	} else if request.URL.Host == g.registry.RegistryStr() {
		request = g.traced(request)
	}
	if err != nil {
		return nil, err
	}
	if err := g.rate.wait(request.Context(), g.registry.RegistryStr()); err != nil {
		return nil, err
	}
	response, err := g.Transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &boundedBody{response.Body, maxBody}
	if err := g.note(request, response); err != nil {
		response.Body.Close()
		return nil, err
	}
	return response, nil
}

// isPing reports whether a request asks a registry how to authenticate.
func isPing(request *http.Request) bool {
	return request.Method == http.MethodGet && request.URL.Path == "/v2/" && request.Header.Get("Authorization") == ""
}

// pinged returns what the registry answered to the same ping before, or nil.
func (g *guard) pinged(request *http.Request) *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.pings[request.URL.String()]
	if known == nil || !isPing(request) {
		return nil
	}
	return &http.Response{
		StatusCode: known.StatusCode, Status: known.Status, Proto: known.Proto, ProtoMajor: known.ProtoMajor, ProtoMinor: known.ProtoMinor,
		Header: known.Header.Clone(), Body: http.NoBody, Request: request,
	}
}

// allow returns why a request must not be sent. The registry itself is asked by plain HTTP only
// where Knative does so too, for registries on loopback and private addresses.
func (g *guard) allow(to *url.URL) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	scheme, isRealm := g.realms[to.Host]
	switch {
	case to.Host == g.registry.RegistryStr() && (to.Scheme == "https" || to.Scheme == g.registry.Scheme()):
		return nil
	case isRealm && to.Scheme == scheme:
		return nil
	case to.Host == g.registry.RegistryStr(), isRealm:
		return errPlainHTTP
	}
	return errOtherHost
}

// note records what an answer of the registry says: who its token server is, and whether it
// denies access.
func (g *guard) note(request *http.Request, response *http.Response) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if request.Header.Get("Authorization") != "" {
		g.denied = 0
		if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
			g.denied = response.StatusCode
		}
	}
	if request.URL.Host != g.registry.RegistryStr() {
		return nil
	}
	if isPing(request) && (response.StatusCode == http.StatusOK || response.StatusCode == http.StatusUnauthorized) {
		g.pings[request.URL.String()] = response
	}
	for _, challenge := range response.Header.Values("WWW-Authenticate") {
		for _, found := range realm.FindAllStringSubmatch(challenge, -1) {
			to, err := url.Parse(found[1])
			if err != nil || to.Host == "" || to.Host == request.URL.Host && to.Scheme == request.URL.Scheme {
				continue // A realm of basic authentication is any text.
			}
			if to.Scheme != "https" && request.URL.Scheme == "https" {
				return errPlainHTTP
			}
			if _, known := g.realms[to.Host]; !known && len(g.realms) > 0 {
				return errTooManyHosts
			}
			g.realms[to.Host] = to.Scheme
		}
	}
	return nil
}

var realm = regexp.MustCompile(`(?i)realm="([^"]*)"`)

// noteProxy records the proxy of a request, if it has one, whose address is not that of the
// registry.
func (g *guard) noteProxy(request *http.Request) (proxied bool, err error) {
	if g.Proxy == nil {
		return false, nil
	}
	proxy, err := g.Proxy(request)
	if err != nil || proxy == nil {
		return false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proxies[addressOf(proxy)] = true
	return true, nil
}

// mayProxy returns why a request must not be sent through a proxy. The proxy resolves names, so
// only an address that is written out can be checked, in its usual form. Without TLS, it would see
// the credential.
func (g *guard) mayProxy(to *url.URL) error {
	if to.Scheme != "https" {
		return errProxiedHTTP
	}
	ip, err := netip.ParseAddr(to.Hostname())
	if err != nil {
		if to.Host != g.registry.RegistryStr() && mayBeAddress(to.Hostname()) {
			return errPrivate
		}
		return nil
	}
	if to.Host == g.registry.RegistryStr() {
		g.reached(ip)
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mayReach(ip)
}

// traced returns a request to the registry that records where the registry is, once it has a
// connection. Addresses that are only tried do not count: whoever owns a name can add any
// address to it, but has no certificate there.
func (g *guard) traced(request *http.Request) *http.Request {
	return request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			at, _ := netip.ParseAddrPort(info.Conn.RemoteAddr().String())
			g.reached(at.Addr())
		},
	}))
}

// reached records an address at which the registry was reached.
func (g *guard) reached(at netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.private = g.private || at.IsValid() && placeOf(at) == internal
}

// addressOf returns the address that is dialled for a URL.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dial connects. The address is checked after its name was resolved, so that no name can
// change its meaning in between.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		return g.mayDial(address, resolved)
	}}
	return dialer.DialContext(ctx, network, address)
}

// mayDial returns why an address must not be dialled.
func (g *guard) mayDial(address, resolved string) error {
	host, _, err := net.SplitHostPort(resolved)
	if err != nil {
		return err
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	own := &url.URL{Host: g.registry.RegistryStr()}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proxies[address] || name == own.Hostname() {
		return nil
	}
	ip, _ := netip.ParseAddr(host) // The zero address is internal.
	return g.mayReach(ip)
}

// mayReach returns why a token server must not have an address. It requires the lock.
func (g *guard) mayReach(ip netip.Addr) error {
	at := placeOf(ip)
	if at == metadata || at == internal && (!g.private || !ip.IsValid()) {
		return errPrivate
	}
	return nil
}

// boundedBody is a body of which no more than a number of bytes is read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read fails where a body is longer.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

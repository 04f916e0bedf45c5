// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

// A name may resolve to an internal address in many spellings.
func TestPlaceOf(t *testing.T) {
	for address, want := range map[string]place{
		"8.8.8.8": public, "203.0.113.5": public, "100.63.255.255": public, "100.128.0.1": public, "192.0.1.1": public, "198.17.0.1": public,
		"198.20.0.1": public, "223.255.255.255": public, "2606:4700::1": public, "2001:4860:4860::8888": public,

		"0.0.0.0": internal, "0.1.2.3": internal, "10.0.0.1": internal, "172.16.0.1": internal, "192.168.0.1": internal, "127.0.0.1": internal,
		"100.64.0.1": internal, "100.127.255.255": internal, "192.0.0.8": internal, "198.18.0.1": internal, "198.19.255.255": internal,
		"224.0.0.1": internal, "240.0.0.1": internal, "255.255.255.255": internal, "169.254.169.254": metadata,
		"::": internal, "::1": internal, "::10.0.0.1": internal, "fc00::1": internal, "fd00:ec2::254": metadata, "fd00:ec2::253": internal, "100.100.100.200": metadata, "168.63.129.16": metadata, "::ffff:168.63.129.16": metadata, "fec0::1": internal,
		"ff02::1": internal, "100::1": internal, "fe80::1": metadata, "fe80::1%eth0": metadata,

		"::ffff:8.8.8.8": public, "::ffff:10.0.0.1": internal, "::ffff:100.64.0.1": internal, "::ffff:169.254.169.254": metadata,
		"64:ff9b::8.8.8.8": public, "64:ff9b::10.0.0.1": internal, "64:ff9b::127.0.0.1": internal, "64:ff9b::100.64.0.1": internal,
		"64:ff9b::169.254.169.254": metadata,
		// The network's own prefix has 96, 64, 56 or 48 bits.
		"64:ff9b:1::8.8.8.8": public, "64:ff9b:1:abcd::8.8.8.8": public, "64:ff9b:1::10.0.0.1": internal, "64:ff9b:1:abcd::169.254.169.254": metadata,
		"64:ff9b:1:abcd:8:808:800:0": public, "64:ff9b:1:abcd:a:0:100:0": internal, "64:ff9b:1:ab0a:0:1::": internal,
		"64:ff9b:1:808:8:800::": public, "64:ff9b:1:a00:0:100::": internal, "64:ff9b:1:a9fe:a9:fe00::": metadata, "64:ff9b:1::": internal,
		"2002:808:808::1": public, "2002:a00:1::1": internal, "2002:a9fe:a9fe::1": metadata, "2001:0:808:808::f7f7:f7f7": internal,
	} {
		if got := placeOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}
	if got := placeOf(netip.Addr{}); got != internal {
		t.Errorf("no address: %d", got)
	}
}

// The guard judges what a name was resolved to.
func TestGuardOfTokenServers(t *testing.T) {
	for registry, allowed := range map[string]map[string]bool{
		"203.0.113.5": {"8.8.8.8": true, "100.64.0.1": false, "64:ff9b::10.0.0.1": false, "64:ff9b::8.8.8.8": true, "169.254.169.254": false},
		// One that is internal may have a token server that is, but no metadata of a cloud.
		"100.64.0.9":       {"8.8.8.8": true, "100.64.0.1": true, "10.0.0.1": true, "169.254.169.254": false, "64:ff9b::169.254.169.254": false},
		"64:ff9b::8.8.8.8": {"10.0.0.1": false},
		"169.254.1.1":      {"10.0.0.1": false},
	} {
		host, err := name.NewRegistry("registry.example.com")
		if err != nil {
			t.Fatal(err)
		}
		g := newGuard(&http.Transport{}, newRate(0), host)
		// The name of a registry may have any address besides. It does not count.
		for _, tried := range []string{"10.0.0.1:443", at443(registry)} {
			if err := g.mayDial("registry.example.com:443", tried); err != nil {
				t.Errorf("the registry at %s: %v", tried, err)
			}
		}
		g.reached(netip.MustParseAddr(registry))
		for address, ok := range allowed {
			if err := g.mayDial("auth.example.com:443", at443(address)); (err == nil) != ok {
				t.Errorf("a registry at %s with a token server at %s: %v, want allowed: %t", registry, address, err, ok)
			}
		}
	}
}

func at443(address string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(address), 443).String()
}

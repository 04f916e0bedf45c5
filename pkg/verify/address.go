// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"net/netip"
	"slices"
	"strings"
)

// place is where an address is, as far as the guard has to know.
type place int

const (
	// public is an address that the internet routes.
	public place = iota
	// internal is any other one. It may be in the cluster, or in the network of its nodes.
	internal
	// metadata is one that is never a token server, because clouds have their metadata there:
	// link-local, and a few others.
	metadata
)

var (
	// globalUnicast are all addresses of IPv6 that the internet routes.
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// notRouted are addresses without a method of their own in netip.
	notRouted = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"), // Shared by carriers, clouds and overlays (RFC 6598).
		netip.MustParsePrefix("192.0.0.0/24"),  // Protocol assignments (RFC 6890).
		netip.MustParsePrefix("198.18.0.0/15"), // Benchmarks (RFC 2544).
		netip.MustParsePrefix("240.0.0.0/4"),   // Reserved, with the broadcast address (RFC 1112).
		netip.MustParsePrefix("2001::/32"),     // Teredo, which ends behind a NAT (RFC 4380).
	}
	// ofClouds are addresses at which clouds serve metadata, or what a node configures itself
	// with, outside of link-local ones.
	ofClouds = []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),   // Amazon EC2
		netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
		netip.MustParseAddr("168.63.129.16"),   // Azure
	}
	// sixToFour, nat64 and localNAT64 are prefixes of IPv6 with an address of IPv4 in them
	// (RFC 3056, RFC 6052, RFC 8215).
	sixToFour  = netip.MustParsePrefix("2002::/16")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
)

// placeOf returns where an address is. One that leads to an address of IPv4 is where that is.
func placeOf(a netip.Addr) place {
	a = a.WithZone("").Unmap()
	if inner := embedded(a); len(inner) > 0 {
		found := public
		for _, each := range inner {
			found = max(found, placeOf(each))
		}
		return found
	}
	switch {
	case a.IsLinkLocalUnicast(), slices.Contains(ofClouds, a):
		return metadata
	case !a.IsValid(), a.IsPrivate(), a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a.Is6() && !globalUnicast.Contains(a):
		return internal
	}
	for _, prefix := range notRouted {
		if prefix.Contains(a) {
			return internal
		}
	}
	return public
}

// embedded returns the addresses of IPv4 to which an address of IPv6 may lead. There are several
// if the length of the prefix of a network is not known (section 2.2 of RFC 6052).
func embedded(a netip.Addr) (found []netip.Addr) {
	b := a.As16()
	add := func(w, x, y, z byte) { found = append(found, netip.AddrFrom4([4]byte{w, x, y, z})) }
	switch {
	case sixToFour.Contains(a):
		add(b[2], b[3], b[4], b[5])
	case nat64.Contains(a):
		add(b[12], b[13], b[14], b[15])
	case localNAT64.Contains(a):
		isZero := func(from int) bool {
			var zero [16]byte
			return [16]byte(append(zero[:from:from], b[from:]...)) == zero
		}
		if isZero(11) {
			add(b[6], b[7], b[9], b[10])
		}
		if isZero(12) {
			add(b[7], b[9], b[10], b[11])
		} else {
			add(b[12], b[13], b[14], b[15])
		}
		if isZero(13) {
			add(b[9], b[10], b[11], b[12])
		}
	}
	return found
}

// mayBeAddress reports whether who resolves a host could take it for an address of IPv4, although
// it is not in the usual form: 127.1, 2130706433, 0x7f.1 or "127.0.0.1.". As in the URL standard, the
// last label decides, and a host that is mapped to ASCII could be any.
func mayBeAddress(host string) bool {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	last := labels[len(labels)-1]
	digits, isHex := strings.CutPrefix(last, "0x")
	among := "0123456789"
	if isHex {
		among += "abcdef"
	}
	return strings.Trim(digits, among) == "" || strings.ContainsFunc(host, func(r rune) bool { return r > 0x7f })
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// certificateLifetime is longer than the lifetime of any cluster.
const certificateLifetime = 365 * 24 * time.Hour

// pki holds the keys of one cluster, created for it and deleted with it.
type pki struct {
	dir string
	ca  *authority
	// frontProxy signs only the API server's client certificate for aggregated APIs. It
	// is a separate CA because its certificates allow impersonating any user.
	frontProxy *authority
}

// newPKI creates the keys of a cluster in dir: both CAs, the certificates of the servers
// and of the API server as a client, and the key that signs ServiceAccount tokens.
// Servers are valid for loopback.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &pki{dir: dir}
	var err error
	if p.ca, err = newAuthority("pullsecrets-local-ca"); err != nil {
		return nil, err
	}
	if p.frontProxy, err = newAuthority("pullsecrets-local-front-proxy-ca"); err != nil {
		return nil, err
	}

	serviceAccountKey, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := p.writeKey("service-accounts.key", serviceAccountKey); err != nil {
		return nil, err
	}
	for name, a := range map[string]*authority{"ca": p.ca, "front-proxy-ca": p.frontProxy} {
		if err := p.writeCertificate(name+".crt", a.certificate); err != nil {
			return nil, err
		}
	}
	for _, c := range []struct {
		file   string
		signer *authority
		user   string
	}{
		// One certificate for all servers, which share this host; etcd also uses it as a
		// peer.
		{"server", p.ca, "server"},
		{"etcd-client", p.ca, "kube-apiserver"},
		{"front-proxy-client", p.frontProxy, "front-proxy-client"},
	} {
		if err := p.writeIssued(c.signer, c.file, c.user); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pki) writeIssued(signer *authority, file, user string, groups ...string) error {
	certificate, key, err := signer.issue(user, groups...)
	if err != nil {
		return err
	}
	if err := p.writeCertificate(file+".crt", certificate); err != nil {
		return err
	}
	return p.writeKey(file+".key", key)
}

// path returns the path of a file of the PKI.
func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

// kubeconfig returns a kubeconfig for the user with a new certificate.
func (p *pki) kubeconfig(server, user string, groups ...string) (*clientcmdapi.Config, error) {
	certificate, key, err := p.ca.issue(user, groups...)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	return p.kubeconfigFor(server, &clientcmdapi.AuthInfo{
		ClientCertificateData: encodeCertificate(certificate),
		ClientKeyData:         keyPEM,
	}), nil
}

// kubeconfigFor returns a kubeconfig with the credential.
func (p *pki) kubeconfigFor(server string, credential *clientcmdapi.AuthInfo) *clientcmdapi.Config {
	const name = "pullsecrets-local"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: encodeCertificate(p.ca.certificate)}
	config.AuthInfos[name] = credential
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return config
}

// writeKubeconfig writes a kubeconfig that only its owner can read.
func writeKubeconfig(path string, config *clientcmdapi.Config) error {
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeFile(path, content, 0o600)
}

func (p *pki) writeCertificate(name string, c *x509.Certificate) error {
	return writeFile(p.path(name), encodeCertificate(c), 0o644)
}

func (p *pki) writeKey(name string, key crypto.Signer) error {
	content, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	return writeFile(p.path(name), content, 0o600)
}

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: c.Raw})
}

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(name string) (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: name}, key)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: certificate, key: key}, nil
}

// issue creates a certificate that is valid for a server on loopback, and for a client as
// the user in the groups.
func (a *authority) issue(user string, groups ...string) (*x509.Certificate, crypto.Signer, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, nil, err
	}
	// Backdated, because clocks of a host and its guests differ.
	from := time.Now().Add(-5 * time.Minute)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user, Organization: groups},
		NotBefore:    from,
		NotAfter:     from.Add(certificateLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{"localhost", "kubernetes.default.svc"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func newKey() (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

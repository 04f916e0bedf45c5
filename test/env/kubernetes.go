// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	_ "embed" // for the audit policy
	"fmt"
	"time"

	"k8s.io/client-go/rest"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// controlPlane returns the specs of etcd, the API server and the controller manager in
// the order of their start. Admission and authorization are those of a real cluster.
func controlPlane(l layout, program string, keys *pki, ports portBook) ([]childSpec, error) {
	var chosen [4]int
	for i, server := range []string{"etcd", "etcd peer", "kube-apiserver", "kube-controller-manager"} {
		var err error
		if chosen[i], err = ports.of(server); err != nil {
			return nil, err
		}
	}
	etcd, etcdPeer, apiServer, manager := chosen[0], chosen[1], chosen[2], chosen[3]
	server := "https://" + address(apiServer)
	etcdURL, peerURL := "https://"+address(etcd), "https://"+address(etcdPeer)

	policy := keys.path("audit-policy.yaml")
	if err := writeFile(policy, auditPolicy, 0o644); err != nil {
		return nil, err
	}
	admin, err := keys.kubeconfig(server, "admin", "system:masters")
	if err != nil {
		return nil, err
	}
	if err := writeKubeconfig(l.kubeconfig(), admin); err != nil {
		return nil, err
	}
	managerConfig, err := keys.kubeconfig(server, "system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	if err := writeKubeconfig(l.kubeconfigOf("kube-controller-manager"), managerConfig); err != nil {
		return nil, err
	}
	restConfig, err := loadConfig(l.kubeconfig())
	if err != nil {
		return nil, err
	}

	return []childSpec{
		etcdSpec(l, program, keys, etcdURL, peerURL),
		apiServerSpec(l, program, keys, apiServer, etcdURL, policy, restConfig),
		controllerManagerSpec(l, program, keys, manager),
	}, nil
}

func etcdSpec(l layout, program string, keys *pki, clientURL, peerURL string) childSpec {
	return childSpec{
		name:    "etcd",
		program: program,
		args: []string{
			"etcd",
			"--data-dir", l.etcd(),
			"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
			"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL,
			"--initial-cluster", "default=" + peerURL,
			"--client-cert-auth", "--trusted-ca-file", keys.path("ca.crt"),
			"--cert-file", keys.path("server.crt"), "--key-file", keys.path("server.key"),
			"--peer-client-cert-auth", "--peer-trusted-ca-file", keys.path("ca.crt"),
			"--peer-cert-file", keys.path("server.crt"), "--peer-key-file", keys.path("server.key"),
			// The data is deleted with the cluster, so it need not survive a crash of the
			// machine.
			"--unsafe-no-fsync",
			// Benchmarks store thousands of Services with all their Knative objects.
			"--quota-backend-bytes", "8589934592",
			"--warning-unary-request-duration", "1s",
			"--log-level", "warn",
		},
		ready: func(ctx context.Context) error { return keys.probeEtcd(ctx, clientURL) },
		grace: 5 * time.Second,
	}
}

func apiServerSpec(l layout, program string, keys *pki, port int, etcdURL, policyFile string, config *rest.Config) childSpec {
	return childSpec{
		name:    "kube-apiserver",
		program: program,
		args: []string{
			"kube-apiserver",
			"--bind-address", loopback, "--secure-port", fmt.Sprint(port),
			// This address is advertised to clients inside the cluster, of which there
			// are none. The API server rejects a loopback address here; this one is
			// reserved for documentation.
			"--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none",
			"--etcd-servers", etcdURL, "--etcd-cafile", keys.path("ca.crt"),
			"--etcd-certfile", keys.path("etcd-client.crt"), "--etcd-keyfile", keys.path("etcd-client.key"),
			"--tls-cert-file", keys.path("server.crt"), "--tls-private-key-file", keys.path("server.key"),
			"--client-ca-file", keys.path("ca.crt"),
			"--authorization-mode", "RBAC",
			"--service-cluster-ip-range", "10.96.0.0/16",
			"--service-account-issuer", "https://kubernetes.default.svc",
			"--service-account-key-file", keys.path("service-accounts.key"),
			"--service-account-signing-key-file", keys.path("service-accounts.key"),
			"--requestheader-client-ca-file", keys.path("front-proxy-ca.crt"),
			"--requestheader-allowed-names", "front-proxy-client",
			"--requestheader-username-headers", "X-Remote-User",
			"--requestheader-group-headers", "X-Remote-Group",
			"--requestheader-extra-headers-prefix", "X-Remote-Extra-",
			"--proxy-client-cert-file", keys.path("front-proxy-client.crt"),
			"--proxy-client-key-file", keys.path("front-proxy-client.key"),
			"--audit-policy-file", policyFile,
			"--audit-log-path", l.audit(),
			// A single file, because marks are offsets in it.
			"--audit-log-maxsize", "100000",
		},
		ready: func(ctx context.Context) error { return probeAPIServer(ctx, config) },
		// It waits for requests in flight, and watches never finish.
		grace: 5 * time.Second,
	}
}

func controllerManagerSpec(l layout, program string, keys *pki, port int) childSpec {
	return childSpec{
		name:    "kube-controller-manager",
		program: program,
		args: []string{
			"kube-controller-manager",
			"--bind-address", loopback, "--secure-port", fmt.Sprint(port),
			"--tls-cert-file", keys.path("server.crt"), "--tls-private-key-file", keys.path("server.key"),
			"--kubeconfig", l.kubeconfigOf("kube-controller-manager"),
			// Without kubeconfigs for these two it serves only its health, which is all
			// that is needed.
			"--service-account-private-key-file", keys.path("service-accounts.key"),
			"--root-ca-file", keys.path("ca.crt"),
			"--use-service-account-credentials",
			// Without replicas it need not wait for a lease to expire after a kill.
			"--leader-elect=false",
			"--flex-volume-plugin-dir", l.volumePlugins(),
			"--kube-api-qps", "200", "--kube-api-burst", "400",
		},
		ready: func(ctx context.Context) error {
			return probe(ctx, "https://"+address(port)+"/healthz")
		},
		grace: 5 * time.Second,
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The network of a cluster with a node. It exists only in the node's namespace, so all
// clusters can use the same addresses.
const (
	nodeName     = "node"
	nodeAddress  = "10.95.0.1"
	serviceRange = "10.96.0.0/16"
	podRange     = "10.97.0.0/16"
	// apiService is the address of Service "kubernetes", the first of the range.
	apiService = "10.96.0.1"
)

// containerdSocket is in the node's own /run.
const containerdSocket = "/run/containerd/containerd.sock"

// withNode adapts the API server's flags to a cluster with a node: Pods reach it at the
// node's address, and it reaches the kubelet. It listens only inside the node's
// namespace.
func withNode(controlPlane []childSpec, keys *pki) error {
	i := slices.IndexFunc(controlPlane, func(s childSpec) bool { return s.name == "kube-apiserver" })
	apiServer := &controlPlane[i]
	if err := keys.writeClient("kubelet-client", "kube-apiserver", "system:masters"); err != nil {
		return err
	}
	// A later flag overrides an earlier one, and authorization modes are appended.
	apiServer.args = append(apiServer.args,
		"--bind-address", "0.0.0.0",
		"--advertise-address", nodeAddress, "--endpoint-reconciler-type", "lease",
		// The kubelet may read only the Secrets of its own Pods.
		"--authorization-mode", "Node", "--enable-admission-plugins", "NodeRestriction",
		"--kubelet-client-certificate", keys.path("kubelet-client.crt"), "--kubelet-client-key", keys.path("kubelet-client.key"),
		"--kubelet-preferred-address-types", "InternalIP",
	)
	return nil
}

// nodeHosts returns the names and addresses of servers on a cluster with a node, besides
// loopback.
func nodeHosts() []string {
	return append([]string{nodeAddress, apiService, "kubernetes", "kubernetes.default"}, hubHosts...)
}

// openEnclave finds everything that a node needs on the machine and creates its enclave.
func (s *supervisor) openEnclave(ctx context.Context) error {
	if err := checkEnclave(s.builder.repo, s.layout.dir); err != nil {
		return err
	}
	var err error
	if s.machine, err = findMachinePrograms(ctx, s.builder); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.layout.logs(), "enclave.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if s.enclave, err = newEnclave(filepath.Join(s.builder.binDir(), binCluster), s.layout.dir, s.machine.environment(), log); err != nil {
		return err
	}
	return s.saveState()
}

// startNode starts the programs that run Pods and returns when the node is Ready.
func (s *supervisor) startNode(ctx context.Context) error {
	s.sayf("starting a node")
	if err := makeCgroups(s.layout.cgroup()); err != nil {
		return fmt.Errorf("create cgroups for Pods: %w", err)
	}
	for _, describe := range []func() (childSpec, error){
		s.schedulerProcess, s.containerdProcess, s.kubeletProcess, s.proxyProcess,
	} {
		spec, err := describe()
		if err != nil {
			return err
		}
		if err := s.run(spec); err != nil {
			return err
		}
		if err := s.waitReady(ctx, spec.name); err != nil {
			return err
		}
	}
	return nil
}

// writeUser writes the kubeconfig of a component and returns its path.
func (s *supervisor) writeUser(process, user string, groups ...string) (string, error) {
	config, err := s.keys.kubeconfig(s.config.Host, user, groups...)
	if err != nil {
		return "", err
	}
	return s.layout.kubeconfigOf(process), writeKubeconfig(s.layout.kubeconfigOf(process), config)
}

func (s *supervisor) schedulerProcess() (childSpec, error) {
	kubeconfig, err := s.writeUser("kube-scheduler", "system:kube-scheduler")
	if err != nil {
		return childSpec{}, err
	}
	port, err := s.ports.of("kube-scheduler")
	if err != nil {
		return childSpec{}, err
	}
	return childSpec{
		name:    "kube-scheduler",
		program: filepath.Join(s.builder.binDir(), binNode),
		args: []string{
			"kube-scheduler", "--kubeconfig", kubeconfig,
			"--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
			"--bind-address", loopback, "--secure-port", fmt.Sprint(port),
			"--cert-dir", s.layout.machine(),
			"--leader-elect=false",
		},
		ready: func(ctx context.Context) error { return probe(ctx, "https://"+address(port)+"/healthz") },
		grace: 5 * time.Second,
	}, nil
}

// containerdProcess returns the spec of the container runtime, with every path that would
// otherwise be outside its namespaces.
func (s *supervisor) containerdProcess() (childSpec, error) {
	dir := filepath.Join(s.layout.machine(), "containerd")
	network := filepath.Join(dir, "network")
	config := fmt.Sprintf(`version = 2
root = %[1]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[2]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[3]q
  # A machine that is itself a container may not lower the score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[4]q
    conf_dir = %[5]q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`, filepath.Join(dir, "root"), filepath.Join(dir, "opt"), s.registry.image("pause"), s.machine.networkPlugins, network)
	if err := os.MkdirAll(network, 0o755); err != nil {
		return childSpec{}, err
	}
	// Each Pod has its own link to the node, which routes between them, so every packet
	// passes kube-proxy's rules without a bridge.
	plugin := map[string]any{"cniVersion": "0.4.0", "name": "pods", "plugins": []any{map[string]any{
		"type": "ptp",
		"ipam": map[string]any{
			"type": "host-local", "dataDir": "/run/pod-addresses",
			"ranges": []any{[]any{map[string]any{"subnet": podRange}}},
			"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
		},
	}}}
	content, err := json.Marshal(plugin)
	if err != nil {
		return childSpec{}, err
	}
	file := filepath.Join(dir, "config.toml")
	return childSpec{
			name:    "containerd",
			program: s.machine.containerd,
			args:    []string{"--config", file},
			env:     append(s.machine.environment(), "SSL_CERT_FILE="+s.keys.path("ca.crt")),
			ready: func(ctx context.Context) error {
				connection, err := (&net.Dialer{}).DialContext(ctx, "unix", s.enclave.path(containerdSocket))
				if err != nil {
					return err
				}
				return connection.Close()
			},
			grace: 5 * time.Second,
		}, errors.Join(
			writeFile(file, []byte(config), 0o644),
			writeFile(filepath.Join(network, "pods.conflist"), content, 0o644),
		)
}

func (s *supervisor) kubeletProcess() (childSpec, error) {
	kubeconfig, err := s.writeUser("kubelet", "system:node:"+nodeName, "system:nodes")
	if err != nil {
		return childSpec{}, err
	}
	resolver := filepath.Join(s.layout.machine(), "resolv.conf")
	if err := writeFile(resolver, []byte("# There is no DNS.\n"), 0o644); err != nil {
		return childSpec{}, err
	}
	config, err := s.writeComponentConfig("kubelet", map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": s.keys.path("ca.crt")},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"resolvConf":               resolver,
		"volumePluginDir":          s.layout.volumePlugins(),
		// Works with cgroup v1 and v2, without systemd, below the cluster's own group.
		"failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + s.layout.cgroup(),
		"enforceNodeAllocatable": []string{},
		"failSwapOn":             false,
		"makeIPTablesUtilChains": false,
		// The disk is shared with other work, so its usage must not evict Pods or remove
		// images.
		"localStorageCapacityIsolation": false,
		"imageGCHighThresholdPercent":   100, "imageGCLowThresholdPercent": 99,
		"evictionHard": map[string]string{
			"memory.available": "1Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		"serializeImagePulls": false,
		"registryPullQPS":     0,
		"maxPods":             500,
	})
	return childSpec{
		name:    "kubelet",
		program: filepath.Join(s.builder.binDir(), binNode),
		args: []string{
			"kubelet", "--config", config, "--kubeconfig", kubeconfig,
			"--hostname-override", nodeName, "--node-ip", nodeAddress,
		},
		env:   s.machine.environment(),
		ready: s.nodeReady,
		grace: 5 * time.Second,
	}, err
}

// nodeReady returns nil once the node is Ready.
func (s *supervisor) nodeReady(ctx context.Context) error {
	node, err := s.kube.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			if condition.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("node is not Ready: %s", condition.Message)
		}
	}
	return errors.New("node has no condition Ready yet")
}

func (s *supervisor) proxyProcess() (childSpec, error) {
	kubeconfig, err := s.writeUser("kube-proxy", "system:kube-proxy")
	if err != nil {
		return childSpec{}, err
	}
	port, err := s.ports.of("kube-proxy")
	if err != nil {
		return childSpec{}, err
	}
	metrics, err := s.ports.of("kube-proxy metrics")
	if err != nil {
		return childSpec{}, err
	}
	config, err := s.writeComponentConfig("kube-proxy", map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": kubeconfig},
		"mode":             "nftables",
		"clusterCIDR":      podRange,
		"hostnameOverride": nodeName,
		// These limits apply to the whole machine.
		"conntrack":          map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"healthzBindAddress": address(port),
		"metricsBindAddress": address(metrics),
	})
	return childSpec{
		name:    "kube-proxy",
		program: filepath.Join(s.builder.binDir(), binNode),
		args:    []string{"kube-proxy", "--config", config},
		env:     s.machine.environment(),
		ready:   func(ctx context.Context) error { return probe(ctx, "http://"+address(port)+"/healthz") },
		grace:   5 * time.Second,
	}, err
}

// writeComponentConfig writes a configuration as JSON, which is valid YAML, and returns
// its path.
func (s *supervisor) writeComponentConfig(component string, config map[string]any) (string, error) {
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.layout.machine(), component+".yaml")
	return file, writeFile(file, content, 0o644)
}

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

// The network of a cluster with a node. It exists in the node's own namespace
// alone, so any number of clusters can have the same.
const (
	nodeName     = "node"
	nodeAddress  = "10.95.0.1"
	serviceRange = "10.96.0.0/16"
	podRange     = "10.97.0.0/16"
	// apiService is the address of the Service "kubernetes", the first of the range.
	apiService = "10.96.0.1"
)

// containerdSocket lies in the node's own /run.
const containerdSocket = "/run/containerd/containerd.sock"

// withNode changes the API server's flags for a cluster in which something
// is inside: Pods reach it by the node's address, and it reaches the kubelet.
// What it listens on is the node's namespace and nothing else.
func withNode(controlPlane []childSpec, keys *pki) error {
	i := slices.IndexFunc(controlPlane, func(s childSpec) bool { return s.name == "kube-apiserver" })
	apiServer := &controlPlane[i]
	if err := keys.writeClient("kubelet-client", "kube-apiserver", "system:masters"); err != nil {
		return err
	}
	// Of two flags of one name the later counts, and modes of authorization
	// are added to those before.
	apiServer.args = append(apiServer.args,
		"--bind-address", "0.0.0.0",
		"--advertise-address", nodeAddress, "--endpoint-reconciler-type", "lease",
		// A kubelet may read the Secrets of its own Pods, and no others.
		"--authorization-mode", "Node", "--enable-admission-plugins", "NodeRestriction",
		"--kubelet-client-certificate", keys.path("kubelet-client.crt"), "--kubelet-client-key", keys.path("kubelet-client.key"),
		"--kubelet-preferred-address-types", "InternalIP",
	)
	return nil
}

// nodeHosts are the names and addresses by which servers of a cluster with a
// node are called besides loopback.
func nodeHosts() []string {
	return append([]string{nodeAddress, apiService, "kubernetes", "kubernetes.default"}, hubHosts...)
}

// openEnclave looks for all that a node needs of the machine, and makes the
// place where it is going to live.
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

// startNode starts what runs Pods, and returns when the node is ready.
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

// containerdProcess describes the container runtime. It is told every place in
// which it would otherwise write outside of its namespaces.
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
	// Each Pod has a wire of its own to the node, which routes between them: so
	// every packet passes kube-proxy's rules, without the help of a bridge.
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
		// Both versions of cgroups will do, without a systemd, and
		// below a group of one's own.
		"failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + s.layout.cgroup(),
		"enforceNodeAllocatable": []string{},
		"failSwapOn":             false,
		"makeIPTablesUtilChains": false,
		// The disk is shared with other work, whose files are no reason to evict
		// a Pod or to remove an image.
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

// nodeReady is nil once the API server knows that Pods can run.
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
			return fmt.Errorf("the node is not ready: %s", condition.Message)
		}
	}
	return errors.New("the node does not say yet whether it is ready")
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
		// These are limits of the whole machine.
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

// writeComponentConfig writes a configuration as JSON, which is YAML as well,
// and returns its path.
func (s *supervisor) writeComponentConfig(component string, config map[string]any) (string, error) {
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.layout.machine(), component+".yaml")
	return file, writeFile(file, content, 0o644)
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command node is what a Kubernetes node runs, in one binary: the kubelet, kube-proxy, the
// scheduler and kubeadm. Each is the unchanged command of its own project, selected by the
// first argument or by the name of the binary:
//
//	node kubelet --config ...
//	node kubeadm init
//
// It is separate from the control plane's binary, because local clusters have no node and
// should not wait for a kubelet to compile.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/component-base/cli"
	// These register the metrics of the components' clients.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Each entry creates its command only when it is called, because the constructors already
// register flags and signal handlers.
var components = map[string]func(){
	"kube-scheduler": func() { os.Exit(cli.Run(scheduler.NewSchedulerCommand())) },
	"kubelet":        func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) },
	"kube-proxy":     func() { os.Exit(cli.Run(proxy.NewProxyCommand())) },
	"kubeadm":        func() { kubeadmerrors.HandleError(kubeadm.Run()) },
}

func main() {
	run, found := components[filepath.Base(os.Args[0])]
	if !found && len(os.Args) > 1 {
		// Every component reads its arguments from os.Args and expects its own name
		// first.
		os.Args = os.Args[1:]
		run, found = components[os.Args[0]]
	}
	if !found {
		fmt.Fprintln(os.Stderr, "usage: node kubelet | kube-proxy | kube-scheduler | kubeadm [flags]")
		os.Exit(2)
	}
	run()
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command node is what a control plane needs to run Pods on this machine: the scheduler,
// the kubelet and kube-proxy. Each is the unchanged command of its own project, selected
// by the first argument:
//
//	node kube-scheduler --kubeconfig ...
//	node kubelet --config ...
//	node kube-proxy --config ...
//
// It is separate from the control plane's binary, because most local clusters have no
// node and should not wait for a kubelet to compile.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	// These register the metrics of the components' clients.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Each entry creates its command only when it is called, because the constructors already
// register flags and signal handlers.
var components = map[string]func() int{
	"kube-scheduler": func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubelet":        func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kube-proxy":     func() int { return cli.Run(proxy.NewProxyCommand()) },
}

func main() {
	if len(os.Args) > 1 {
		// Every component reads its arguments from os.Args and expects its own name
		// first.
		os.Args = os.Args[1:]
		if run, found := components[os.Args[0]]; found {
			os.Exit(run())
		}
	}
	fmt.Fprintln(os.Stderr, "usage: node kube-scheduler | kubelet | kube-proxy [flags]")
	os.Exit(2)
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// The node command is what a control plane lacks to run Pods on this machine:
// the scheduler, the kubelet and kube-proxy, each the unchanged command of its
// own project, chosen by the first argument:
//
//	node kube-scheduler --kubeconfig ...
//	node kubelet --config ...
//	node kube-proxy --config ...
//
// It is not part of the control plane's program, because most clusters that are
// made here have no node, and who builds those shall not wait for a kubelet.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	// Without these the components have no metrics of their clients.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Each entry makes its command only when it is called: the constructors
// already register flags and signal handlers.
var components = map[string]func() int{
	"kube-scheduler": func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kubelet":        func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kube-proxy":     func() int { return cli.Run(proxy.NewProxyCommand()) },
}

func main() {
	if len(os.Args) > 1 {
		// Every component reads its arguments from os.Args and must find its
		// own name at the front.
		os.Args = os.Args[1:]
		if run, found := components[os.Args[0]]; found {
			os.Exit(run())
		}
	}
	fmt.Fprintln(os.Stderr, "usage: node kube-scheduler | kubelet | kube-proxy [flags]")
	os.Exit(2)
}

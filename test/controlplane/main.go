// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command kubernetes is a Kubernetes control plane in one binary: etcd, the API server,
// the controller manager and kubectl. Each is the unchanged command of its own project,
// selected by the first argument or, as with busybox, by the name of the binary:
//
//	kubernetes etcd --data-dir ...
//	kubernetes kube-apiserver --etcd-servers ...
//	kubernetes kube-controller-manager --kubeconfig ...
//	kubernetes kubectl get namespaces
//
// One binary, because the four share nearly all their packages: together they link in
// seconds and are little larger than the API server alone. Still one process each,
// because tests kill and restart them separately, and because each command claims flags,
// signals and metrics registries for itself.
//
// It is a separate module so that k8s.io/kubernetes, which is not meant to be imported
// and pins every k8s.io module, never enters the main go.mod.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Each entry creates its command only when it is called, because the constructors already
// register flags and signal handlers.
var components = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { os.Exit(cli.Run(apiserver.NewAPIServerCommand())) },
	"kube-controller-manager": func() { os.Exit(cli.Run(controllermanager.NewControllerManagerCommand())) },
	"kubectl":                 func() { kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand())) },
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
		fmt.Fprintln(os.Stderr, "usage: kubernetes etcd | kube-apiserver | kube-controller-manager | kubectl [flags]")
		os.Exit(2)
	}
	run()
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command netpol enforces NetworkPolicies on its node: kube-router without its router and
// proxy. When it is stopped, it removes its rules.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "netpol:", err)
		os.Exit(1) //nolint:gocritic // Nothing to clean up.
	}
}

func run(ctx context.Context) error {
	connection, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(connection)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()

	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	newController := func() (*netpol.NetworkPolicyController, error) {
		return netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, tables, sets)
	}
	controller, err := newController()
	if err != nil {
		return err
	}
	// One that has run would clean up what it remembers of the table, instead of the table.
	cleaner, err := newController()
	if err != nil {
		return err
	}
	_, ofPods := pods.AddEventHandler(controller.PodEventHandler)
	_, ofNamespaces := namespaces.AddEventHandler(controller.NamespaceEventHandler)
	_, ofPolicies := policies.AddEventHandler(controller.NetworkPolicyEventHandler)
	if err := errors.Join(ofPods, ofNamespaces, ofPolicies); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	// The controller waits until each of these is received.
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	controller.Run(beats, ctx.Done(), &running)
	running.Wait()
	cleaner.Cleanup()
	return nil
}

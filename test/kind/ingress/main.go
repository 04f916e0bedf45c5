// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command ingress is a small ingress for Knative Serving on a cluster that cannot pull the
// image of a real one. It routes requests by their Host header to the Services that
// Knative's Ingresses name, with the headers that Knative's activator needs, and reports
// every Ingress as ready. It knows neither TLS nor paths.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/client/clientset/versioned"
	"knative.dev/networking/pkg/client/informers/externalversions"
	listers "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
)

// domain is where Pods of the cluster reach this program, see ingress.yaml.
const domain = "ingress.stand-in.svc.cluster.local"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ingress:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := externalversions.NewSharedInformerFactory(client, 0)
	ingresses := factory.Networking().V1alpha1().Ingresses()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]())
	enqueue := func(object any) {
		if o, ok := object.(metav1.Object); ok {
			queue.Add(cache.MetaObjectToName(o))
		}
	}
	if _, err := ingresses.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) },
	}); err != nil {
		return err
	}
	i := &ingress{client: client, lister: ingresses.Lister()}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	context.AfterFunc(ctx, queue.ShutDown)
	for range 4 {
		go work(ctx, queue, i.markReady)
	}
	server := &http.Server{Addr: ":8080", Handler: i, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[cache.ObjectName], handle func(context.Context, cache.ObjectName) error) {
	for {
		name, shutdown := queue.Get()
		if shutdown {
			return
		}
		if err := handle(ctx, name); err != nil && !apierrors.IsNotFound(err) {
			queue.AddRateLimited(name)
		} else {
			queue.Forget(name)
		}
		queue.Done(name)
	}
}

type ingress struct {
	client versioned.Interface
	lister listers.IngressLister
}

// markReady reports an Ingress as ready: this program routes by its cache at once.
func (i *ingress) markReady(ctx context.Context, name cache.ObjectName) error {
	found, err := i.lister.Ingresses(name.Namespace).Get(name.Name)
	if err != nil || found.IsReady() && found.Status.ObservedGeneration == found.Generation {
		return err
	}
	found = found.DeepCopy()
	found.Status.InitializeConditions()
	found.Status.MarkNetworkConfigured()
	balancer := []v1alpha1.LoadBalancerIngressStatus{{DomainInternal: domain}}
	found.Status.MarkLoadBalancerReady(balancer, slices.Clone(balancer))
	found.Status.ObservedGeneration = found.Generation
	_, err = i.client.NetworkingV1alpha1().Ingresses(name.Namespace).UpdateStatus(ctx, found, metav1.UpdateOptions{})
	return err
}

func (i *ingress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	path := i.route(host)
	if path == nil {
		http.Error(w, "no Ingress has the host "+host, http.StatusNotFound)
		return
	}
	split := choose(path.Splits, rand.IntN(100))
	target := &url.URL{Scheme: "http", Host: net.JoinHostPort(split.ServiceName+"."+split.ServiceNamespace+".svc.cluster.local", split.ServicePort.String())}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
		for _, headers := range []map[string]string{path.AppendHeaders, split.AppendHeaders} {
			for name, value := range headers {
				p.Out.Header.Set(name, value)
			}
		}
	}}
	proxy.ServeHTTP(w, r)
}

// route returns where requests for a host go, or nil.
func (i *ingress) route(host string) *v1alpha1.HTTPIngressPath {
	all, err := i.lister.List(labels.Everything())
	if err != nil {
		return nil
	}
	for _, one := range all {
		for _, rule := range one.Spec.Rules {
			if slices.ContainsFunc(rule.Hosts, func(name string) bool { return strings.EqualFold(name, host) }) && rule.HTTP != nil && len(rule.HTTP.Paths) > 0 {
				return &rule.HTTP.Paths[0]
			}
		}
	}
	return nil
}

// choose returns the split for a percentage from 0 to 99. Knative's percentages add up to
// 100.
func choose(splits []v1alpha1.IngressBackendSplit, percentage int) v1alpha1.IngressBackendSplit {
	for _, split := range splits[:len(splits)-1] {
		if percentage -= split.Percent; percentage < 0 {
			return split
		}
	}
	return splits[len(splits)-1]
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingclient "knative.dev/networking/pkg/client/clientset/versioned"
	networkinginformers "knative.dev/networking/pkg/client/informers/externalversions"
	networkinglisters "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
)

// RevisionsLabel on a Namespace tells the simulated data plane of a local cluster what to
// do with Revisions there that are not Ready yet.
const RevisionsLabel = "env.test/revisions"

// The values of RevisionsLabel. Without the label Revisions become Ready.
const (
	// RevisionsFail makes Pods never start: Revisions get Ready=False with reason
	// ProgressDeadlineExceeded, without the ten minutes that Knative allows.
	RevisionsFail = "fail"
	// RevisionsWait makes Revisions stay Ready=Unknown while the label is set.
	RevisionsWait = "wait"
)

// dataPlane simulates what a local cluster lacks: the kubelet, Knative's autoscaler and
// an ingress. It writes the status that these would write, so Knative's own controller
// makes Revisions, Routes and Services Ready by its own rules.
type dataPlane struct {
	kube       kubernetes.Interface
	serving    servingclient.Interface
	networking networkingclient.Interface

	namespaces  corelisters.NamespaceLister
	pods        corelisters.PodLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	ingresses   networkinglisters.IngressLister

	queue workqueue.TypedRateLimitingInterface[item]
}

// item is a queued object.
type item struct{ kind, namespace, name string }

const dataPlaneWorkers = 8

// startDataPlane runs the data plane until the supervisor stops.
func (s *supervisor) startDataPlane(ctx context.Context) error {
	// A separate user distinguishes it from the tests in the audit log.
	kubeconfig, err := s.keys.kubeconfig(s.config.Host, "stand-in-data-plane", "system:masters")
	if err != nil {
		return err
	}
	if err := writeKubeconfig(s.layout.kubeconfigOf("data-plane"), kubeconfig); err != nil {
		return err
	}
	config, err := loadConfig(s.layout.kubeconfigOf("data-plane"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 1000
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		return err
	}
	networking, err := networkingclient.NewForConfig(config)
	if err != nil {
		return err
	}
	return newDataPlane(kube, serving, networking).start(ctx, s.life)
}

func newDataPlane(kube kubernetes.Interface, serving servingclient.Interface, networking networkingclient.Interface) *dataPlane {
	return &dataPlane{
		kube: kube, serving: serving, networking: networking,
		queue: workqueue.NewTypedRateLimitingQueue(
			// Conflicts are the only expected errors, so retry soon.
			workqueue.NewTypedItemExponentialFailureRateLimiter[item](10*time.Millisecond, 2*time.Second),
		),
	}
}

// start returns once the caches are synced; the workers run until life ends.
func (d *dataPlane) start(ctx, life context.Context) error {
	core := informers.NewSharedInformerFactory(d.kube, 0)
	knativePods := informers.NewSharedInformerFactoryWithOptions(d.kube, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = serving.RevisionLabelKey
	}))
	knative := servinginformers.NewSharedInformerFactory(d.serving, 0)
	networking := networkinginformers.NewSharedInformerFactory(d.networking, 0)

	d.namespaces = core.Core().V1().Namespaces().Lister()
	d.pods = knativePods.Core().V1().Pods().Lister()
	d.autoscalers = knative.Autoscaling().V1alpha1().PodAutoscalers().Lister()
	d.ingresses = networking.Networking().V1alpha1().Ingresses().Lister()

	var synced []cache.InformerSynced
	for kind, informer := range map[string]cache.SharedIndexInformer{
		// A change of a Namespace's label enqueues everything in it that waits or failed.
		"Namespace":     core.Core().V1().Namespaces().Informer(),
		"Pod":           knativePods.Core().V1().Pods().Informer(),
		"PodAutoscaler": knative.Autoscaling().V1alpha1().PodAutoscalers().Informer(),
		"Ingress":       networking.Networking().V1alpha1().Ingresses().Informer(),
	} {
		registration, err := informer.AddEventHandler(d.enqueue(kind))
		if err != nil {
			return err
		}
		synced = append(synced, registration.HasSynced)
	}
	core.Start(life.Done())
	knativePods.Start(life.Done())
	knative.Start(life.Done())
	networking.Start(life.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("fill the caches of the simulated data plane: %w", context.Cause(ctx))
	}

	for range dataPlaneWorkers {
		go d.work(life)
	}
	context.AfterFunc(life, d.queue.ShutDown)
	return nil
}

func (d *dataPlane) enqueue(kind string) cache.ResourceEventHandler {
	add := func(object any) {
		if o, ok := object.(metav1.Object); ok {
			d.queue.Add(item{kind, o.GetNamespace(), o.GetName()})
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, object any) { add(object) }}
}

func (d *dataPlane) work(ctx context.Context) {
	for {
		i, shutdown := d.queue.Get()
		if shutdown {
			return
		}
		// Nothing to do for deleted objects; all other errors are retried, across any
		// outage of the API server.
		if err := d.reconcile(ctx, i); err != nil && !apierrors.IsNotFound(err) {
			d.queue.AddRateLimited(i)
		} else {
			d.queue.Forget(i)
		}
		d.queue.Done(i)
	}
}

func (d *dataPlane) reconcile(ctx context.Context, i item) error {
	switch i.kind {
	case "Namespace":
		return d.enqueueAll(i.name)
	case "Pod":
		return d.runPod(ctx, i.namespace, i.name)
	case "PodAutoscaler":
		return d.scale(ctx, i.namespace, i.name)
	default:
		return d.route(ctx, i.namespace, i.name)
	}
}

// enqueueAll enqueues all Pods and PodAutoscalers of the Namespace.
func (d *dataPlane) enqueueAll(namespace string) error {
	pods, err := d.pods.Pods(namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	for _, pod := range pods {
		d.queue.Add(item{"Pod", namespace, pod.Name})
	}
	autoscalers, err := d.autoscalers.PodAutoscalers(namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	for _, autoscaler := range autoscalers {
		d.queue.Add(item{"PodAutoscaler", namespace, autoscaler.Name})
	}
	return nil
}

// fate returns the Namespace's RevisionsLabel.
func (d *dataPlane) fate(namespace string) (string, error) {
	ns, err := d.namespaces.Get(namespace)
	if err != nil {
		return "", err
	}
	return ns.Labels[RevisionsLabel], nil
}

// runPod reports the Pod as running, as its kubelet would. Otherwise its Deployment would
// exceed its progress deadline and fail a Revision that had been Ready.
func (d *dataPlane) runPod(ctx context.Context, namespace, name string) error {
	fate, err := d.fate(namespace)
	if err != nil || fate != "" {
		return err
	}
	pod, err := d.pods.Pods(namespace).Get(name)
	if err != nil || pod.Status.Phase == corev1.PodRunning || pod.DeletionTimestamp != nil {
		return err
	}
	pod = pod.DeepCopy()
	now := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &now
	pod.Status.Conditions, pod.Status.ContainerStatuses = nil, nil
	for _, condition := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions,
			corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	started := true
	for _, container := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, Ready: true, Started: &started,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	_, err = d.kube.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// scale reports the scale as Knative's autoscaler would.
func (d *dataPlane) scale(ctx context.Context, namespace, name string) error {
	fate, err := d.fate(namespace)
	if err != nil || fate == RevisionsWait {
		return err
	}
	original, err := d.autoscalers.PodAutoscalers(namespace).Get(name)
	if err != nil || original.IsReady() {
		return err
	}
	pa := original.DeepCopy()
	status := &pa.Status
	status.InitializeConditions()
	status.ServiceName, status.MetricsServiceName = pa.Name, pa.Name+"-private"
	status.MarkSKSReady()
	if fate == RevisionsFail {
		// The autoscaler's status after the progress deadline. Knative's controller takes
		// an inactive, never initialized target for a failed Revision.
		scaledTo(status, 0)
		status.MarkInactive("TimedOut", "The target could not be activated.")
	} else {
		scaledTo(status, 1)
		status.MarkScaleTargetInitialized()
		status.MarkActive()
	}
	status.ObservedGeneration = pa.Generation
	if equality.Semantic.DeepEqual(original.Status, pa.Status) {
		return nil
	}
	_, err = d.serving.AutoscalingV1alpha1().PodAutoscalers(namespace).UpdateStatus(ctx, pa, metav1.UpdateOptions{})
	return err
}

func scaledTo(status *autoscalingv1alpha1.PodAutoscalerStatus, n int32) {
	status.DesiredScale, status.ActualScale = &n, &n
}

// route reports the Ingress as programmed, as an ingress controller would.
func (d *dataPlane) route(ctx context.Context, namespace, name string) error {
	ingress, err := d.ingresses.Ingresses(namespace).Get(name)
	if err != nil || ingress.IsReady() {
		return err
	}
	ingress = ingress.DeepCopy()
	ingress.Status.InitializeConditions()
	ingress.Status.MarkNetworkConfigured()
	balancer := []networkingv1alpha1.LoadBalancerIngressStatus{{DomainInternal: "ingress.stand-in.svc.cluster.local"}}
	ingress.Status.MarkLoadBalancerReady(balancer, slices.Clone(balancer))
	ingress.Status.ObservedGeneration = ingress.Generation
	_, err = d.networking.NetworkingV1alpha1().Ingresses(namespace).UpdateStatus(ctx, ingress, metav1.UpdateOptions{})
	return err
}

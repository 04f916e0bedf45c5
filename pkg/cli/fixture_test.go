// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	fakediscovery "k8s.io/client-go/discovery/fake"
	fakekube "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	fakemetadata "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	fakeserving "knative.dev/serving/pkg/client/clientset/versioned/fake"
	servingscheme "knative.dev/serving/pkg/client/clientset/versioned/scheme"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	fakeours "pullsecrets.dev/pkg/client/clientset/versioned/fake"
	"pullsecrets.dev/pkg/dockerconfig"
	fixture "pullsecrets.dev/pkg/reconciler/testing"
	"pullsecrets.dev/pkg/verify"
)

// canary is in every credential of the tests, and must be in no output.
const canary = "cAnArY-hunter2"

var now = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// world is a fake cluster.
type world struct {
	kube, serving, ours []runtime.Object
	// forbidden are resources that the caller may not read or write.
	forbidden []string
	// answer is why a dry run of a ClusterPullSecret fails, or empty. denied is why a policy rejects it.
	answer, denied string
	// accepted are images that the registries let the credentials read, but those of the keys in
	// rejected.
	accepted  []string
	rejected  []string
	fakeKube  *fakekube.Clientset
	fakeServe *fakeserving.Clientset
	fakeMeta  *fakemetadata.FakeMetadataClient
	// others are the metadata of objects that no other client reads.
	others []runtime.Object
	// apis are the resources that the API server has.
	apis []*metav1.APIResourceList
}

// credential returns a docker config with the canary for registries.
func credential(registries ...string) []byte {
	var entries []string
	for _, registry := range registries {
		entries = append(entries, fmt.Sprintf("%q:{\"auth\":%q}", registry, base64.StdEncoding.EncodeToString([]byte("robot:"+canary))))
	}
	return []byte(`{"auths":{` + strings.Join(entries, ",") + `}}`)
}

func pullSecret(namespace, name string, registries ...string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: credential(registries...)},
	}
}

const unauthorized = `Revision "web-00002" failed with message: Unable to fetch image "ghcr.io/acme/app:v1": failed to resolve image to digest: HEAD https://ghcr.io/v2/acme/app/manifests/v1: unexpected status code 401 Unauthorized.`

// newWorld returns a cluster with a Service that works, shop, and one that fails, web.
func newWorld() *world {
	shop := fixture.Service("team-a", "shop", fixture.WithPullSecrets("ghcr"), fixture.WithAnnotation(pullsecrets.AddedAnnotation, `{"ghcr":"namespace"}`))
	web := fixture.Service("team-a", "web", fixture.WithConfigurationsReady(corev1.ConditionFalse), fixture.WithPullSecrets("quay"), fixture.WithAnnotation(pullsecrets.SecretsAnnotation, "quay"),
		fixture.WithAnnotation(pullsecrets.AddedAnnotation, `{"quay":"service"}`))
	web.Status.Conditions[0].Message = unauthorized
	for _, svc := range []*servingv1.Service{shop, web} {
		svc.Spec.Template.Spec.Containers[0].Name = "user-container"
	}
	revision := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "web-00002", UID: types.UID("web-2"), ResourceVersion: "9", Labels: map[string]string{"serving.knative.dev/service": "web"}}}
	revision.Spec.PodSpec = web.Spec.Template.Spec.PodSpec
	revision.Status.Conditions = duckv1.Conditions{
		{Type: servingv1.RevisionConditionContainerHealthy, Status: corev1.ConditionFalse, Reason: "ContainerMissing", Message: unauthorized},
		{Type: servingv1.RevisionConditionReady, Status: corev1.ConditionFalse},
	}
	copied := pullSecret("team-a", "ghcr", "ghcr.io")
	copied.Labels = map[string]string{pullsecrets.ManagedByLabel: pullsecrets.ManagedByValue, pullsecrets.ClusterPullSecretLabel: "ghcr"}
	cps := fixture.ClusterPullSecret("ghcr", func(c *v1alpha1.ClusterPullSecret) {
		c.Status.Registries = []string{"ghcr.io"}
		c.Status.Namespaces = &v1alpha1.NamespaceCounts{Selected: 3, Wanted: 1, Synced: 1}
		c.Status.InitializeConditions()
		c.Status.MarkSourceReady()
		c.Status.MarkDistributed()
	})
	return &world{
		kube: []runtime.Object{
			fixture.Namespace("team-a", fixture.WithNamespaceAnnotation(pullsecrets.SecretsAnnotation, "ghcr")),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "knative-serving", Labels: map[string]string{"app.kubernetes.io/version": "1.23.0"}}},
			fixture.ServiceAccount("team-a", "default", nil), copied,
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "pullsecrets-system", Name: "config-pullsecrets"}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "knative-serving", Name: "config-deployment"}, Data: map[string]string{"queue-sidecar-image": "gcr.io/knative-releases/queue:v1"}},
			deployment("controller", 2), deployment("webhook", 0), lease(),
		},
		serving:  []runtime.Object{shop, web, revision},
		ours:     []runtime.Object{cps},
		accepted: []string{"ghcr.io/acme/app:v1"},
		apis:     []*metav1.APIResourceList{{GroupVersion: "serving.knative.dev/v1"}, {GroupVersion: "pullsecrets.dev/v1alpha1"}},
	}
}

func deployment(name string, available int32) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "pullsecrets-system", Name: name, Labels: map[string]string{"app.kubernetes.io/version": "v0.3.0"}}}
	d.Status.AvailableReplicas = available
	return d
}

func lease() *coordinationv1.Lease {
	holder, seconds, renewed := "controller-1", int32(60), metav1.NewMicroTime(now.Time)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "pullsecrets-system", Name: "controller.pullsecrets.00-of-01"}}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &renewed
	return l
}

// forbid makes requests for a resource fail, as RBAC does.
func (w *world) forbid(resource string) { w.forbidden = append(w.forbidden, resource) }

// Check implements checker: it accepts what is in accepted, and rejects all else.
func (w *world) Check(_ context.Context, _ dockerconfig.Config, questions []verify.Question, _ bool) (answers []verify.Answer) {
	for _, q := range questions {
		a := verify.Answer{Question: q, Result: verify.Rejected, Why: "401 Unauthorized"}
		switch {
		case slices.Contains(w.accepted, q.Image) && !slices.Contains(w.rejected, q.Registry):
			a.Result, a.Why = verify.Accepted, ""
		case strings.Contains(q.Image, "unreachable"):
			a.Result, a.Why = verify.Unknown, "connection refused"
		}
		answers = append(answers, a)
	}
	return answers
}

// metadata returns the metadata of all objects but ClusterPullSecrets.
func (w *world) metadata(t *testing.T) (all []runtime.Object) {
	t.Helper()
	for _, object := range slices.Concat(w.kube, w.serving) {
		kinds, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			kinds, _, err = servingscheme.Scheme.ObjectKinds(object)
		}
		if err != nil {
			t.Fatal(err)
		}
		meta := object.(metav1.ObjectMetaAccessor).GetObjectMeta()
		partial := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: meta.GetNamespace(), Name: meta.GetName(), Labels: meta.GetLabels(), Annotations: meta.GetAnnotations(),
		}}
		partial.SetGroupVersionKind(kinds[0])
		all = append(all, partial)
	}
	return append(all, w.others...)
}

// result is that of a command.
type result struct {
	out, err string
	code     int
}

// run runs a command against the fake cluster, with this input.
func (w *world) run(t *testing.T, in string, args ...string) result {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	w.fakeKube, w.fakeServe = fakekube.NewClientset(w.kube...), fakeserving.NewSimpleClientset(w.serving...)
	known := fakemetadata.NewTestScheme()
	if err := metav1.AddMetaToScheme(known); err != nil {
		t.Fatal(err)
	}
	w.fakeMeta = fakemetadata.NewSimpleMetadataClient(known, w.metadata(t)...)
	ours := fakeours.NewSimpleClientset(w.ours...)
	ours.PrependReactor("create", "clusterpullsecrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		switch {
		case w.denied != "":
			return true, nil, apierrors.NewForbidden(v1alpha1.Resource("clusterpullsecrets"), "probe-x", errors.New(w.denied))
		case w.answer == "":
			return false, nil, nil
		}
		return true, nil, apierrors.NewInternalError(errors.New(w.answer))
	})
	discovery := w.fakeKube.Discovery().(*fakediscovery.FakeDiscovery)
	discovery.FakedServerVersion = &version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.3"}
	w.fakeKube.Resources = w.apis
	for _, resource := range w.forbidden {
		reject := func(a clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("user cannot %s %s", a.GetVerb(), resource))
		}
		w.fakeKube.PrependReactor("*", resource, reject)
		w.fakeServe.PrependReactor("*", resource, reject)
		w.fakeMeta.PrependReactor("*", resource, reject)
		ours.PrependReactor("*", resource, reject)
	}
	w.fakeKube.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}, nil
	})
	w.fakeKube.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = review.Spec.ResourceAttributes.Group != "rbac.authorization.k8s.io"
		return true, review, nil
	})
	var out, errOut bytes.Buffer
	o := &options{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(in), Out: &out, ErrOut: &errOut},
		flags:     genericclioptions.NewConfigFlags(true), now: func() metav1.Time { return now },
		checker: func() checker { return w },
		connect: func() (*clients, error) { return &clients{w.fakeKube, w.fakeServe, ours, w.fakeMeta}, nil },
	}
	code := o.run(t.Context(), append([]string{"kn-pullsecrets"}, args...))
	r := result{out.String(), errOut.String(), code}
	if text := r.out + r.err; strings.Contains(text, canary) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("robot:"+canary))) {
		t.Errorf("%v prints a credential:\n%s", args, text)
	}
	return r
}

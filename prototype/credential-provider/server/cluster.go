// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	serving "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/source"
)

// apiServer reads from the API server, for each request. More than a prototype would use
// caches for everything but the source.
type apiServer struct {
	audience string
	kube     kubernetes.Interface
	serving  serving.Interface
	own      versioned.Interface
	sources  *source.Reader
}

func newAPIServer(cfg *rest.Config, audience string) (*apiServer, error) {
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	knative, err := serving.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	own, err := versioned.NewForConfig(cfg)
	return &apiServer{audience: audience, kube: kube, serving: knative, own: own, sources: source.NewReader(kube)}, err
}

func (a *apiServer) review(ctx context.Context, token string) (user string, extra map[string][]string, reason string, err error) {
	if token == "" {
		return "", nil, "there is no token", nil
	}
	review, err := a.kube.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{a.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		// The error of a client could quote the object.
		return "", nil, "", fmt.Errorf("the TokenReview failed: %s", apierrors.ReasonForError(err))
	}
	// An API server that does not know audiences leaves them out.
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, a.audience) {
		return "", nil, "the token is not valid for audience " + a.audience, nil
	}
	extra = make(map[string][]string, len(review.Status.User.Extra))
	for key, values := range review.Status.User.Extra {
		extra[key] = values
	}
	return review.Status.User.Username, extra, "", nil
}

func (a *apiServer) state(ctx context.Context, namespace string) (state, error) {
	var s state
	settings, err := a.kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Get(ctx, config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		settings, err = &corev1.ConfigMap{}, nil
	}
	if err != nil {
		return s, fmt.Errorf("failed to read the settings: %w", err)
	}
	if s.settings, err = config.NewFromConfigMap(settings); err != nil {
		return s, fmt.Errorf("failed to parse the settings: %w", err)
	}
	if s.namespace, err = a.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err != nil {
		return s, fmt.Errorf("failed to read Namespace %s: %w", namespace, err)
	}
	services, err := a.serving.ServingV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("failed to list Services of namespace %s: %w", namespace, err)
	}
	for i := range services.Items {
		s.services = append(s.services, &services.Items[i])
	}
	all, err := a.own.PullsecretsV1alpha1().ClusterPullSecrets().List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	for i := range all.Items {
		s.all = append(s.all, &all.Items[i])
	}
	return s, nil
}

func (a *apiServer) source(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (config dockerconfig.Config, release func(), err error) {
	// Requests at the same time share one read, whichever version it finds.
	config, _, release, err = a.sources.Hold(ctx, source.ScopeOf(cps), "")
	return config, release, err
}

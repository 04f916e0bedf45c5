// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	ourclient "pullsecrets.dev/pkg/client/clientset/versioned"
)

// clients talk to the API server as the caller.
type clients struct {
	kube    kubernetes.Interface
	serving servingclient.Interface
	ours    ourclient.Interface
	// metadata is for objects whose content is of no use, such as credentials, or of a kind that
	// the clients do not know.
	metadata metadata.Interface
}

// The command line sends more requests at once than a controller would.
const (
	queriesPerSecond = 50
	burst            = 100
)

// dial returns clients for the flags.
func (o *options) dial() (*clients, error) {
	config, err := o.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = queriesPerSecond, burst
	config.UserAgent = "kn-pullsecrets/" + Version
	// Deprecations of the API server are not for the users of these commands.
	config.WarningHandler = rest.NoWarnings{}
	c := &clients{}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	if c.serving, err = servingclient.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("create a client for Knative: %w", err)
	}
	if c.ours, err = ourclient.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("create a client for ClusterPullSecrets: %w", err)
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("create a client for metadata: %w", err)
	}
	return c, nil
}

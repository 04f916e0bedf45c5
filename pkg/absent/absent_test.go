// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package absent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned/fake"
	"pullsecrets.dev/pkg/client/informers/externalversions"
	"pullsecrets.dev/pkg/client/injection/informers/factory"
)

// An informer syncs at once, stays empty, and ends with its context.
func TestInformer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		informer := Informer(&corev1.Secret{}, &corev1.SecretList{})
		done := make(chan struct{})
		go func() { informer.RunWithContext(ctx); close(done) }()
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Fatal("it does not sync")
		}
		time.Sleep(24 * time.Hour)
		if all := informer.GetStore().List(); len(all) > 0 {
			t.Errorf("it has %v", all)
		}
		cancel()
		<-done
	})
}

// Whoever gets the informer of ClusterPullSecrets from the factory gets the empty one, and
// no request is sent although there is a ClusterPullSecret.
func TestClusterPullSecrets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	object := &v1alpha1.ClusterPullSecret{}
	object.Name = "ghcr"
	client := fake.NewSimpleClientset(object)
	informers := externalversions.NewSharedInformerFactory(client, 0)
	withoutClusterPullSecrets(context.WithValue(ctx, factory.Key{}, informers))
	lister := informers.Pullsecrets().V1alpha1().ClusterPullSecrets()
	go lister.Informer().RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), lister.Informer().HasSynced) {
		t.Fatal("it does not sync")
	}
	if _, err := lister.Lister().Get("ghcr"); err == nil {
		t.Error("it found the ClusterPullSecret")
	}
	if actions := client.Actions(); len(actions) > 0 {
		t.Errorf("it sent %v", actions)
	}
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// lapse is the end of a grant at the last moment at which the controller can miss it.
type lapse struct {
	*platform
	n   *tenant
	end func(context.Context, *lapse) error
	// answered has the status of the first request for the copy.
	answered chan int
}

// The controller reads caches, which may be stale. A grant that ends between the decision
// to create a copy and its request leaves a copy without a grant. No such copy survives,
// and none is created in a Namespace that is being deleted.
func TestCopyFromStaleCacheDoesNotSurvive(t *testing.T) {
	env.Get(t).Need(t, env.ProcessControl)
	controller := newFaultyController(t)
	var lapses []*lapse
	for _, end := range []func(context.Context, *lapse) error{
		func(ctx context.Context, l *lapse) error { return l.label(ctx, teamLabel, nil) },
		func(ctx context.Context, l *lapse) error {
			return l.label(ctx, pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue)
		},
		func(ctx context.Context, l *lapse) error {
			return l.change(ctx, `{"spec":{"namespaceSelector":{"matchLabels":{"`+teamLabel+`":"other"}}}}`)
		},
		func(ctx context.Context, l *lapse) error {
			return l.cps.PullsecretsV1alpha1().ClusterPullSecrets().Delete(ctx, l.name, metav1.DeleteOptions{})
		},
		func(ctx context.Context, l *lapse) error {
			return l.Kube.CoreV1().Namespaces().Delete(ctx, l.n.ns, metav1.DeleteOptions{})
		},
	} {
		l := &lapse{platform: newPlatform(t), end: end, answered: make(chan int, 1)}
		l.n = newTenant(t, l.granted())
		l.grant(always)
		lapses = append(lapses, l)
	}
	going := lapses[len(lapses)-1]
	controller.start(func(w write) fault { endGrants(lapses, w); return none }, func(w write) { endGrants(lapses, w) })
	for _, l := range lapses {
		eventually(t, func(context.Context) error {
			select {
			case code := <-l.answered:
				if rejected := code != http.StatusCreated; rejected != (l == going) {
					t.Errorf("request for the copy in Namespace %s got status %d", l.n.ns, code)
				}
				return nil
			default:
				return fmt.Errorf("no copy was attempted in Namespace %s", l.n.ns)
			}
		})
		l.n.waitForNoCopy(l.name)
	}
}

// endGrants ends a grant before the first request for its copy, and records the status of
// that request.
func endGrants(lapses []*lapse, w write) {
	for _, l := range lapses {
		if w.method != http.MethodPost || w.path != fmt.Sprintf("/api/v1/namespaces/%s/secrets", l.n.ns) {
			continue
		}
		switch {
		case w.code != 0 && len(l.answered) == 0:
			l.answered <- w.code
		case l.end != nil:
			if err := l.end(l.t.Context(), l); err != nil {
				l.t.Error("end the grant: ", err)
			}
			l.end = nil
		}
	}
}

func (l *lapse) label(ctx context.Context, key string, value any) error {
	_, err := l.Kube.CoreV1().Namespaces().Patch(ctx, l.n.ns, types.MergePatchType,
		encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}}), metav1.PatchOptions{FieldManager: user})
	return err
}

func (l *lapse) change(ctx context.Context, patch string) error {
	_, err := l.cps.PullsecretsV1alpha1().ClusterPullSecrets().Patch(ctx, l.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: user})
	return err
}

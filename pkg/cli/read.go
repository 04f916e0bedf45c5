// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/knative"
)

// reader reads objects with the rights of the caller, and notes what it may not read. Its
// methods return an error only if the cluster cannot be read at all.
type reader struct {
	*clients
	now    metav1.Time
	unread []explain.Unread
	// namespaces caches what was read of namespaces.
	namespaces map[string]*namespaceView
}

func (o *options) newReader() (*reader, error) {
	c, err := o.connect()
	if err != nil {
		return nil, err
	}
	return &reader{clients: c, now: o.now(), namespaces: map[string]*namespaceView{}}, nil
}

// note adds something that was not checked.
func (r *reader) note(what, why string) {
	if u := (explain.Unread{What: what, Why: why}); !slices.Contains(r.unread, u) {
		r.unread = append(r.unread, u)
	}
}

// readable reports whether a read succeeded, if the caller may do it. It notes what the caller
// may not read, and returns all other errors.
func (r *reader) readable(err error, what, verb, resource string) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsForbidden(err):
		r.note(what, "cannot "+verb+" "+resource)
		return false, nil
	}
	return false, fmt.Errorf("%s %s: %w", verb, resource, err)
}

// knativeNamespace is the namespace of Knative Serving.
func knativeNamespace() string { return cmp.Or(os.Getenv("KNATIVE_NAMESPACE"), "knative-serving") }

// configuration reads the settings of the installation. Where they cannot be read or are invalid,
// the defaults apply.
func (r *reader) configuration(ctx context.Context) (*config.Config, error) {
	cm, err := r.kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Get(ctx, config.Name, metav1.GetOptions{})
	readable, err := r.readable(err, "settings of the installation, the defaults are assumed", "get", "configmaps in namespace "+pullsecrets.SystemNamespace)
	if err != nil {
		return nil, err
	}
	if readable {
		if c, err := config.NewFromConfigMap(cm); err == nil {
			return c, nil
		}
	}
	return config.Default(), nil
}

// settings reads the settings of the installation and of Knative. Where they cannot be read, the
// defaults apply.
func (r *reader) settings(ctx context.Context) (explain.Settings, error) {
	var s explain.Settings
	s.Images, _ = knative.ImagesOf(nil)
	var err error
	if s.Config, err = r.configuration(ctx); err != nil {
		return s, err
	}
	cm, err := r.kube.CoreV1().ConfigMaps(knativeNamespace()).Get(ctx, knative.Deployment, metav1.GetOptions{})
	readable, err := r.readable(err, "image of the queue-proxy, and registries that skip tag resolution", "get", "configmaps in namespace "+knativeNamespace())
	if err != nil {
		return s, err
	}
	if readable {
		if images, err := knative.ImagesOf(cm); err == nil {
			s.Images = images
		}
	}
	all, err := r.ours.PullsecretsV1alpha1().ClusterPullSecrets().List(ctx, metav1.ListOptions{})
	s.NotInstalled = apierrors.IsNotFound(err)
	readable, err = r.readable(err, "ClusterPullSecrets", "list", clusterPullSecrets)
	if err != nil {
		return s, err
	}
	if s.OfferedUnknown = !readable && !s.NotInstalled; readable {
		for i := range all.Items {
			s.Offered = append(s.Offered, &all.Items[i])
		}
		slices.SortFunc(s.Offered, func(a, b *v1alpha1.ClusterPullSecret) int { return cmp.Compare(a.Name, b.Name) })
	}
	return s, nil
}

// clusterPullSecrets is how messages name the resource.
const clusterPullSecrets = "clusterpullsecrets." + pullsecrets.GroupName

// namespaceView is what was read of a namespace.
type namespaceView struct {
	namespace *corev1.Namespace
	accounts  map[string]*accountView
	secrets   map[string]explain.Secret
}

type accountView struct {
	account *corev1.ServiceAccount
	unknown bool
}

// view returns what is known of a namespace, which is read once.
func (r *reader) view(ctx context.Context, name string) (*namespaceView, error) {
	if v := r.namespaces[name]; v != nil {
		return v, nil
	}
	v := &namespaceView{accounts: map[string]*accountView{}, secrets: map[string]explain.Secret{}}
	namespace, err := r.kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	readable, err := r.readable(err, "Namespace "+name+", so what is declared is not known", "get", "namespaces")
	if err != nil {
		return nil, err
	}
	if readable {
		v.namespace = namespace
	}
	r.namespaces[name] = v
	return v, r.listSecrets(ctx, name, v)
}

// account returns a ServiceAccount of a namespace.
func (r *reader) account(ctx context.Context, namespace, name string) (*accountView, error) {
	v, err := r.view(ctx, namespace)
	if err != nil || v.accounts[name] != nil {
		return v.accounts[name], err
	}
	if !explain.IsName(name) {
		v.accounts[name] = &accountView{} // It cannot exist, and the client may fail on the name.
		return v.accounts[name], nil
	}
	account, err := r.kube.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	unknown := apierrors.IsForbidden(err)
	readable, err := r.readable(err, "pull secrets of ServiceAccount "+name, "get", "serviceaccounts in namespace "+namespace)
	if err != nil {
		return nil, err
	}
	a := &accountView{unknown: unknown}
	if readable {
		a.account = account
	}
	v.accounts[name] = a
	return a, nil
}

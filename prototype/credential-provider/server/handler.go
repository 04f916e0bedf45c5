// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/prototype/credential-provider/api"
)

// cluster is what the handler needs of the cluster.
type cluster interface {
	// review returns the user of a token for the server's audience. The reason is empty if
	// the token is valid.
	review(ctx context.Context, token string) (user string, extra map[string][]string, reason string, err error)
	state(ctx context.Context, namespace string) (state, error)
	// source returns what a copy holds. The caller releases it after use.
	source(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (config dockerconfig.Config, release func(), err error)
}

// handler answers plugins. Its log has who asked for which image and the result, and never a
// token or a credential.
type handler struct {
	cluster cluster
	cache   time.Duration
}

// maxRequest is the size of a request. Tokens of ServiceAccounts have about a kilobyte.
const maxRequest = 64 << 10

// rejection is a request that is not answered, with its HTTP status.
type rejection struct {
	status int
	reason string
}

func (r *rejection) Error() string { return r.reason }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "expected POST", http.StatusMethodNotAllowed)
		return
	}
	var request api.Request
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&request)
	if err != nil || request.Kind != api.RequestKind || request.APIVersion != api.Version || request.Image == "" {
		http.Error(w, fmt.Sprintf("expected a %s of %s", api.RequestKind, api.Version), http.StatusBadRequest)
		return
	}
	response, err := h.answer(r.Context(), certificateOf(r), request)
	if rejected := (*rejection)(nil); errors.As(err, &rejected) {
		log.Printf("image %q: rejected: %s", request.Image, rejected.reason)
		http.Error(w, rejected.reason, rejected.status)
		return
	}
	if err != nil {
		log.Printf("image %q: failed: %v", request.Image, err)
		// The reason may name objects of others.
		http.Error(w, "the server failed; see its log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(response); err != nil {
		log.Printf("image %q: the response could not be sent", request.Image)
	}
}

// certificateOf returns the node whose verified certificate the client has sent, or an empty
// string.
func certificateOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	subject := r.TLS.PeerCertificates[0].Subject
	return nodeOf(subject.CommonName, subject.Organization)
}

// answer reads, decides and responds. A source that cannot be read is logged and left out, as
// one copy that is missing leaves the others.
func (h *handler) answer(ctx context.Context, node string, request api.Request) (api.Response, error) {
	user, extra, reason, err := h.cluster.review(ctx, request.ServiceAccountToken)
	if err != nil {
		return api.Response{}, err
	}
	if reason != "" {
		return api.Response{}, &rejection{http.StatusUnauthorized, reason}
	}
	who, reason := callerOf(user, extra)
	if reason == "" {
		reason = who.notOn(node)
	}
	if reason != "" {
		return api.Response{}, &rejection{http.StatusForbidden, reason}
	}
	s, err := h.cluster.state(ctx, who.namespace)
	if err != nil {
		return api.Response{}, err
	}
	wanted, reason := due(s)
	var configs []dockerconfig.Config
	var used []string
	for _, cps := range wanted {
		config, release, err := h.cluster.source(ctx, cps)
		if err != nil {
			log.Printf("ClusterPullSecret %s: its source is left out: %v", cps.Name, err)
			continue
		}
		// The response holds what it needs.
		defer release()
		configs, used = append(configs, config), append(used, cps.Name)
	}
	response := respond(request.Image, h.cache, configs...)
	if reason == "" {
		reason = fmt.Sprintf("%d credentials of ClusterPullSecrets [%s]", len(response.Auth), strings.Join(used, " "))
	}
	log.Printf("image %q: for ServiceAccount %s/%s on node %s: %s", request.Image, who.namespace, who.account, node, reason)
	return response, nil
}

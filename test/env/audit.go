// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"time"
)

// AuditLog reads which requests the API server of a local cluster has answered. Tests use
// it for promises such as "exactly one write". A watch appears when it ends.
type AuditLog struct {
	path string
}

// Mark is a position in the audit log.
type Mark int64

// Requests are answered requests in the order in which they ended.
type Requests []Request

// Request is one line of the audit log.
type Request struct {
	User        string
	UserAgent   string
	Verb        string // get, list, watch, create, update, patch, delete ...
	Resource    string // plural, with its group: services.serving.knative.dev
	Subresource string
	Namespace   string
	Name        string
	Code        int // of the HTTP response
	DryRun      bool
	At          time.Time
}

// auditLag is more than the delay between a response and its line in the log.
const auditLag = 200 * time.Millisecond

// Mark returns the current position. All requests answered so far are before it.
func (a *AuditLog) Mark() (Mark, error) {
	time.Sleep(auditLag)
	info, err := os.Stat(a.path)
	if err != nil {
		return 0, err
	}
	return Mark(info.Size()), nil
}

// Since returns the requests answered since the mark.
func (a *AuditLog) Since(mark Mark) (Requests, error) {
	requests, _, err := a.Next(mark)
	return requests, err
}

// Next is Since and also returns the mark to continue from, for callers that follow the
// log.
func (a *AuditLog) Next(mark Mark) (Requests, Mark, error) {
	time.Sleep(auditLag)
	f, err := os.Open(a.path)
	if err != nil {
		return nil, mark, err
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	if mark > 0 {
		// The line at the mark may have been incomplete. Its request was answered before
		// the mark.
		if _, err := f.Seek(int64(mark)-1, io.SeekStart); err != nil {
			return nil, mark, err
		}
		half, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, mark, ignoreEOF(err)
		}
		mark += Mark(len(half) - 1)
	}
	var requests Requests
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return requests, mark, ignoreEOF(err) // An incomplete line is still being written.
		}
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, mark, fmt.Errorf("%s: %w", a.path, err)
		}
		requests = append(requests, event.request())
		mark += Mark(len(line))
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// auditEvent is the needed part of an Event of audit.k8s.io/v1.
type auditEvent struct {
	RequestURI       string    `json:"requestURI"`
	Verb             string    `json:"verb"`
	User             auditUser `json:"user"`
	ImpersonatedUser auditUser `json:"impersonatedUser"`
	UserAgent        string    `json:"userAgent"`
	ObjectRef        struct {
		Resource    string `json:"resource"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	StageTimestamp time.Time `json:"stageTimestamp"`
}

type auditUser struct {
	Username string `json:"username"`
}

func (e auditEvent) request() Request {
	user := e.User.Username
	if e.ImpersonatedUser.Username != "" {
		user = e.ImpersonatedUser.Username
	}
	resource := e.ObjectRef.Resource
	if e.ObjectRef.APIGroup != "" {
		resource += "." + e.ObjectRef.APIGroup
	}
	return Request{
		User: user, UserAgent: e.UserAgent, Verb: e.Verb,
		Resource: resource, Subresource: e.ObjectRef.Subresource,
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		Code: e.ResponseStatus.Code, DryRun: strings.Contains(e.RequestURI, "dryRun=All"),
		At: e.StageTimestamp,
	}
}

// By returns the requests of the user.
func (r Requests) By(user string) Requests {
	return r.where(func(q Request) bool { return q.User == user })
}

// Of returns the requests for one of the resources, as "secrets" or
// "services.serving.knative.dev".
func (r Requests) Of(resources ...string) Requests {
	return r.where(func(q Request) bool { return slices.Contains(resources, q.Resource) })
}

// In returns the requests in one of the namespaces.
func (r Requests) In(namespaces ...string) Requests {
	return r.where(func(q Request) bool { return slices.Contains(namespaces, q.Namespace) })
}

// Verbs returns the requests with one of the verbs.
func (r Requests) Verbs(verbs ...string) Requests {
	return r.where(func(q Request) bool { return slices.Contains(verbs, q.Verb) })
}

// Writes returns the requests that changed something or tried to, without leases, which
// are only leader election.
func (r Requests) Writes() Requests {
	return r.Verbs("create", "update", "patch", "delete", "deletecollection").where(func(q Request) bool {
		return q.Resource != "leases.coordination.k8s.io" && !q.DryRun
	})
}

func (r Requests) where(keep func(Request) bool) Requests {
	return slices.DeleteFunc(slices.Clone(r), func(q Request) bool { return !keep(q) })
}

// String lists the requests with counts, for messages of failing tests.
func (r Requests) String() string {
	counts := map[string]int{}
	for _, q := range r {
		resource := q.Resource
		if q.Subresource != "" {
			resource += "/" + q.Subresource
		}
		if q.Namespace != "" {
			resource += " in " + q.Namespace
		}
		counts[fmt.Sprintf("%s %s -> %d by %s", q.Verb, resource, q.Code, q.User)]++
	}
	lines := make([]string, 0, len(counts))
	for text, n := range counts {
		lines = append(lines, fmt.Sprintf("%d x %s", n, text))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// shared is the cluster of this test program.
var shared struct {
	env *Env

	mu     sync.Mutex
	notRun []string
}

// Main is called by TestMain of a suite: it sets up one cluster for the program, in a
// separate directory so that "make cluster" can stay up, runs the tests, stops the
// cluster, reports tests that were not run, and exits.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	repo, err := findRepository()
	if err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	shared.env, err = Setup(ctx, Options{Dir: filepath.Join(repo, ".cluster", "e2e")})
	if err != nil {
		return fail(err)
	}
	stop() // From here on, Ctrl-C ends the program, and the cluster with it.

	code := m.Run()
	if err := shared.env.Close(context.Background()); err != nil {
		code = max(code, fail(err))
	}
	reportNotRun()
	return code
}

// reportNotRun prints the tests that were not run. The command test/suite recognizes them
// by their own messages.
func reportNotRun() {
	if len(shared.notRun) > 0 {
		fmt.Printf("NOT RUN on this %s cluster: %d tests\n  %s\n", shared.env.Kind, len(shared.notRun), strings.Join(shared.notRun, "\n  "))
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "set up the cluster for the tests:", err)
	return 1
}

// Get returns the cluster that Main has set up.
func Get(t testing.TB) *Env {
	t.Helper()
	if shared.env == nil {
		t.Fatal("env.Get needs a TestMain that calls env.Main")
	}
	return shared.env
}

// tools are the programs built for tests, by name.
var tools struct {
	mu    sync.Mutex
	paths map[string]string
}

// Tool returns the path of a program with which users write to clusters: kubectl, kn,
// flux-apply or argocd-app. It is built from source, which takes minutes the first time.
func Tool(t testing.TB, name string) string {
	t.Helper()
	tools.mu.Lock()
	defer tools.mu.Unlock()
	if path, built := tools.paths[name]; built {
		return path
	}
	p, known := writers[name]
	if !known {
		t.Fatalf("unknown program %s", name)
	}
	repo, err := findRepository()
	if err != nil {
		t.Fatal(err)
	}
	b := builder{repo: repo, progress: t.Logf}
	if err := b.build(t.Context(), []program{p}); err != nil {
		t.Fatal(err)
	}
	if tools.paths == nil {
		tools.paths = make(map[string]string)
	}
	tools.paths[name] = filepath.Join(b.binDir(), name)
	return tools.paths[name]
}

// Capability is a feature that not every cluster offers.
type Capability string

const (
	// ProgramControl allows stopping, killing and starting the controller and the webhook.
	// A test that needs it affects others, so it must not be parallel.
	ProgramControl Capability = "control over the controller and the webhook"
	// ProcessControl is the same for all processes of a local cluster, and allows access to
	// their ports and logs.
	ProcessControl Capability = "control over the cluster's processes"
	// RequestCounts allows counting the requests that the API server answered.
	RequestCounts Capability = "the API server's audit log"
	// LoopbackCalls is a control plane on this machine, whose programs can call servers
	// of the test.
	LoopbackCalls Capability = "a control plane on the loopback of the tests"
	// RevisionOutcomes is support for RevisionsLabel.
	RevisionOutcomes Capability = "a simulated data plane with the label " + RevisionsLabel
	// PrivateRegistries are registries that log requests, on which Knative resolves tags.
	PrivateRegistries Capability = "private registries"
	// Pulls are nodes that pull images from such registries.
	Pulls Capability = "nodes with private registries (make e2e-kind)"
	// DockerHub is a registry that serves as Docker Hub.
	DockerHub Capability = "a simulated Docker Hub (make e2e-kind)"
	// OutagePolicies are the policies of config/outage.
	OutagePolicies Capability = "MutatingAdmissionPolicies (Kubernetes 1.36 and later)"
)

func (e *Env) offers(c Capability) bool {
	switch c {
	case ProgramControl:
		return e.Processes != nil
	case ProcessControl:
		return e.Processes != nil && e.Kind == Local
	case RequestCounts:
		return e.Audit != nil
	case LoopbackCalls, RevisionOutcomes:
		return e.Kind == Local
	case PrivateRegistries:
		return e.Registries != nil
	case Pulls:
		return e.Registries != nil && e.Kind != Local
	case DockerHub:
		return e.Registries != nil && e.Registries.Hub != nil
	case OutagePolicies:
		served, err := ServesMutatingPolicies(e.Kube.Discovery())
		return err == nil && served
	}
	return false
}

// Need skips the test if the cluster lacks one of the capabilities, and makes Main report
// it: a skipped test must not count as passed.
func (e *Env) Need(t testing.TB, capabilities ...Capability) {
	t.Helper()
	i := slices.IndexFunc(capabilities, func(c Capability) bool { return !e.offers(c) })
	if i < 0 {
		return
	}
	reason := fmt.Sprintf("%s: needs %s", t.Name(), capabilities[i])
	shared.mu.Lock()
	shared.notRun = append(shared.notRun, reason)
	shared.mu.Unlock()
	t.Skip("NOT RUN: " + reason)
}

// NamespaceOption modifies a namespace of a test.
type NamespaceOption func(*corev1.Namespace)

// Annotated adds an annotation.
func Annotated(key, value string) NamespaceOption {
	return func(ns *corev1.Namespace) { metav1.SetMetaDataAnnotation(&ns.ObjectMeta, key, value) }
}

// Labelled adds a label.
func Labelled(key, value string) NamespaceOption {
	return func(ns *corev1.Namespace) { metav1.SetMetaDataLabel(&ns.ObjectMeta, key, value) }
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace creates a namespace for the test, named after it, with its default
// ServiceAccount. It is deleted after the test. If the test failed, its Services and
// Events are logged first.
func (e *Env) Namespace(t testing.TB, options ...NamespaceOption) string {
	t.Helper()
	prefix := notInNames.ReplaceAllString(strings.ToLower(t.Name()), "-")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix[:min(len(prefix), 40)] + "-"}}
	for _, option := range options {
		option(ns)
	}
	ns, err := e.Kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal("create a namespace:", err)
	}
	t.Cleanup(func() {
		// The test's context is already cancelled.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			e.describe(ctx, t, ns.Name)
		}
		// The test may have deleted it already.
		if err := e.Kube.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error("delete the namespace:", err)
		}
	})
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := e.Kube.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal("wait for the default ServiceAccount:", err)
	}
	return ns.Name
}

// maxDescribed is how many Services and Events of a failed test are logged.
const maxDescribed = 20

// describe logs the namespace's first Services and Events.
func (e *Env) describe(ctx context.Context, t testing.TB, namespace string) {
	services, err := e.Serving.ServingV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Log("listing Services:", err)
		return
	}
	for _, s := range services.Items[:min(len(services.Items), maxDescribed)] {
		ready := s.Status.GetCondition("Ready")
		t.Logf("Service %s: generation %d, annotations %v, imagePullSecrets %v, latest Revision %s, %+v",
			s.Name, s.Generation, s.Annotations, s.Spec.Template.Spec.ImagePullSecrets, s.Status.LatestCreatedRevisionName, ready)
	}
	events, err := e.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Log("listing Events:", err)
		return
	}
	for _, event := range events.Items[:min(len(events.Items), maxDescribed)] {
		t.Logf("Event on %s %s: %s %s: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Type, event.Reason, event.Message)
	}
}

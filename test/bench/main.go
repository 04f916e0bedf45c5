// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the figures in the documentation: how fast the controller
// changes existing Services compared with a bare client, how fast credentials are
// distributed, how often the controller writes, its requests at rest, its memory, and the
// latency of the webhook. It starts a new local cluster for each part and prints plain
// text tables.
//
// It exits with 1 if a count is not as promised. Speeds and sizes depend on the machine
// and are only printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// settings are the values of the flags.
type settings struct {
	dir            string
	parts          string
	quick          bool
	pace           int
	services       int
	rounds         int
	restServices   int
	rest           time.Duration
	memoryServices int

	fewNamespaces      int
	manyNamespaces     int
	newNamespaces      int
	distributionRounds int
	profile            string

	foreignSecrets int

	admissionNamespaces int
	admissionPairs      int
	admissionServices   int

	neighbourRounds int

	grantNamespaces int
	grantRounds     int

	large       largeSize
	largeRounds int
}

// part is a part of the benchmark. It runs on a new cluster and prints its table.
type part struct {
	name string
	run  func(ctx context.Context, e *env.Env, s settings, out io.Writer) error
}

var parts = []part{
	{"backfill", backfill},
	{"distribution", distribution},
	{"grants", grants},
	{"rest", atRest},
	{"memory", memory},
	{"secrets", foreignSecrets},
	{"admission", admission},
	{"neighbours", neighbours},
	{"large", large},
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func main() {
	var s settings
	flag.StringVar(&s.dir, "dir", ".cluster/bench", "`directory` of the local cluster")
	flag.StringVar(&s.parts, "parts", strings.Join(partNames(), ","), "which `parts` to run, separated by commas")
	flag.BoolVar(&s.quick, "quick", false, "small numbers, to test the benchmark itself")
	flag.IntVar(&s.services, "services", 500, "backfill: number of Services on each of the two sides")
	flag.IntVar(&s.rounds, "rounds", 6, "backfill, and distribution to few: number of rounds; the two or three sides take turns in going first")
	flag.IntVar(&s.fewNamespaces, "few-namespaces", 1000, "distribution: number of Namespaces in the first run")
	flag.IntVar(&s.manyNamespaces, "many-namespaces", 5000, "distribution: number of Namespaces in the second run")
	flag.IntVar(&s.distributionRounds, "distribution-rounds", 3, "distribution: number of rounds with many Namespaces")
	flag.IntVar(&s.newNamespaces, "new-namespaces", 100, "distribution: number of new Namespaces in each round")
	flag.StringVar(&s.profile, "profile", "", "distribution, neighbours: `file` for a CPU profile of the controller, of an additional round with many Namespaces or of the first round beside hostile tenants")
	flag.IntVar(&s.foreignSecrets, "foreign-secrets", 20000, "secrets: number of Secrets of 10 KB that are not copies")
	flag.IntVar(&s.restServices, "rest-services", 50, "rest: number of Services")
	flag.DurationVar(&s.rest, "rest", time.Minute, "rest: how long to count requests")
	flag.IntVar(&s.memoryServices, "memory-services", 5000, "memory: number of Services")
	flag.IntVar(&s.admissionNamespaces, "admission-namespaces", 5000, "admission: number of Namespaces")
	flag.IntVar(&s.admissionPairs, "admission-pairs", 400, "admission: number of Services created with the webhook and without it")
	flag.IntVar(&s.admissionServices, "admission-services", 50000, "admission: number of reviews at full load")
	flag.IntVar(&s.neighbourRounds, "neighbour-rounds", 5, "neighbours: number of rounds; the sides take turns in going first")
	flag.IntVar(&s.grantNamespaces, "grant-namespaces", 105, "grants: number of Namespaces")
	flag.IntVar(&s.grantRounds, "grant-rounds", 7, "grants: number of rounds; the sides take turns in going first")
	flag.IntVar(&s.large.namespaces, "large-namespaces", 5000, "large: number of Namespaces")
	flag.IntVar(&s.large.services, "large-services", 50000, "large: number of Services")
	flag.IntVar(&s.large.clusterPullSecrets, "large-clusterpullsecrets", 500, "large: number of ClusterPullSecrets")
	flag.IntVar(&s.large.secrets, "large-secrets", 20000, "large: number of Secrets that are not copies")
	flag.IntVar(&s.largeRounds, "large-rounds", 6, "large: number of rounds of the distribution; the three sides take turns in going first")
	flag.IntVar(&s.pace, "pace", 1, "neighbours: hostile tenants send one of so many requests, for machines that all of them keep busy")
	flag.Parse()
	if s.quick {
		// Flags that are set explicitly win.
		given := map[string]bool{}
		flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{
			"services": "60", "rounds": "2", "rest-services": "10", "rest": "10s", "memory-services": "300",
			"few-namespaces": "60", "many-namespaces": "200", "new-namespaces": "10", "foreign-secrets": "1000",
			"admission-namespaces": "300", "admission-pairs": "50", "admission-services": "3000",
			"neighbour-rounds": "2", "grant-namespaces": "30", "grant-rounds": "2", "large-namespaces": "200", "large-services": "1000", "large-clusterpullsecrets": "20",
			"large-secrets": "600", "large-rounds": "2",
		} {
			if !given[name] {
				_ = flag.Set(name, value) // The values are constants.
			}
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	// A benchmark stops processes and fills the cluster, so it always starts its own.
	if err := os.Unsetenv("KUBECONFIG"); err != nil {
		return err
	}
	chosen := strings.Split(s.parts, ",")
	for _, name := range chosen {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("%q is not a part of the benchmark: want one of %s", name, strings.Join(partNames(), ", "))
		}
	}
	start := time.Now()
	fmt.Printf("Measured on %s at commit %s with %d CPUs (%s/%s), API server, etcd and Knative on the same machine.\n",
		start.Format(time.DateOnly), commit(ctx), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	var broken error
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		if err := onFreshCluster(ctx, s, p); err != nil {
			broken = errors.Join(broken, fmt.Errorf("%s: %w", p.name, err))
			if ctx.Err() != nil {
				break
			}
		}
	}
	notef("the benchmark took %s", time.Since(start).Round(time.Second))
	return broken
}

// commit returns the commit of the checkout, or "unknown".
func commit(ctx context.Context) string {
	output, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(output))
}

func onFreshCluster(ctx context.Context, s settings, p part) (err error) {
	notef("%s: starting a cluster", p.name)
	e, err := env.Setup(ctx, env.Options{Dir: s.dir, Output: io.Discard})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(context.WithoutCancel(ctx))) }()
	if err := unlimitedBackfill(ctx, e); err != nil {
		return err
	}
	var table strings.Builder
	err = p.run(ctx, e, s, &table)
	fmt.Print(table.String())
	return err
}

// unlimitedConfig returns a config without client-side rate limits.
func unlimitedConfig(e *env.Env) *rest.Config {
	config := rest.CopyConfig(e.Config)
	config.QPS = -1
	return config
}

func unlimited(e *env.Env) (servingclient.Interface, error) {
	return servingclient.NewForConfig(unlimitedConfig(e))
}

// notef reports progress on stderr, apart from the tables.
func notef(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "# "+format+"\n", args...)
}

// unlimitedBackfill removes the limit of the backfill, whose speed is measured.
func unlimitedBackfill(ctx context.Context, e *env.Env) error {
	_, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, "config-pullsecrets", types.MergePatchType,
		[]byte(`{"data":{"backfill-per-minute":"0"}}`), metav1.PatchOptions{})
	return err
}

// secretName is the pull secret that exists in each namespace of the benchmark.
const secretName = "ghcr"

// makeNamespace creates a namespace with its default ServiceAccount and the pull secrets.
func makeNamespace(ctx context.Context, e *env.Env, name string, secrets ...string) error {
	if _, err := e.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, secret := range secrets {
		_, err := e.Kube.CoreV1().Secrets(name).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: secret},
			Type:       corev1.SecretTypeDockerConfigJson,
			StringData: map[string]string{corev1.DockerConfigJsonKey: `{"auths":{"ghcr.io":{"username":"robot","password":"not-a-real-one"}}}`},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := e.Kube.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}

// optIn declares pull secrets for the namespace. Without names it removes the
// declaration.
func optIn(ctx context.Context, e *env.Env, namespace string, names ...string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, pullsecrets.SecretsAnnotation, strings.Join(names, ","))
	_, err := e.Kube.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

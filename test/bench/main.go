// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the product promises: how fast it changes
// existing Services compared with the bare client that the API server would
// allow, how fast credentials reach their namespaces, how often it writes, what it
// asks for at rest, how much memory it takes, and what its webhook adds to a request. It runs on a local cluster of
// its own, a fresh one for each part, and prints tables of plain text.
//
// It exits with 1 if a count is not as promised. Speeds and sizes depend on the
// machine and are only printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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

// settings are what the flags say.
type settings struct {
	dir            string
	parts          string
	quick          bool
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
}

// A part of the benchmark gets a fresh cluster and writes its table.
type part struct {
	name string
	run  func(ctx context.Context, e *env.Env, s settings, out io.Writer) error
}

var parts = []part{
	{"backfill", backfill},
	{"distribution", distribution},
	{"rest", atRest},
	{"memory", memory},
	{"secrets", foreignSecrets},
	{"admission", admission},
	{"neighbours", neighbours},
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
	flag.BoolVar(&s.quick, "quick", false, "small numbers: whether it works rather than how well")
	flag.IntVar(&s.services, "services", 500, "backfill: how many Services, for each of the two sides")
	flag.IntVar(&s.rounds, "rounds", 4, "backfill, and distribution to few: how many rounds; each side goes first in every other one")
	flag.IntVar(&s.fewNamespaces, "few-namespaces", 1000, "distribution: to how many Namespaces first")
	flag.IntVar(&s.manyNamespaces, "many-namespaces", 5000, "distribution: to how many then")
	flag.IntVar(&s.distributionRounds, "distribution-rounds", 2, "distribution: how many rounds with many Namespaces")
	flag.IntVar(&s.newNamespaces, "new-namespaces", 100, "distribution: how many Namespaces are new in each round")
	flag.StringVar(&s.profile, "profile", "", "distribution, neighbours: `file` for a CPU profile of the controller, of one more round with many or of the first one beside hostile tenants")
	flag.IntVar(&s.foreignSecrets, "foreign-secrets", 20000, "secrets: how many Secrets of 10 KB are none of the product's")
	flag.IntVar(&s.restServices, "rest-services", 50, "rest: how many Services")
	flag.DurationVar(&s.rest, "rest", time.Minute, "rest: for how long requests are counted")
	flag.IntVar(&s.memoryServices, "memory-services", 5000, "memory: how many Services")
	flag.IntVar(&s.admissionNamespaces, "admission-namespaces", 5000, "admission: how many Namespaces")
	flag.IntVar(&s.admissionPairs, "admission-pairs", 400, "admission: how many Services are created, with the webhook and without")
	flag.IntVar(&s.admissionServices, "admission-services", 50000, "admission: about how many Services the webhook is asked at full load")
	flag.IntVar(&s.neighbourRounds, "neighbour-rounds", 5, "neighbours: how many rounds; each side goes first in turn")
	flag.Parse()
	if s.quick {
		// What was asked for explicitly stays.
		given := map[string]bool{}
		flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{
			"services": "60", "rounds": "2", "rest-services": "10", "rest": "10s", "memory-services": "300",
			"few-namespaces": "60", "many-namespaces": "200", "new-namespaces": "10", "foreign-secrets": "1000",
			"admission-namespaces": "300", "admission-pairs": "50", "admission-services": "3000",
			"neighbour-rounds": "2",
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
	// A benchmark stops processes and fills the cluster, so it never runs on
	// somebody else's.
	if err := os.Unsetenv("KUBECONFIG"); err != nil {
		return err
	}
	chosen := strings.Split(s.parts, ",")
	for _, name := range chosen {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("%q is no part of the benchmark; there are %s", name, strings.Join(partNames(), ", "))
		}
	}
	start := time.Now()
	fmt.Printf("Measured with %d CPUs (%s/%s), API server, etcd and Knative on the same machine.\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
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

// unlimitedConfig is for clients that are not slowed down by limits of their own.
func unlimitedConfig(e *env.Env) *rest.Config {
	config := rest.CopyConfig(e.Config)
	config.QPS = -1
	return config
}

func unlimited(e *env.Env) (servingclient.Interface, error) {
	return servingclient.NewForConfig(unlimitedConfig(e))
}

// notef tells whoever waits what goes on, apart from the tables.
func notef(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "# "+format+"\n", args...)
}

// unlimitedBackfill lifts the limit that spares clusters the rush which is
// measured here.
func unlimitedBackfill(ctx context.Context, e *env.Env) error {
	_, err := e.Kube.CoreV1().ConfigMaps(pullsecrets.SystemNamespace).Patch(ctx, "config-pullsecrets", types.MergePatchType,
		[]byte(`{"data":{"backfill-per-minute":"0"}}`), metav1.PatchOptions{})
	return err
}

// secretName is the pull secret that exists in each namespace made here.
const secretName = "ghcr"

// makeNamespace makes a namespace with its default ServiceAccount and the pull
// secrets.
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

// optIn annotates the namespace with the names of pull secrets; without any, it
// declares none.
func optIn(ctx context.Context, e *env.Env, namespace string, names ...string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, pullsecrets.SecretsAnnotation, strings.Join(names, ","))
	_, err := e.Kube.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

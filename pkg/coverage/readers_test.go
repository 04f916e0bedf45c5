// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	kauth "github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// world is a namespace with Secrets and a ServiceAccount, and a template in it.
type world struct {
	template Template
	objects  map[string]*corev1.Secret
	known    secrets
	// ids are the password or token of each entry by Secret and registry.
	ids map[string]string
}

func pick(r *rand.Rand, all ...string) string { return all[r.IntN(len(all))] }

// add adds a Secret to the namespace. For an empty object it does not exist.
func (w *world) add(name string, object *corev1.Secret) {
	if object == nil {
		w.known[name] = Secret{State: Absent}
		return
	}
	w.objects[name] = object
	w.known[name] = Secret{State: Known, Facts: dockerconfig.Inspect(object.Type, object.Data)}
}

// someWorld returns a world with up to four Secrets, some of which are odd. No Secret has two
// keys for one registry, because which of them tag resolution uses is random.
func someWorld(r *rand.Rand) *world {
	w := &world{objects: map[string]*corev1.Secret{}, known: secrets{}, ids: map[string]string{}}
	for range 1 + r.IntN(2) {
		image := pick(r, "", "", "docker.io/", "ghcr.io/", "ghcr.io/", "reg.example.com/", "reg.example.com:5000/", "localhost/") +
			pick(r, "acme/app", "acme/app", "acmeco/app", "other/app", "app", "Acme/app") + pick(r, "", ":1")
		w.template.Images = append(w.template.Images, Image{Kind(pick(r, string(Container), string(InitContainer))), "app", image})
	}
	for i := range r.IntN(5) {
		name := fmt.Sprintf("s%d", i)
		w.add(name, w.someSecret(r, name))
		if r.IntN(25) == 0 {
			name = pick(r, "", "a/b", "%")
		}
		if r.IntN(3) > 0 {
			w.template.PullSecrets = append(w.template.PullSecrets, name)
		} else {
			w.template.ServiceAccount = append(w.template.ServiceAccount, name)
		}
	}
	return w
}

func (w *world) someSecret(r *rand.Rand, name string) *corev1.Secret {
	if r.IntN(10) == 0 {
		return nil
	}
	var entries []string
	for j := range r.IntN(4) {
		registry := pick(r, "docker.io", "index.docker.io", "*.docker.io", "*.io", "ghcr.io", "ghcr.io", "*.example.com", "reg.example.com:5000", "localhost") +
			pick(r, "", "", "/acme", "/ac", "/acme/app")
		id := fmt.Sprintf("%s.%d", name, j)
		if _, found := w.ids[name+" "+registry]; found {
			continue
		}
		w.ids[name+" "+registry] = id
		key := registry
		if !strings.Contains(key, "/") {
			key += pick(r, "", "/", "/v1/", "/v2/")
		}
		entries = append(entries, pick(r, "", "https://", "http://")+key, someValue(r, id))
	}
	if r.IntN(40) == 0 {
		entries = append(entries, "ghcr.io:x", good)
	}
	text := config(entries...)
	switch r.IntN(40) {
	case 0:
		return &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)}}
	case 1, 2, 3, 4:
		text = strings.TrimSuffix(strings.TrimPrefix(text, `{"auths":`), "}")
		return &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(text)}}
	case 5:
		text = pick(r, "", "[]", `{"auths":[]}`, `{"auths":null}`, `{"auths":{"ghcr.io":"x"}}`)
	}
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)}}
}

// someValue returns an entry, mostly with a credential that contains the id.
func someValue(r *rand.Rand, id string) string {
	switch r.IntN(25) {
	case 0:
		return `{}`
	case 1:
		return `{"username":"u"}`
	case 2:
		return `{"password":"` + id + `"}`
	case 3:
		return `{"auth":"dTpw","identitytoken":"` + id + `"}`
	case 4:
		return `{"auth":"dTpw","identitytoken":"x","registrytoken":"` + id + `"}`
	case 5:
		return `{"username":"u","password":"` + id + `","email":1}`
	case 6:
		return pick(r, `null`, `{"auth":1}`, `{"auth":"none"}`, `"x"`, `{"auth":"dTpw","identitytoken":1}`)
	}
	return entry(id)
}

// api serves the Secrets and the ServiceAccount of worlds.
type api struct {
	*world
	client kubernetes.Interface
}

func newAPI(t *testing.T) *api {
	a := &api{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	var err error
	if a.client, err = kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1}); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	path := strings.Split(request.URL.Path, "/")
	kind, name := path[len(path)-2], path[len(path)-1]
	var answer any
	switch secret, found := a.objects[name]; {
	case kind == "serviceaccounts":
		account := &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}}
		for _, name := range a.template.ServiceAccount {
			account.ImagePullSecrets = append(account.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
		}
		answer = account
	case found:
		copied := *secret
		copied.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
		answer = &copied
	default:
		status := apierrors.NewNotFound(corev1.Resource(kind), name).Status()
		status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		answer = status
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// The verdicts of tag resolution are those of Knative's keychain, called as Knative calls it:
// whether it fails, and which entry it uses.
func TestTagResolutionAgrees(t *testing.T) {
	r, a := rand.New(rand.NewPCG(1, 2)), newAPI(t)
	counts := map[Reason]int{}
	for range 1000 {
		a.world = someWorld(r)
		// revision.go:94-102 of Knative.
		keychain, err := kauth.New(t.Context(), a.client, kauth.Options{Namespace: "team-a", ImagePullSecrets: a.template.PullSecrets})
		for _, result := range Of(a.template, a.known, grant.ImageSettings{}, now) {
			if result.Kind == QueueProxy {
				continue
			}
			v := result.Verdicts[dockerconfig.TagResolution]
			counts[v.Reason]++
			if problem := disagreement(t, keychain, err, a.world, result.Reference, v); problem != "" {
				t.Errorf("%s: %s, and here: %s\n%+v\n%v", result.Reference, problem, decided(v), a.template, a.objects)
			}
		}
	}
	for reason, least := range map[Reason]int{Malformed: 50, InvalidName: 20, InvalidImage: 50, Covered: 150, Shadowed: 3, NoCredential: 20, NoMatch: 100, WrongKey: 10, NoPullSecrets: 50} {
		if counts[reason] < least {
			t.Errorf("%d times %s is too little to say anything", counts[reason], reason)
		}
	}
}

// disagreement returns what the keychain does, if that is not the verdict.
func disagreement(t *testing.T, keychain authn.Keychain, failure error, w *world, image string, v Verdict) string {
	t.Helper()
	ref, err := name.ParseReference(image, name.WeakValidation)
	if (err != nil) != (v.Reason == InvalidImage) {
		return fmt.Sprintf("Knative parses the name with %v", err)
	}
	if err != nil {
		return ""
	}
	fails := v.Reason == Malformed || v.Reason == InvalidName
	if (failure != nil) != fails {
		return fmt.Sprintf("the keychain fails with %v", failure)
	}
	if fails {
		return ""
	}
	id, found := sent(t, keychain, ref)
	e, _ := v.Decisive()
	switch {
	case !found && !anonymous(v):
		return "the keychain finds nothing"
	case found && id == "" && v.Reason != NoCredential && v.Reason != Shadowed:
		return "the keychain finds an empty entry"
	case id != "" && (v.Reason != Covered || w.ids[e.Secret+" "+e.Key] != id):
		return "the keychain finds " + id
	}
	return ""
}

// anonymous reports whether the reader finds no entry by the verdict.
func anonymous(v Verdict) bool { return v.Reason.Anonymous() && v.Reason != NoCredential }

// sent returns the password or token that tag resolution sends (basic.go:48-57 and
// bearer.go:190-210), and whether the keychain finds an entry.
func sent(t *testing.T, keychain authn.Keychain, ref name.Reference) (id string, found bool) {
	t.Helper()
	authenticator, err := keychain.Resolve(ref.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := authn.Authorization(t.Context(), authenticator)
	if err != nil {
		t.Fatal(err)
	}
	if got.Username != "" {
		id = got.Password
	}
	return cmp.Or(got.RegistryToken, got.IdentityToken, id), authenticator != authn.Anonymous
}

// The verdicts of the kubelet are the recorded answers of its own code; see
// ../dockerconfig/testdata/kubelet.
func TestKubeletAgrees(t *testing.T) {
	file, err := os.Open("../dockerconfig/testdata/kubelet-lists.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var header struct{ Images []string }
	lines, counts := bufio.NewScanner(file), map[Reason]int{}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil {
		t.Fatal("no header")
	}
	var images []Image
	for _, image := range header.Images {
		images = append(images, Image{ImageVolume, image, image}) // Whose tag is not resolved before.
	}
	for lines.Scan() {
		var answers struct {
			Secrets []struct {
				Type corev1.SecretType
				Text string
			}
			Fails bool
			Tries map[string][]string
		}
		if err := json.Unmarshal(lines.Bytes(), &answers); err != nil {
			t.Fatal(err)
		}
		known := secrets{}
		var names, texts []string
		for i, s := range answers.Secrets {
			names, texts = append(names, strconv.Itoa(i)), append(texts, s.Text)
			// Of the two keys, only the one of the type is read.
			data := map[string][]byte{corev1.DockerConfigJsonKey: []byte(s.Text), corev1.DockerConfigKey: []byte(s.Text)}
			known[names[i]] = Secret{State: Known, Facts: dockerconfig.Inspect(s.Type, data)}
		}
		for _, template := range []Template{{Images: images, PullSecrets: names}, {Images: images, ServiceAccount: names}} {
			for _, result := range Of(template, known, grant.ImageSettings{}, now)[:len(images)] {
				v := result.Verdicts[dockerconfig.Kubelet]
				counts[v.Reason]++
				if problem := kubeletDisagrees(v, result.Reference, answers.Fails, answers.Tries[result.Reference], texts); problem != "" {
					t.Errorf("%s for %s: %s, and here: %s", lines.Text(), result.Reference, problem, decided(v))
				}
			}
		}
	}
	if lines.Err() != nil || counts[Covered] < 1000 || counts[Malformed] < 500 || counts[NoCredential] < 20 || counts[NoMatch] < 1000 {
		t.Errorf("%v is too little to say anything (%v)", counts, lines.Err())
	}
}

// kubeletDisagrees returns what the kubelet does, if that is not the verdict. It tries entries
// by Secret and number; those without a username end with a minus.
func kubeletDisagrees(v Verdict, image string, fails bool, tries, texts []string) string {
	if image == "" {
		if v.Reason != InvalidImage {
			return "it is no image"
		}
		return ""
	}
	if fails != (v.Reason == Malformed) {
		return fmt.Sprintf("it fails: %t", fails)
	}
	if host, _, _ := strings.Cut(image, "/"); (host == "localhost" || host == "FOO") && anonymous(v) {
		tries = withoutHub(tries, texts)
	}
	e, _ := v.Decisive()
	for _, entry := range tries {
		secret, _, _ := strings.Cut(entry, ".")
		if strings.HasSuffix(entry, "-") {
			continue
		}
		if v.Reason != Covered || e.Secret != secret {
			return "it uses " + entry
		}
		return ""
	}
	switch {
	case fails:
		return ""
	case len(tries) > 0 && v.Reason != NoCredential && v.Reason != Shadowed:
		return "it finds an empty entry"
	case len(tries) == 0 && !anonymous(v):
		return "it finds nothing"
	}
	return ""
}

// withoutHub returns what the kubelet tries without Secrets for Docker Hub, whose credential it
// also offers to other registries.
func withoutHub(tries, texts []string) []string {
	return slices.DeleteFunc(slices.Clone(tries), func(entry string) bool {
		secret, _, _ := strings.Cut(entry, ".")
		i, _ := strconv.Atoi(secret)
		return strings.Contains(texts[i], "index.docker.io")
	})
}

// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// canary is a password that only a copy may contain, in any encoding.
const canary = "cAnArY-hunter2"

// secret returns the data of a Secret of the usual type.
func secret(text string) map[string][]byte {
	return map[string][]byte{corev1.DockerConfigJsonKey: []byte(text)}
}

// auths returns a docker config of entries, each a key and its value.
func auths(entries ...string) string {
	var members []string
	for i := 0; i < len(entries); i += 2 {
		members = append(members, quoted(entries[i])+":"+entries[i+1])
	}
	return `{"auths":{` + strings.Join(members, ",") + `}}`
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// login returns an entry with auth alone.
func login(username, password string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(username+":"+password)) + `"}`
}

// parse parses a valid config.
func parse(t *testing.T, text string) Config {
	t.Helper()
	config, err := Parse(corev1.SecretTypeDockerConfigJson, secret(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return config
}

// silent fails the test if an output contains the canary, or part of its encoding.
func silent(t *testing.T, outputs ...string) {
	t.Helper()
	for _, output := range outputs {
		for _, secret := range []string{canary, "hunter2", base64.StdEncoding.EncodeToString([]byte("u:" + canary))[:12], fmt.Sprintf("%x", canary)} {
			if strings.Contains(strings.ToLower(output), strings.ToLower(secret)) {
				t.Errorf("an output contains a credential: %s", output)
			}
		}
	}
}

func TestParse(t *testing.T) {
	const key = "-----BEGIN PRIVATE KEY-----\nAb+/=\n-----END PRIVATE KEY-----\n"
	serviceAccount := `{"type": "service_account", "private_key": ` + quoted(key) + `, "id": "é"}`
	tests := []struct {
		reason string
		text   string
		want   map[string]credential
	}{
		{"auth", auths("ghcr.io", login("u", "p")), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"username and password", auths("ghcr.io", `{"username":"u","password":"p"}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"all that kubectl writes", auths("ghcr.io", `{"username":"u","password":"p","email":"e@x","auth":"dTpw"}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"auth wins, for both readers", auths("ghcr.io", `{"username":"other","password":"other","auth":"dTpw"}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"auth wins over half a credential", auths("ghcr.io", `{"username":"other","auth":"dTpw"}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"an empty auth is none", auths("ghcr.io", `{"username":"u","password":"p","auth":""}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"null is nothing", auths("ghcr.io", `{"username":null,"auth":"dTpw","email":null,"identitytoken":null}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"empty tokens are none", auths("ghcr.io", `{"auth":"dTpw","identitytoken":"","registrytoken":""}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"base64 without padding", auths("ghcr.io", `{"auth":"dTpwYQ"}`), map[string]credential{"ghcr.io": {"u", "pa"}}},
		{"base64 with padding and line breaks", auths("ghcr.io", `{"auth":"dTpw\nYQ==\n"}`), map[string]credential{"ghcr.io": {"u", "pa"}}},
		{"colons belong to the password", auths("ghcr.io", login("u", "a:b:")), map[string]credential{"ghcr.io": {"u", "a:b:"}}},
		{"a colon in the username", auths("ghcr.io", `{"username":"u:v","password":"p"}`), map[string]credential{"ghcr.io": {"u:v", "p"}}},
		{"a key file as password, as field", auths("gcr.io", `{"username":"_json_key","password":`+quoted(serviceAccount)+`}`), map[string]credential{"gcr.io": {"_json_key", serviceAccount}}},
		{"a key file as password, as auth", auths("gcr.io", login("_json_key", serviceAccount)), map[string]credential{"gcr.io": {"_json_key", serviceAccount}}},
		{"bytes that are no text", auths("ghcr.io", login("u", "\xff\x00\xfe")), map[string]credential{"ghcr.io": {"u", "\xff\x00\xfe"}}},
		{"unicode", auths("ghcr.io", login("ü", "日本 <&>")), map[string]credential{"ghcr.io": {"ü", "日本 <&>"}}},
		{"fields in other cases", `{"AUTHS":{"ghcr.io":{"Auth":"dTpw"}}}`, map[string]credential{"ghcr.io": {"u", "p"}}},
		{"a repeated key", auths("ghcr.io", login("old", "old"), "ghcr.io", login("u", "p")), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"a repeated field", auths("ghcr.io", `{"auth":"`+base64.StdEncoding.EncodeToString([]byte("a:b"))+`","auth":"dTpw"}`), map[string]credential{"ghcr.io": {"u", "p"}}},
		{"repeated auths", `{"auths":{"ghcr.io":{"auth":"dTpw"}},"auths":{"quay.io":{"auth":"dTpw"}}}`, map[string]credential{"ghcr.io": {"u", "p"}, "quay.io": {"u", "p"}}},
		{"auths that is reset", `{"auths":{"ghcr.io":{"auth":"dTpw"}},"auths":null,"auths":{"quay.io":{"auth":"dTpw"}}}`, map[string]credential{"quay.io": {"u", "p"}}},
		{"two spellings, one credential", auths("ghcr.io", login("u", "p"), "https://ghcr.io/v1/", login("u", "p")), map[string]credential{"ghcr.io": {"u", "p"}, "https://ghcr.io/v1/": {"u", "p"}}},
		{"what the docker client keeps there, too", `{"auths":{"ghcr.io":{"auth":"dTpw"}},"HttpHeaders":{"User-Agent":"Docker"},"credsStore":"","credHelpers":{},"detachKeys":1}`, map[string]credential{"ghcr.io": {"u", "p"}}},
		{"white space", " \n{ \"auths\" : {\t\"ghcr.io\" : { \"auth\" : \"dTpw\" } } }\r\n", map[string]credential{"ghcr.io": {"u", "p"}}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := parse(t, tt.text)
			if !maps.Equal(got.contents().entries, tt.want) {
				t.Errorf("%s reads as %d entries that are not those wanted: %v", tt.text, len(got.contents().entries), slices.Sorted(maps.Keys(got.contents().entries)))
			}
		})
	}
}

func TestParseLegacy(t *testing.T) {
	config, err := Parse(corev1.SecretTypeDockercfg, map[string][]byte{corev1.DockerConfigKey: []byte(`{"ghcr.io":` + login("u", "p") + `}`)})
	if err != nil || config.contents().entries["ghcr.io"] != (credential{"u", "p"}) {
		t.Errorf("%v, %v", config, err)
	}
	if want := auths("ghcr.io", login("u", "p")); string(config.Copy()) != want {
		t.Errorf("Its copy is not %s", want)
	}
}

func TestParseErrors(t *testing.T) {
	good := login("u", canary)
	one := func(value string) map[string][]byte { return secret(auths("quay.io", good, "ghcr.io", value)) }
	key := func(key string) map[string][]byte { return secret(auths("quay.io", good, key, good)) }
	const (
		object   = `expected an object with auth, or with username and password`
		registry = `expected a registry: host[:port][/path], optionally after https:// or http://`
	)
	tests := []struct {
		reason     string
		secretType corev1.SecretType
		data       map[string][]byte
		want       string
	}{
		{"another type", corev1.SecretTypeOpaque, secret(auths("ghcr.io", good)), `type "Opaque" is neither kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg`},
		{"no type", "", nil, `type "" is neither kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg`},
		{"no data", usual, nil, `.dockerconfigjson: the Secret does not have this key`},
		{"the other type's key", usual, map[string][]byte{".dockercfg": []byte(`{}`)}, `.dockerconfigjson: the Secret does not have this key`},
		{"no data, legacy", legacy, secret(auths("ghcr.io", good)), `.dockercfg: the Secret does not have this key`},
		{"empty", usual, secret(""), `.dockerconfigjson: the value is empty; expected a docker config`},
		{"no JSON", usual, secret(canary), `.dockerconfigjson: invalid JSON at byte 1`},
		{"JSON that ends", usual, secret(`{"auths":{"ghcr.io":{"auth":"` + canary), `.dockerconfigjson: invalid JSON at byte 43`},
		{"JSON and more", usual, secret(`{} ` + canary), `.dockerconfigjson: invalid JSON at byte 4`},
		{"too deep", usual, secret(strings.Repeat("[", 20000)), `.dockerconfigjson: invalid JSON at byte 10001`},
		{"a string", usual, secret(quoted(canary)), `.dockerconfigjson: expected a JSON object`},
		{"null", usual, secret(`null`), `.dockerconfigjson: expected a JSON object`},
		{"a list, legacy", legacy, map[string][]byte{".dockercfg": []byte(`["` + canary + `"]`)}, `.dockercfg: expected a JSON object`},
		{"no auths", usual, secret(`{"ghcr.io":` + good + `}`), `.dockerconfigjson: auths is missing; expected {"auths": {...}}`},
		{"auths is a list", usual, secret(`{"auths":["` + canary + `"]}`), `.dockerconfigjson: auths: expected an object with an entry for each registry`},
		{"auths is empty", usual, secret(`{"auths":{}}`), `.dockerconfigjson: expected at least one entry`},
		{"auths is null", usual, secret(`{"auths":null}`), `.dockerconfigjson: expected at least one entry`},
		{"empty, legacy", legacy, map[string][]byte{".dockercfg": []byte(`{}`)}, `.dockercfg: expected at least one entry`},
		{"the new shape under the old key", legacy, map[string][]byte{".dockercfg": []byte(auths("ghcr.io", good))}, `.dockercfg: entry 1: no credential; expected auth, or username and password`},

		{"an entry is a string", usual, one(quoted(canary)), `.dockerconfigjson: entry "ghcr.io": ` + object},
		{"an entry is null", usual, one(`null`), `.dockerconfigjson: entry "ghcr.io": ` + object},
		{"an entry without a registry above", usual, secret(`{"auths":` + good + `}`), `.dockerconfigjson: entry 1: ` + object},
		{"an empty entry", usual, one(`{}`), `.dockerconfigjson: entry "ghcr.io": no credential; expected auth, or username and password`},
		{"an email alone", usual, one(`{"email":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": no credential; expected auth, or username and password`},
		{"no password", usual, one(`{"username":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": username without password; expected both, or auth`},
		{"no username", usual, one(`{"password":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": password without username; expected both, or auth`},
		{"no base64", usual, one(`{"auth":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the value is not base64`},
		{"no colon", usual, one(`{"auth":"` + base64.StdEncoding.EncodeToString([]byte(canary)) + `"}`), `.dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the value has no colon`},
		{"auth without password", usual, one(login(canary, "")), `.dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the username or the password is empty`},
		{"auth without username", usual, one(login("", canary)), `.dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the username or the password is empty`},
		{"a bad auth beside good fields", usual, one(`{"username":"u","password":"` + canary + `","auth":"!"}`), `.dockerconfigjson: entry "ghcr.io": auth: expected base64 of username:password; the value is not base64`},
		{"a password that is a number", usual, one(`{"username":"u","password":12345}`), `.dockerconfigjson: entry "ghcr.io": password: expected a string`},
		{"a field that was bad the first time", usual, one(`{"auth":{"x":"` + canary + `"},"auth":"dTpw"}`), `.dockerconfigjson: entry "ghcr.io": auth: expected a string`},
		{"an email that fails the kubelet", usual, one(`{"auth":"dTpw","email":["` + canary + `"]}`), `.dockerconfigjson: entry "ghcr.io": email: expected a string`},
		{"a token that fails tag resolution", usual, one(`{"auth":"dTpw","identitytoken":true}`), `.dockerconfigjson: entry "ghcr.io": identitytoken: expected a string`},
		{"an identity token", usual, one(`{"identitytoken":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": identitytoken: not supported by the kubelet; remove it, and use auth or username and password`},
		{"an identity token beside a credential", usual, one(`{"auth":"dTpw","identitytoken":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": identitytoken: not supported by the kubelet; remove it, and use auth or username and password`},
		{"a registry token", usual, one(`{"auth":"dTpw","registrytoken":"` + canary + `"}`), `.dockerconfigjson: entry "ghcr.io": registrytoken: not supported by the kubelet; remove it, and use auth or username and password`},
		{"the first of two entries is bad", usual, secret(auths("ghcr.io", `{}`, "ghcr.io", good)), `.dockerconfigjson: entry "ghcr.io": no credential; expected auth, or username and password`},
		{"HttpHeaders that fail the kubelet", usual, secret(`{"auths":{"ghcr.io":` + good + `},"HttpHeaders":{"A":1}}`), `.dockerconfigjson: HttpHeaders: expected an object with string values`},
		{"credsStore", usual, secret(`{"auths":{"ghcr.io":{}},"credsStore":"desktop"}`), `.dockerconfigjson: credsStore: credential helpers do not run on nodes; put the credentials into auths`},
		{"credHelpers", usual, secret(`{"auths":{},"credHelpers":{"gcr.io":"gcloud"}}`), `.dockerconfigjson: credHelpers: credential helpers do not run on nodes; put the credentials into auths`},

		{"an empty key", usual, key(""), `.dockerconfigjson: entry 2: ` + registry},
		{"a scheme alone", usual, key("https://"), `.dockerconfigjson: entry 2: ` + registry},
		{"a path alone", usual, key("/acme"), `.dockerconfigjson: entry 2: ` + registry},
		{"another scheme", usual, key("oci://ghcr.io"), `.dockerconfigjson: entry 2: ` + registry},
		{"a scheme in capitals", usual, key("HTTPS://ghcr.io"), `.dockerconfigjson: entry 2: ` + registry},
		{"no port behind the colon", usual, key("ghcr.io:"), `.dockerconfigjson: entry 2: ` + registry},
		{"user info", usual, key("https://u:" + canary + "@ghcr.io"), `.dockerconfigjson: entry 2: ` + registry},
		{"a credential as key", usual, key("u:" + canary), `.dockerconfigjson: entry 2: ` + registry},
		{"a query", usual, key("ghcr.io?token=" + canary), `.dockerconfigjson: entry 2: ` + registry},
		{"a fragment", usual, key("ghcr.io#" + canary), `.dockerconfigjson: entry 2: ` + registry},
		{"an escape", usual, key("ghcr.io/%zz"), `.dockerconfigjson: entry 2: ` + registry},
		{"white space in the key", usual, key("ghcr.io "), `.dockerconfigjson: entry 2: ` + registry},
		{"a line break in the key", usual, key("ghcr.io/\n"), `.dockerconfigjson: entry 2: ` + registry},
		{"a class of characters", usual, key("[gh]cr.io"), `.dockerconfigjson: entry 2: ` + registry},
		{"a password without a colon as key", usual, secret(auths(canary, `{}`)), `.dockerconfigjson: entry 1: no credential; expected auth, or username and password`},
		{"two spellings, two credentials", usual, secret(auths("https://quay.io", good, "quay.io", login("v", canary))), `.dockerconfigjson: entry "quay.io": two keys refer to this registry with different credentials; keep one`},
		{"two spellings of the Hub", usual, secret(auths("index.docker.io", good, "https://index.docker.io/v1/", login("v", canary))), `.dockerconfigjson: entry "index.docker.io": two keys refer to this registry with different credentials; keep one`},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			config, err := Parse(tt.secretType, tt.data)
			if err == nil {
				t.Fatalf("no error, and %v", config)
			}
			if err.Error() != tt.want {
				t.Errorf("error = %v\n want   %s", err, tt.want)
			}
			wrongType, invalid := errors.AsType[*WrongTypeError](err)
			_, isInvalid := errors.AsType[*InvalidError](err)
			if !invalid && !isInvalid || invalid == isInvalid || invalid && wrongType.Type != tt.secretType {
				t.Errorf("error is a %T", err)
			}
			silent(t, err.Error(), fmt.Sprintf("%v %+v %#v %s %q %x", err, err, err, err, err, err), fmt.Sprint(config))
			if len(config.Registries()) > 0 {
				t.Errorf("an error comes with a config: %v", config)
			}
		})
	}
}

func TestLongKeysAreTruncated(t *testing.T) {
	_, err := Parse(corev1.SecretTypeDockerConfigJson, secret(auths(strings.Repeat("a", 5000)+".io", `{}`)))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("%v", err)
	}
}

// Many registries, and a Secret of the maximum size.
func TestLargeConfigs(t *testing.T) {
	var entries []string
	for i := range 100 {
		entries = append(entries, fmt.Sprintf("r%03d.example.com", i), login("u", strings.Repeat(fmt.Sprint(i), 3000)))
	}
	config := parse(t, auths(entries...))
	if got := config.Registries(); len(got) != 100 || got[0] != "r000.example.com" || got[99] != "r099.example.com" {
		t.Errorf("%d registries", len(got))
	}
	if !config.Covers("r042.example.com/acme/app") || config.Covers("r100.example.com/acme/app") {
		t.Errorf("they do not cover what they should")
	}
	password := strings.Repeat("p", 750<<10)
	config = parse(t, auths("ghcr.io", login("u", password)))
	if parse(t, string(config.Copy())).contents().entries["ghcr.io"].password != password {
		t.Errorf("a long password is harmed")
	}
	// A Secret of this size can exist, and no copy of it.
	_, err := Parse(corev1.SecretTypeDockerConfigJson, map[string][]byte{
		corev1.DockerConfigJsonKey: []byte(auths("docker.io", login("u", password))),
	})
	if invalid := (*InvalidError)(nil); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "too many credentials") || strings.Contains(err.Error(), "ppp") {
		t.Errorf("a config whose copy is too large: %.200v, want it rejected", err)
	}
}

// Printing a Config, or a struct that contains one, shows at most its registries.
func TestCredentialsAreNeverPrinted(t *testing.T) {
	config := parse(t, auths("ghcr.io", login("u", canary), "quay.io/acme", `{"username":"u:v","password":"`+canary+`"}`))
	wrapped := struct {
		Exported   Config
		unexported Config
		pointer    *Config
		all        []Config
	}{config, config, &config, []Config{config}}
	for _, value := range []any{config, &config, wrapped, &wrapped, []any{config}, map[string]Config{"x": config}, config.contents().entries} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T"} {
			silent(t, fmt.Sprintf(verb, value))
		}
		text, err := json.Marshal(value)
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		silent(t, string(text), fmt.Sprint(err), log.String())
	}
	silent(t, config.String(), config.GoString(), config.Digest(), strings.Join(config.Registries(), " "))
	if got, want := fmt.Sprintf("%+v", config), "docker config for [ghcr.io quay.io/acme]"; got != want {
		t.Errorf("prints as %s, want %s", got, want)
	}
}

func TestZeroConfig(t *testing.T) {
	var zero Config
	if zero.Registries() != nil || zero.Covers("nginx") || string(zero.WithHub().Copy()) != `{"auths":{}}` || zero.String() != "docker config for []" {
		t.Errorf("the zero Config is not empty: %v", zero)
	}
}

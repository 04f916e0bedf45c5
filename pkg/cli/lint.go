// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/explain"
)

func newLint(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "lint FILE",
		Short: "Check a docker config or a Secret's manifest, offline",
		Long: `Checks a docker config, or the Secrets in a manifest: what each key matches for tag
resolution and for the kubelet, and mistakes that otherwise only show when an image is
pulled. It sends no request. The file - is the standard input.`,
		Example: "  kn pullsecrets lint ~/.docker/config.json\n  kubectl get secret ghcr -o yaml | kn pullsecrets lint -",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := o.readFile(args[0])
			if err != nil {
				return err
			}
			secrets, err := configsIn(text, args[0])
			if err != nil {
				return err
			}
			var (
				all      []explain.Linted
				findings []explain.Finding
			)
			for _, s := range secrets {
				linted, found := explain.Lint(s.object, s.secretType, s.data, o.now())
				all, findings = append(all, linted), append(findings, found...)
			}
			return o.print(&document{Command: "lint", Result: all, Findings: findings}, func(p *printer) { p.linted(all) })
		},
	}
}

// maxFile is the size of a file that is read.
const maxFile = 64 << 20

// readFile returns the content of a file, or of the standard input for "-".
func (o *options) readFile(name string) ([]byte, error) {
	in := o.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return text, err
}

// toLint is a docker config to check.
type toLint struct {
	object     string
	secretType corev1.SecretType
	data       map[string][]byte
}

// configsIn returns the docker configs of a file. Errors contain nothing of it, because it holds
// credentials.
func configsIn(text []byte, file string) ([]toLint, error) {
	manifests, err := documentsIn(text)
	if err != nil || len(manifests) == 0 || manifests[0]["kind"] == nil {
		return []toLint{plainConfig(text, file)}, nil //nolint:nilerr // The parser of docker configs reports what is wrong.
	}
	var found []toLint
	for _, manifest := range manifests {
		if manifest["kind"] != "Secret" {
			continue
		}
		var secret corev1.Secret
		if convert(manifest, &secret) != nil {
			return nil, fmt.Errorf("%s: a Secret in it is not valid: data must be base64, and stringData text", file)
		}
		data := maps.Clone(secret.Data)
		for key, value := range secret.StringData {
			if data == nil {
				data = map[string][]byte{}
			}
			data[key] = []byte(value)
		}
		object := "Secret " + secret.Name
		if secret.Namespace != "" {
			object = "Secret " + secret.Namespace + "/" + secret.Name
		}
		found = append(found, toLint{explain.Line(object), secret.Type, data})
	}
	if len(found) == 0 {
		return nil, errors.New(file + " has manifests and no Secret among them")
	}
	return found, nil
}

// plainConfig returns a file that is a docker config itself. One without the usual fields is of
// the old format.
func plainConfig(text []byte, file string) toLint {
	l := toLint{"file " + file, corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: text}}
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return l
	}
	for _, field := range []string{"auths", "credsStore", "credHelpers"} {
		if _, has := members[field]; has {
			return l
		}
	}
	if len(members) > 0 {
		l.secretType, l.data = corev1.SecretTypeDockercfg, map[string][]byte{corev1.DockerConfigKey: text}
	}
	return l
}

// documentsIn returns the manifests of a file in YAML or JSON, with those of lists.
func documentsIn(text []byte) (all []map[string]any, err error) {
	for part := range bytes.SplitSeq(append([]byte("\n"), text...), []byte("\n---")) {
		var manifest map[string]any
		if yaml.Unmarshal(part, &manifest) != nil {
			return nil, errors.New("it is not YAML or JSON") // An error of the parser quotes the text.
		}
		if items, isList := manifest["items"].([]any); isList {
			for _, item := range items {
				if object, ok := item.(map[string]any); ok {
					all = append(all, object)
				}
			}
		} else if len(manifest) > 0 {
			all = append(all, manifest)
		}
	}
	return all, nil
}

// convert converts a manifest to a type.
func convert(manifest map[string]any, into any) error {
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func (p *printer) linted(all []explain.Linted) {
	for i, l := range all {
		if i > 0 {
			p.line("")
		}
		p.line("%s", upperFirst(l.Object))
		rows := [][]string{{"  KEY", "TAG RESOLUTION", "KUBELET", "EXPIRES"}}
		for _, e := range l.Keys {
			rows = append(rows, []string{"  " + explain.Line(e.Key), orNone(e.TagResolution), orNone(e.Kubelet), moment(e.Expires)})
		}
		p.table(rows)
	}
}

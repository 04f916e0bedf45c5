// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"pullsecrets.dev/test/env"
)

// person is a user of the tenant's namespace who uses command-line tools.
type person struct {
	*tenant
	name       string
	kubeconfig string
}

// person returns a user with all rights.
func (n *tenant) person(name string) *person {
	n.t.Helper()
	config, err := clientcmd.LoadFromFile(n.Kubeconfig)
	if err != nil {
		n.t.Fatal(err)
	}
	context := config.Contexts[config.CurrentContext]
	context.Namespace = n.ns
	auth := config.AuthInfos[context.AuthInfo]
	auth.Impersonate, auth.ImpersonateGroups = name, []string{"system:masters"}
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		n.t.Fatal(err)
	}
	p := &person{tenant: n, name: name, kubeconfig: filepath.Join(n.t.TempDir(), name)}
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		n.t.Fatal(err)
	}
	return p
}

// client returns a client of the cluster for this user.
func (p *person) client() *env.Env {
	p.t.Helper()
	e, err := p.As(p.name, "system:masters")
	if err != nil {
		p.t.Fatal(err)
	}
	return e
}

// run runs a program of [env.Tool] as the user with this input, and returns its output.
func (p *person) run(input []byte, tool string, args ...string) string {
	p.t.Helper()
	output, err := p.try(input, tool, args...)
	if err != nil {
		p.t.Fatalf("%s: %s %q: %v\n%s", p.name, tool, args, err, output)
	}
	return output
}

func (p *person) try(input []byte, tool string, args ...string) (string, error) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), env.Tool(p.t, tool), args...)
	// A separate home directory keeps out the real configuration. "kubectl diff" needs
	// diff.
	cmd.Env = []string{"KUBECONFIG=" + p.kubeconfig, "HOME=" + filepath.Dir(p.kubeconfig), "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

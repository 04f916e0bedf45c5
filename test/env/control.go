// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// serveControl serves the clients of the supervisor, see Processes. The token is in the
// state file, which only the user who started the cluster can read.
func (s *supervisor) serveControl() (stop func(), err error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, err
	}
	if s.state.Supervisor, err = self(); err != nil {
		return nil, err
	}
	s.state.ControlURL = "http://" + listener.Addr().String()
	s.state.Token = rand.Text()

	mux := http.NewServeMux()
	handle := func(pattern string, f func(ctx context.Context, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r.Context(), r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	handle("GET /processes", func(context.Context, *http.Request) (any, error) { return s.statuses(), nil })
	handle("POST /processes/{name}/{action}", func(ctx context.Context, r *http.Request) (any, error) {
		var environment map[string]string
		if err := json.NewDecoder(r.Body).Decode(&environment); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, s.act(ctx, r.PathValue("name"), r.PathValue("action"), environment)
	})
	handle("POST /processes/{name}/replicas/{count}", func(ctx context.Context, r *http.Request) (any, error) {
		count, err := strconv.Atoi(r.PathValue("count"))
		if err != nil {
			return nil, err
		}
		return nil, s.scale(ctx, r.PathValue("name"), count)
	})
	handle("POST /project/install", func(ctx context.Context, _ *http.Request) (any, error) { return nil, s.installProject(ctx) })

	authorization := "Bearer " + s.state.Token
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(authorization)) != 1 {
				http.Error(w, "the token is in the cluster's state.json", http.StatusUnauthorized)
				return
			}
			mux.ServeHTTP(w, r)
		}),
	}
	go server.Serve(listener) //nolint:errcheck // Returns after Close.
	return func() { server.Close() }, s.saveState()
}

func (s *supervisor) act(ctx context.Context, name, action string, environment map[string]string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	switch action {
	case "stop":
		return c.end(syscall.SIGTERM)
	case "kill":
		return c.end(syscall.SIGKILL)
	case "start":
		return s.startReady(ctx, c, environment)
	case "restart":
		if err := c.end(syscall.SIGTERM); err != nil {
			return err
		}
		return s.startReady(ctx, c, environment)
	}
	return fmt.Errorf("%q is not an action on a process", action)
}

func (s *supervisor) statuses() []ProcessStatus {
	s.mu.Lock()
	children := slices.Clone(s.children)
	s.mu.Unlock()
	var all []ProcessStatus
	for _, c := range children {
		all = append(all, c.status())
	}
	return all
}

// ProcessStatus is the status of one process of a local cluster.
type ProcessStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"` // 0 if it does not run
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"` // restarts after a crash
	Log      string    `json:"log"`
	// Ports are by the names of the container's ports: probes, metrics, profiling. They are
	// on loopback or, with a Pod, in the Pod.
	Ports map[string]int `json:"ports"`
	// Pod is the name of a Pod of the program, if it has some.
	Pod string `json:"pod,omitempty"`
}

// Processes controls programs of a cluster: on a local one all processes, which are etcd,
// kube-apiserver, kube-controller-manager, knative-controller, knative-webhook and those of
// the Deployments in config/; on a cluster with Pods only the latter.
type Processes interface {
	// List returns the status of all processes.
	List(ctx context.Context) ([]ProcessStatus, error)
	// Get returns the status of one process.
	Get(ctx context.Context, name string) (ProcessStatus, error)
	// Stop stops the process with SIGTERM and returns when it has exited. It is not
	// restarted until Start.
	Stop(ctx context.Context, name string) error
	// Kill kills the process with SIGKILL and returns when it has exited. It is not
	// restarted until Start.
	Kill(ctx context.Context, name string) error
	// Start starts the process, with the variables added to its environment until the next
	// Start or Restart, and returns when it is ready.
	Start(ctx context.Context, name string, environment map[string]string) error
	// Restart is Stop and Start.
	Restart(ctx context.Context, name string, environment map[string]string) error
	// Scale runs this many processes, at least one, for one of the Deployments in config/,
	// and returns when they are ready. The next installation ends additional ones.
	Scale(ctx context.Context, name string, replicas int) error
	// InstallProject applies config/ and starts the controller and the webhook if they do
	// not run or were rebuilt.
	InstallProject(ctx context.Context) error
}

// localProcesses are those of a local cluster. The second process of "controller" is
// named "controller-1".
type localProcesses struct {
	url, token string
}

func (p *localProcesses) List(ctx context.Context) ([]ProcessStatus, error) {
	var all []ProcessStatus
	err := p.call(ctx, http.MethodGet, "/processes", nil, &all)
	return all, err
}

func (p *localProcesses) Get(ctx context.Context, name string) (ProcessStatus, error) {
	all, err := p.List(ctx)
	if err != nil {
		return ProcessStatus{}, err
	}
	for _, status := range all {
		if status.Name == name {
			return status, nil
		}
	}
	return ProcessStatus{}, fmt.Errorf("cluster has no process %q", name)
}

func (p *localProcesses) Stop(ctx context.Context, name string) error {
	return p.act(ctx, name, "stop", nil)
}

func (p *localProcesses) Kill(ctx context.Context, name string) error {
	return p.act(ctx, name, "kill", nil)
}

func (p *localProcesses) Start(ctx context.Context, name string, environment map[string]string) error {
	return p.act(ctx, name, "start", environment)
}

func (p *localProcesses) Restart(ctx context.Context, name string, environment map[string]string) error {
	return p.act(ctx, name, "restart", environment)
}

func (p *localProcesses) Scale(ctx context.Context, name string, replicas int) error {
	return p.call(ctx, http.MethodPost, fmt.Sprintf("/processes/%s/replicas/%d", name, replicas), nil, nil)
}

// startAll starts all stopped processes.
func (p *localProcesses) startAll(ctx context.Context) error {
	all, err := p.List(ctx)
	if err != nil {
		return err
	}
	for _, process := range all {
		if process.PID != 0 {
			continue
		}
		if err := p.Start(ctx, process.Name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p *localProcesses) InstallProject(ctx context.Context) error {
	return p.call(ctx, http.MethodPost, "/project/install", nil, nil)
}

func (p *localProcesses) act(ctx context.Context, name, action string, environment map[string]string) error {
	return p.call(ctx, http.MethodPost, "/processes/"+name+"/"+action, environment, nil)
}

func (p *localProcesses) call(ctx context.Context, method, path string, body, answer any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	// Ignore proxies of the caller's environment.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("call the cluster's supervisor: %w", err)
	}
	defer response.Body.Close()
	content, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(content)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(content, answer)
}

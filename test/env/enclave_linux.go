// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// enclave is the set of namespaces for network, mounts and processes in which a cluster
// with a node runs. A kubelet, a container runtime or kube-proxy in it cannot affect the
// machine. When its first process exits, for whatever reason, the kernel removes
// everything in it: containers, mounts and firewall rules.
//
// Cgroups cannot be enclosed, see makeCgroups.
type enclave struct {
	work     chan func() // functions for the thread in the enclave
	first    *exec.Cmd
	id       identity
	lifeline *os.File
	ended    chan struct{}
}

// newEnclave creates the namespaces and starts their first process, this program as
// "cluster enclave", see Enclose. That process exits when the pipe is closed, and so when
// this program exits.
func newEnclave(program, dir string, environment []string, log *os.File) (*enclave, error) {
	e := &enclave{work: make(chan func()), ended: make(chan struct{})}
	// Go probes kernel features with a child process once. This must not happen inside:
	// that child would be the first process there, and its exit would end the enclave.
	if _, err := os.FindProcess(os.Getpid()); err != nil {
		return nil, err
	}
	opened := make(chan error)
	go func() {
		// This thread is in other namespaces than the rest of the program and is never
		// reused.
		runtime.LockOSThread()
		opened <- openNamespaces()
		for f := range e.work {
			f()
		}
	}()
	if err := <-opened; err != nil {
		return nil, err
	}

	input, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	e.lifeline = lifeline
	e.first = exec.Command(program, "enclave", "--dir", dir)
	e.first.Env, e.first.Stdin, e.first.Stderr = environment, input, log
	e.first.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := e.first.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.spawn(e.first); err != nil {
		return nil, err
	}
	if e.id, err = identify(e.first.Process.Pid); err != nil {
		return nil, err
	}
	first, err := bufio.NewReader(said).ReadString('\n')
	go func() {
		defer close(e.ended)
		_ = e.first.Wait() // It exits when its input is closed.
	}()
	if err != nil || strings.TrimSpace(first) != enclosed {
		e.close()
		return nil, fmt.Errorf("set up the node's namespaces: see %s", log.Name())
	}
	return e, nil
}

// enclosing are the kinds of namespaces of an enclave.
const enclosing = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// openNamespaces moves the thread into new namespaces. The PID namespace applies to its
// children.
func openNamespaces() error {
	if err := syscall.Unshare(enclosing); err != nil {
		return fmt.Errorf("open namespaces for a node: %w", err)
	}
	// Mounts of the enclave must not propagate to the machine.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep the node's mounts to itself: %w", err)
	}
	return nil
}

func (e *enclave) do(f func() error) error {
	done := make(chan error, 1)
	e.work <- func() { done <- f() }
	return <-done
}

// spawn starts the command in the enclave. It is not set to die with its parent: inside
// the enclave the parent is invisible, so the kernel would send the signal immediately.
// The end of the enclave ends it.
func (e *enclave) spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	return e.do(cmd.Start)
}

// dial connects to an address in the enclave. A socket belongs to the namespace in which
// it was created.
func (e *enclave) dial(ctx context.Context, address string) (net.Conn, error) {
	var connection net.Conn
	err := e.do(func() (err error) {
		connection, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		return err
	})
	return connection, err
}

// path returns the path of an enclave's file as seen from outside.
func (e *enclave) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", e.id.PID, file) }

// close ends all processes in the enclave and returns when they have exited: the first
// process of a PID namespace exits last.
func (e *enclave) close() {
	e.lifeline.Close()
	<-e.ended
}

// enclosed is the line that the first process prints when the namespaces are ready.
const enclosed = "enclosed"

// Enclose runs as an enclave's first process: it sets up the namespaces and waits until
// its standard input is closed.
func Enclose(dir string) error {
	l := layout{dir: dir}
	for _, step := range []func(layout) error{mountProc, hideTunables, hideDirectories, connectNode} {
		if err := step(l); err != nil {
			return err
		}
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	fmt.Println(enclosed)

	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = os.Stdin.Read(make([]byte, 1)) // Blocks until the input is closed.
	}()
	for {
		select {
		case <-over:
			return nil
		case <-children:
			// Reap orphans, such as shims of containers.
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// mountProc replaces /proc of the machine by that of the enclave.
func mountProc(layout) error {
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// tunables are kernel settings that a kubelet changes for the whole machine. It finds
// them already set, in files that only it sees.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

func hideTunables(l layout) error {
	for name, value := range tunables {
		file := filepath.Join(l.machine(), "sysctl", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := writeFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(file, filepath.Join("/proc/sys", name)); err != nil {
			return err
		}
	}
	return nil
}

// hidden are directories in which the node's programs store files.
var hidden = []string{"/run", "/var/lib", "/var/log"}

func hideDirectories(l layout) error {
	for _, dir := range hidden {
		own := filepath.Join(l.machine(), dir)
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		if err := bind(own, dir); err != nil {
			return err
		}
	}
	hosts := filepath.Join(l.machine(), "hosts")
	content := loopback + " localhost " + strings.Join(hubHosts, " ") + "\n"
	if err := writeFile(hosts, []byte(content), 0o644); err != nil {
		return err
	}
	return bind(hosts, "/etc/hosts")
}

func bind(from, to string) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// connectNode configures the network of the namespace: loopback and one address on which
// Pods reach the node. There is no route out. The other end of the link is in the same
// namespace.
func connectNode(layout) error {
	for _, command := range []string{
		"ip link set lo up",
		"ip link add eth0 type veth peer name wire",
		"ip link set wire up",
		"ip link set eth0 up",
		"ip address add " + nodeAddress + "/24 dev eth0",
		// Without a route no packet would reach kube-proxy's rules.
		"ip route add " + serviceRange + " dev eth0",
	} {
		words := strings.Fields(command)
		if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) //nolint:gosec // It is no file.
}

// checkEnclave returns an error if the machine cannot run an enclave.
func checkEnclave(repo, dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("a node requires root: run this with sudo, or start a cluster without a node")
	}
	// In many containers root can do neither.
	attempt := exec.Command("true")
	attempt.SysProcAttr = &syscall.SysProcAttr{Cloneflags: enclosing}
	if err := attempt.Run(); err != nil {
		return fmt.Errorf("a node requires its own namespaces, and root cannot create them on this machine: %w", err)
	}
	cgroup := layout{dir: dir}.cgroup() + "-check"
	err := makeCgroups(cgroup)
	missing := notDelegated(unified, filepath.Join(unified, cgroup))
	if err := errors.Join(err, removeCgroups(cgroup)); err != nil {
		return fmt.Errorf("a node requires its own cgroup, and root cannot create one on this machine: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("a kubelet requires the cgroup controllers %s, which this machine does not delegate: write +NAME of each to cgroup.subtree_control where cgroups are mounted",
			strings.Join(missing, ", "))
	}
	for _, place := range hidden {
		for _, path := range []string{repo, dir} {
			if path == place || strings.HasPrefix(path, place+"/") {
				return fmt.Errorf("%s cannot be used for a node, which has its own %s: move the checkout elsewhere", path, place)
			}
		}
	}
	return nil
}

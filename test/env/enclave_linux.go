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

// enclave is where the processes of a cluster with a node live: namespaces of
// their own for network, mounts and processes. Nothing that a kubelet, a
// container runtime or kube-proxy does there reaches the machine, and all of
// it, containers and mounts and rules of the firewall, is gone when the first
// process of the enclave is, however that ended. There is no name of it
// anywhere that could be left behind.
//
// What cannot be enclosed so are cgroups, see makeCgroups.
type enclave struct {
	work     chan func() // to be done by the thread that lives in the enclave
	first    *exec.Cmd
	id       identity
	lifeline *os.File
	ended    chan struct{}
}

// newEnclave opens the namespaces and starts the first process in them, which is
// this program as "cluster enclave", see Enclose. It ends when the pipe does,
// and with that when this program is gone.
func newEnclave(program, dir string, environment []string, log *os.File) (*enclave, error) {
	e := &enclave{work: make(chan func()), ended: make(chan struct{})}
	// Go tries out with a child of its own what the system can, and remembers.
	// It must not do so within: that child would be the first process there,
	// and the end of the enclave.
	if _, err := os.FindProcess(os.Getpid()); err != nil {
		return nil, err
	}
	opened := make(chan error)
	go func() {
		// This thread is of another world than the rest of the program, and
		// is never given back.
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
		_ = e.first.Wait() // It is ended by closing its input.
	}()
	if err != nil || strings.TrimSpace(first) != enclosed {
		e.close()
		return nil, fmt.Errorf("the node's namespaces could not be furnished; see %s", log.Name())
	}
	return e, nil
}

// enclosing are the namespaces of an enclave.
const enclosing = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// openNamespaces moves the thread. The namespace of processes is that of
// its children.
func openNamespaces() error {
	if err := syscall.Unshare(enclosing); err != nil {
		return fmt.Errorf("open namespaces for a node: %w", err)
	}
	// Neither may a mount of the enclave appear outside.
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

// spawn starts the command within the enclave. It is the end of the enclave
// that ends it: the signal at the death of its parent would come at
// once, because within the enclave its parent cannot be seen.
func (e *enclave) spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	return e.do(cmd.Start)
}

// dial connects to an address within the enclave. A socket belongs to the
// namespace in which it was made, whoever uses it then.
func (e *enclave) dial(ctx context.Context, address string) (net.Conn, error) {
	var connection net.Conn
	err := e.do(func() (err error) {
		connection, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		return err
	})
	return connection, err
}

// path is where a file of the enclave is seen from outside.
func (e *enclave) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", e.id.PID, file) }

// close ends all that lives in the enclave and returns when it is gone: the
// system ends the first process of a namespace last.
func (e *enclave) close() {
	e.lifeline.Close()
	<-e.ended
}

// enclosed is what the first process says when the others may come.
const enclosed = "enclosed"

// Enclose is the life of an enclave's first process: it furnishes the
// namespaces and then lives on its standard input.
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
		_, _ = os.Stdin.Read(make([]byte, 1)) // Nothing is ever said: it ends.
	}()
	for {
		select {
		case <-over:
			return nil
		case <-children:
			// Those whose own parent has gone, as shims of containers do.
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// mountProc shows the processes of the enclave in place of the machine's.
func mountProc(layout) error {
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// tunables are what a kubelet sets for the whole machine. There it finds them
// set already, in files that only it sees.
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

// hidden are directories in which the node's programs leave files.
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
		return fmt.Errorf("put %s in place of %s: %w", from, to, err)
	}
	return nil
}

// connectNode gives the namespace its network: loopback and one address by
// which Pods reach the node. There is no way out. The other end of the wire
// lies in the same namespace.
func connectNode(layout) error {
	for _, command := range []string{
		"ip link set lo up",
		"ip link add eth0 type veth peer name wire",
		"ip link set wire up",
		"ip link set eth0 up",
		"ip address add " + nodeAddress + "/24 dev eth0",
		// Without a route there would be no packet that kube-proxy could lead
		// elsewhere.
		"ip route add " + serviceRange + " dev eth0",
	} {
		words := strings.Fields(command)
		if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) //nolint:gosec // It is no file.
}

// checkEnclave says what is missing for one.
func checkEnclave(repo, dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("a node runs containers and needs root: call this with sudo, or do without the node")
	}
	// In many containers, root may do neither of these.
	attempt := exec.Command("true")
	attempt.SysProcAttr = &syscall.SysProcAttr{Cloneflags: enclosing}
	if err := attempt.Run(); err != nil {
		return fmt.Errorf("a node lives in namespaces of its own, and this machine lets root make none: %w", err)
	}
	cgroup := layout{dir: dir}.cgroup() + "-check"
	err := makeCgroups(cgroup)
	missing := notHandedDown(unified, filepath.Join(unified, cgroup))
	if err := errors.Join(err, removeCgroups(cgroup)); err != nil {
		return fmt.Errorf("a node has a cgroup of its own, and this machine lets root make none: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("a kubelet needs the cgroup controllers %s, which this machine does not hand down: write +NAME of each to cgroup.subtree_control where cgroups are mounted",
			strings.Join(missing, ", "))
	}
	for _, place := range hidden {
		for _, path := range []string{repo, dir} {
			if path == place || strings.HasPrefix(path, place+"/") {
				return fmt.Errorf("%s cannot be used for a node, which has a %s of its own: put the checkout elsewhere", path, place)
			}
		}
	}
	return nil
}

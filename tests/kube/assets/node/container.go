package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// container is one container's main process with its output, and the place where exec runs more.
type container struct {
	name    string
	image   string
	id      string
	folder  string // working directory of every process of the container
	environ []string
	tty     bool
	once    bool // stdinOnce: the first attached client's end of input is the process's
	output  *output

	mutex    sync.Mutex
	process  *os.Process
	stdin    io.WriteCloser
	terminal *os.File // the pty's master side, with tty
	started  metav1.Time
	state    *corev1.ContainerStateTerminated
	done     chan struct{}
}

// startContainer makes the folder and starts the process; a failure to start is a terminated container whose
// message says why. ended is called once, after the state is set.
func startContainer(spec *corev1.Container, object *corev1.Pod, folder string, ended func()) *container {
	c := &container{
		name: spec.Name, image: spec.Image, folder: filepath.Join(folder, "root"),
		id:  fmt.Sprintf("process://%s-%s", object.UID, spec.Name),
		tty: spec.TTY, once: spec.StdinOnce, started: metav1.Now(), done: make(chan struct{}),
	}
	c.environ = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.folder, "HOSTNAME=" + object.Name, "LANG=C.UTF-8",
	}
	if spec.TTY {
		c.environ = append(c.environ, "TERM=xterm")
	}
	for _, variable := range spec.Env {
		c.environ = append(c.environ, variable.Name+"="+variable.Value)
	}
	err := os.MkdirAll(c.folder, 0o700)
	if err == nil {
		c.output, err = newOutput(filepath.Join(folder, "log", "0.log"))
	}
	if err == nil {
		command := append(append([]string{}, spec.Command...), spec.Args...)
		if len(command) == 0 {
			command = []string{"sleep", "infinity"}
		}
		err = c.start(command, spec.Stdin, ended)
	}
	if err != nil {
		c.finish(128, "StartError", err.Error())
		go ended()
	}
	return c
}

func (c *container) start(command []string, stdin bool, ended func()) error {
	process := c.command(command)
	var copies sync.WaitGroup
	if c.tty {
		terminal, err := pty.StartWithAttrs(process, nil, process.SysProcAttr)
		if err != nil {
			return err
		}
		c.terminal = terminal
		if stdin {
			c.stdin = terminal
		}
		copies.Go(func() { copyTerminal(c.output.stdout, terminal) })
	} else {
		process.Stdout, process.Stderr = c.output.stdout, c.output.stderr
		if stdin {
			pipe, err := process.StdinPipe()
			if err != nil {
				return err
			}
			c.stdin = pipe
		}
		if err := process.Start(); err != nil {
			return err
		}
	}
	c.process = process.Process
	go func() {
		err := process.Wait()
		copies.Wait()
		code := exitCode(err)
		reason := "Completed"
		if code != 0 {
			reason = "Error"
		}
		c.finish(code, reason, "")
		ended()
	}()
	return nil
}

// command prepares a process of the container in a process group of its own, which dies with this program.
func (c *container) command(command []string) *exec.Cmd {
	process := exec.Command(command[0], command[1:]...)
	if !strings.Contains(command[0], "/") {
		process.Path, process.Err = c.find(command[0])
	}
	process.Dir = c.folder
	process.Env = c.environ
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: !c.tty}
	dieWithParent(process.SysProcAttr)
	// Descendants that keep the output open are not waited for longer than this.
	process.WaitDelay = 2 * time.Second
	return process
}

// find looks for a program where the container's PATH says, as runtimes do, and not where this program's says.
func (c *container) find(name string) (string, error) {
	var path string
	for _, variable := range c.environ {
		if value, found := strings.CutPrefix(variable, "PATH="); found {
			path = value // the last one counts
		}
	}
	for _, folder := range filepath.SplitList(path) {
		found, err := exec.LookPath(filepath.Join(folder, name))
		if err == nil {
			return found, nil
		}
	}
	return name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func (c *container) finish(code int, reason, message string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.state = &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, Message: message, ContainerID: c.id,
		StartedAt: c.started, FinishedAt: metav1.Now(),
	}
	if c.output != nil {
		if err := c.output.close(); err != nil {
			log.Printf("log of %s: %v", c.id, err)
		}
	}
	if c.terminal != nil {
		c.terminal.Close()
	}
	close(c.done)
}

func (c *container) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

func (c *container) status() corev1.ContainerStatus {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	started := c.state == nil
	status := corev1.ContainerStatus{
		Name: c.name, Image: c.image, ImageID: c.image, ContainerID: c.id, Ready: started, Started: &started,
	}
	if started {
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: c.started}
	} else {
		status.State.Terminated = c.state
	}
	return status
}

// stop asks the process group to end and kills it after the grace period.
func (c *container) stop(grace time.Duration) {
	if c.process == nil || !c.running() {
		return
	}
	signalGroup(c.process, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		signalGroup(c.process, syscall.SIGKILL)
		<-c.done
	}
}

// attach joins a client to the main process until that ends or the client cannot be written to.
func (c *container) attach(
	ctx context.Context, in io.Reader, out, errOut io.Writer, resize <-chan remotecommand.TerminalSize,
) error {
	if !c.running() {
		return errors.New("container is not running")
	}
	if in != nil && c.stdin == nil {
		return errors.New("container was not started with stdin")
	}
	if c.terminal != nil {
		go follow(ctx, resize, c.terminal)
	}
	gone := c.output.join(out, errOut)
	defer c.output.leave(out, errOut)
	if in != nil {
		go func() {
			if _, err := io.Copy(c.stdin, in); err != nil && c.running() {
				log.Printf("stdin of %s: %v", c.id, err)
			}
			if c.once {
				c.stdin.Close()
			}
		}()
	}
	select {
	case <-c.done:
	case <-gone:
	case <-ctx.Done():
	}
	return nil
}

func signalGroup(process *os.Process, signal syscall.Signal) {
	if err := syscall.Kill(-process.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		log.Printf("signalling process group %d: %v", process.Pid, err)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	default:
		return 255
	}
}

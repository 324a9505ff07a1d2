package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// exec runs one more process in the container's folder. A process that ends with a code other than 0 is a
// utilexec.CodeExitError, which the streaming library turns into the status kubectl reads the code from.
func (c *container) exec(
	ctx context.Context, command []string, in io.Reader, out, errOut io.Writer, tty bool,
	resize <-chan remotecommand.TerminalSize,
) error {
	if !c.running() {
		return errors.New("container is not running")
	}
	if len(command) == 0 {
		return errors.New("no command given")
	}
	process := c.command(command)
	var err error
	if tty {
		err = runOnTerminal(ctx, process, in, out, resize)
	} else {
		err = runOnPipes(process, in, out, errOut)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code := exitCode(err)
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: code}
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

func runOnPipes(process *exec.Cmd, in io.Reader, out, errOut io.Writer) error {
	process.SysProcAttr.Setpgid = true
	process.Stdout, process.Stderr = out, errOut
	if in == nil {
		return process.Run()
	}
	// Not process.Stdin: Wait would wait for the client to end its input, not only for the process.
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	go func() {
		if _, err := io.Copy(stdin, in); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
			log.Printf("stdin of %s: %v", process.Path, err)
		}
		stdin.Close()
	}()
	return process.Wait()
}

func runOnTerminal(
	ctx context.Context, process *exec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize,
) error {
	process.SysProcAttr.Setpgid = false // a session leader needs none
	process.Env = append(process.Env, "TERM=xterm")
	terminal, err := pty.StartWithAttrs(process, nil, withTerminal(process.SysProcAttr))
	if err != nil {
		return err
	}
	defer terminal.Close()
	ended := make(chan struct{})
	defer close(ended)
	go follow(ctx, resize, terminal)
	if in != nil {
		go func() {
			// The end of the client's input on a terminal is a hang-up, as when a modem line drops.
			io.Copy(terminal, in) //nolint:errcheck // either side's end is the end
			select {
			case <-ended:
			default:
				signalGroup(process.Process, syscall.SIGHUP)
			}
		}()
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		if out != nil {
			copyTerminal(out, terminal)
		}
	}()
	err = process.Wait()
	// What the process wrote last is still in the terminal; a descendant may hold it open for ever.
	select {
	case <-copied:
	case <-time.After(process.WaitDelay):
	}
	return err
}

// copyTerminal copies until the last process closes its side, which Linux reports as EIO.
func copyTerminal(to io.Writer, terminal *os.File) {
	if _, err := io.Copy(to, terminal); err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
		log.Printf("terminal: %v", err)
	}
}

// follow applies the client's window sizes until there are no more.
func follow(ctx context.Context, resize <-chan remotecommand.TerminalSize, terminal *os.File) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, more := <-resize:
			if !more {
				return
			}
			err := pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
			if err != nil && !errors.Is(err, os.ErrClosed) {
				log.Printf("resizing a terminal: %v", err)
			}
		}
	}
}

// withTerminal adds what makes the new terminal the controlling one of a new session.
func withTerminal(attributes *syscall.SysProcAttr) *syscall.SysProcAttr {
	attributes.Setsid = true
	attributes.Setctty = true
	return attributes
}

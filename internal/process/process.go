// Package process runs a server as a process of its own, for as long as a test or a command needs it.
package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	startsWithin = 30 * time.Second
	stopsWithin  = 30 * time.Second
)

// Process is a running server. Who starts it calls Stop or Kill.
type Process struct {
	// Log is the file with what it prints.
	Log string

	name    string
	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	end     error         // of the process; to be read when ended is closed
}

// Start runs a command, called name in errors, which prints into the file log, and returns when it is ready.
func Start(ctx context.Context, name string, command *exec.Cmd, log string, ready func(context.Context) bool) (*Process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own handle
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &Process{Log: log, name: name, command: command, ended: make(chan struct{})}
	go func() {
		p.end = p.command.Wait()
		close(p.ended)
	}()
	if err := p.waitUntil(ctx, ready); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%s did not start: %w; its log is %s", name, err, log)
	}
	return p, nil
}

func (p *Process) waitUntil(ctx context.Context, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startsWithin)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended at once: %s", p.command.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", ctx.Err())
		case <-again.C:
		}
	}
}

// Signal sends the process a signal.
func (p *Process) Signal(signal os.Signal) error { return p.command.Process.Signal(signal) }

// Stop lets the process finish what it does and waits for its end.
func (p *Process) Stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		if p.end != nil {
			return fmt.Errorf("%s did not stop well: %w; its log is %s", p.name, p.end, p.Log)
		}
		return nil
	case <-time.After(stopsWithin):
		return fmt.Errorf("%s did not stop within %s; its log is %s", p.name, stopsWithin, p.Log)
	}
}

// Pid is the number by which the operating system knows the process.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Kill ends the process at once if it still runs. It may follow Stop.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// asking leaves no connection behind: there is one question to each answer that counts.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Answers tells whether a server answers at a URL. Any answer is one, 404 too.
func Answers(ctx context.Context, url string) bool {
	_, ok := status(ctx, url)
	return ok
}

// IsReady tells whether a server answers at a URL with 200.
func IsReady(ctx context.Context, url string) bool {
	code, ok := status(ctx, url)
	return ok && code == http.StatusOK
}

func status(ctx context.Context, url string) (int, bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, false
	}
	response, err := asking.Do(request)
	if err != nil {
		return 0, false
	}
	response.Body.Close()
	return response.StatusCode, true
}

// FreeAddress returns host:port on the loopback interface, where nothing listened a moment ago.
func FreeAddress() (string, error) {
	listener, err := ListenOnFreePort()
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// ListenOnFreePort listens on the loopback interface, on a port that systems do not give to outgoing connections. So
// none of those can take it while it changes hands, and it can be listened on again.
func ListenOnFreePort() (net.Listener, error) {
	const from, to, attempts = 10000, 32768, 100
	var err error
	for range attempts {
		var listener net.Listener
		if listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", from+rand.IntN(to-from))); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("no free port found in %d attempts: %w", attempts, err)
}

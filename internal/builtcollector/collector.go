// Package builtcollector runs the Collector that `make build` made, as a process of its own on ports of its own, and
// replays recordings into it. The demo and the tests of the built Collector use it.
package builtcollector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Path of the Collector from the root of the repository.
const Path = "dist/otelcol-vendorfailure"

const (
	startsWithin = 30 * time.Second
	stopsWithin  = 30 * time.Second
)

// Collector is a running Collector. Who starts it calls Stop or Kill.
type Collector struct {
	// OTLP, Loki and Metrics are the URLs where it listens, without a path.
	OTLP, Loki, Metrics string
	// Log is the file with what it prints.
	Log string

	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	end     error         // of the process; to be read when ended is closed
}

// Check returns an error that says what to do if there is no built Collector below root, the repository.
func Check(root string) error {
	if _, err := os.Stat(filepath.Join(root, Path)); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	return nil
}

// Start runs the Collector with one of the configurations in examples/ and returns when it listens. It runs in root,
// the repository, and prints into the folder out. To its environment are added env and the variables by which the
// configurations take their ports: free ones, or those that the caller's environment asks for.
func Start(ctx context.Context, root, config, out string, env ...string) (*Collector, error) {
	if err := Check(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	c := &Collector{Log: filepath.Join(out, "collector.log"), ended: make(chan struct{})}
	log, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own handle

	c.command = exec.Command("./"+Path, "--config", config)
	c.command.Dir = root
	c.command.Stdout, c.command.Stderr = log, log
	c.command.Env = append(os.Environ(), env...)
	if err := c.choosePorts(); err != nil {
		return nil, err
	}
	if err := c.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.end = c.command.Wait()
		close(c.ended)
	}()

	if err := c.waitUntilListening(ctx); err != nil {
		c.Kill()
		return nil, fmt.Errorf("the Collector did not start: %w; its log is %s", err, c.Log)
	}
	return c, nil
}

func (c *Collector) choosePorts() error {
	var grpc string // nobody sends there
	for _, endpoint := range []struct {
		variable string
		url      *string
	}{
		{"OTLP_GRPC_PORT", &grpc},
		{"OTLP_HTTP_PORT", &c.OTLP},
		{"LOKI_PORT", &c.Loki},
		{"METRICS_PORT", &c.Metrics},
	} {
		want := os.Getenv(endpoint.variable)
		if want == "" {
			want = "0"
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+want)
		if err != nil {
			return fmt.Errorf("%s=%s cannot be used: %w; stop what listens there, or unset %s to get a free port",
				endpoint.variable, want, err, endpoint.variable)
		}
		// All are held until all are chosen, lest one be chosen twice.
		defer listener.Close()
		address := listener.Addr().(*net.TCPAddr)
		*endpoint.url = "http://" + address.String()
		c.command.Env = append(c.command.Env, fmt.Sprintf("%s=%d", endpoint.variable, address.Port))
	}
	return nil
}

func (c *Collector) waitUntilListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startsWithin)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if answers(ctx, c.Metrics) && answers(ctx, c.OTLP) && answers(ctx, c.Loki) {
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("it ended at once: %w", c.end)
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", ctx.Err())
		case <-again.C:
		}
	}
}

// answers takes any answer for one, 404 too.
func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

// Stop lets the Collector send what it still holds and waits for its end.
func (c *Collector) Stop() error {
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
		if c.end != nil {
			return fmt.Errorf("the Collector did not stop well: %w; its log is %s", c.end, c.Log)
		}
		return nil
	case <-time.After(stopsWithin):
		return fmt.Errorf("the Collector did not stop within %s; its log is %s", stopsWithin, c.Log)
	}
}

// Kill ends the Collector at once if it still runs. It may follow Stop.
func (c *Collector) Kill() {
	_ = c.command.Process.Kill()
	<-c.ended
}

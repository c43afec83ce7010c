// Package builtcollector runs the Collector that `make build` made, as a process of its own on ports of its own, and
// replays recordings into it. The demo and the tests of the built Collector use it.
package builtcollector

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// Path of the Collector from the root of the repository.
const Path = "dist/otelcol-vendorfailure"

// Collector is a running Collector. Who starts it calls Stop or Kill.
type Collector struct {
	// OTLP, OTLPGRPC, Loki and Metrics are the URLs where it listens, without a path; at OTLPGRPC and Loki only where the
	// configuration says so.
	OTLP, OTLPGRPC, Loki, Metrics string
	*process.Process
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
// configurations take their ports: free ones, or those that env or the caller's environment asks for.
func Start(ctx context.Context, root, config, out string, env ...string) (*Collector, error) {
	if err := Check(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	c := &Collector{}
	command := exec.Command("./"+Path, "--config", config)
	command.Dir = root
	command.Env = append(os.Environ(), env...)
	if err := c.choosePorts(command); err != nil {
		return nil, err
	}
	loki := takesLoki(root, config)
	var err error
	c.Process, err = process.Start(ctx, "the Collector", command, filepath.Join(out, "collector.log"), func(ctx context.Context) bool {
		return process.Answers(ctx, c.Metrics) && process.Answers(ctx, c.OTLP) && (!loki || process.Answers(ctx, c.Loki))
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// takesLoki tells whether a configuration names the port for Loki pushes. If it cannot be read, the Collector says so.
func takesLoki(root, config string) bool {
	if !filepath.IsAbs(config) {
		config = filepath.Join(root, config)
	}
	text, err := os.ReadFile(config)
	return err == nil && bytes.Contains(text, []byte("LOKI_PORT"))
}

func (c *Collector) choosePorts(command *exec.Cmd) error {
	for _, endpoint := range []struct {
		variable string
		url      *string
	}{
		{"OTLP_GRPC_PORT", &c.OTLPGRPC},
		{"OTLP_HTTP_PORT", &c.OTLP},
		{"LOKI_PORT", &c.Loki},
		{"METRICS_PORT", &c.Metrics},
	} {
		want := ""
		for _, variable := range command.Env { // the last one counts
			if port, ok := strings.CutPrefix(variable, endpoint.variable+"="); ok {
				want = port
			}
		}
		listener, err := listen(want)
		if err != nil {
			return fmt.Errorf("%s=%s cannot be used: %w; stop what listens there, or unset %s to get a free port",
				endpoint.variable, want, err, endpoint.variable)
		}
		// All are held until all are chosen, lest one be chosen twice.
		defer listener.Close()
		address := listener.Addr().(*net.TCPAddr)
		*endpoint.url = "http://" + address.String()
		command.Env = append(command.Env, fmt.Sprintf("%s=%d", endpoint.variable, address.Port))
	}
	return nil
}

func listen(port string) (net.Listener, error) {
	if port == "" {
		return process.ListenOnFreePort()
	}
	return net.Listen("tcp", "127.0.0.1:"+port)
}

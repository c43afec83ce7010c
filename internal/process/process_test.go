package process

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func yes(context.Context) bool { return true }
func no(context.Context) bool  { return false }

func TestStops(t *testing.T) {
	for _, row := range []struct{ name, shell, says string }{
		{"well", `trap 'exit 0' TERM; touch $UP; while :; do sleep 0.01; done`, ""},
		{"badly", `trap 'exit 3' TERM; touch $UP; while :; do sleep 0.01; done`, "the shell did not stop well: exit status 3; its log is "},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			// The trap has to be there before the signal is sent.
			up := filepath.Join(t.TempDir(), "up")
			shell := exec.Command("sh", "-c", row.shell)
			shell.Env = append(os.Environ(), "UP="+up)
			p, err := Start(t.Context(), "the shell", shell, log, func(context.Context) bool {
				_, err := os.Stat(up)
				return err == nil
			})
			require.NoError(t, err)
			defer p.Kill()
			if err := p.Stop(); row.says == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, row.says)
			}
		})
	}
}

func TestStopOfWhatHasEnded(t *testing.T) {
	p, err := Start(t.Context(), "nothing", exec.Command("true"), filepath.Join(t.TempDir(), "log"), yes)
	require.NoError(t, err)
	<-p.ended
	assert.NoError(t, p.Stop())
	p.Kill()
}

func TestDoesNotStart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	_, err := Start(t.Context(), "the shell", exec.Command("sh", "-c", "exit 2"), log, no)
	require.ErrorContains(t, err, "the shell did not start: it ended at once: exit status 2; its log is "+log)

	_, err = Start(t.Context(), "the shell", exec.Command("true"), log, no)
	require.ErrorContains(t, err, "the shell did not start: it ended at once: exit status 0; its log is "+log)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Start(gone, "the shell", exec.Command("sleep", "60"), log, no)
	require.ErrorContains(t, err, "the shell did not start: it does not listen: context canceled")

	_, err = Start(t.Context(), "nothing", exec.Command("./none"), log, yes)
	require.Error(t, err)
	_, err = Start(t.Context(), "nothing", exec.Command("true"), filepath.Join(log, "none"), yes)
	require.Error(t, err)
}

func TestAnswers(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	assert.True(t, Answers(t.Context(), s.URL))
	assert.False(t, IsReady(t.Context(), s.URL))
	s.Close()
	assert.False(t, Answers(t.Context(), s.URL))
	assert.False(t, Answers(t.Context(), ":"))
}

func TestFreePorts(t *testing.T) {
	taken := map[string]bool{}
	for range 50 {
		listener, err := ListenOnFreePort()
		require.NoError(t, err)
		defer listener.Close()
		port := listener.Addr().(*net.TCPAddr).Port
		assert.Less(t, port, 32768, "Linux gives the ports from here on to outgoing connections")
		assert.False(t, taken[listener.Addr().String()])
		taken[listener.Addr().String()] = true
	}
	address, err := FreeAddress()
	require.NoError(t, err)
	assert.False(t, taken[address])
}

func TestSignal(t *testing.T) {
	up := filepath.Join(t.TempDir(), "up")
	shell := exec.Command("sh", "-c", `trap 'echo reloaded; exit 0' HUP; echo $$; touch $UP; while :; do sleep 0.01; done`)
	shell.Env = append(os.Environ(), "UP="+up)
	p, err := Start(t.Context(), "the shell", shell, filepath.Join(t.TempDir(), "log"), func(context.Context) bool {
		_, err := os.Stat(up)
		return err == nil
	})
	require.NoError(t, err)
	defer p.Kill()
	require.NoError(t, p.Signal(syscall.SIGHUP))
	<-p.ended
	printed, err := os.ReadFile(p.Log)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%d\nreloaded\n", p.Pid()), string(printed))
}

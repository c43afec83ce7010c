package monitoring

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/jwtpizza/otelcol-vendorfailure/internal/process"
)

// Alertmanager is a running Alertmanager. Who starts it calls Stop or Kill.
type Alertmanager struct {
	// URL is where it listens, without a path.
	URL string
	*process.Process
}

// StartAlertmanager runs Alertmanager with a configuration file and returns when it is ready. root is the repository;
// its files go to the folder out.
func StartAlertmanager(ctx context.Context, root, out, config string) (*Alertmanager, error) {
	binary, err := tool(root, "alertmanager")
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	a := &Alertmanager{URL: "http://" + address}
	command := exec.Command(binary,
		"--config.file", config,
		"--storage.path", filepath.Join(out, "alertmanager"),
		"--web.listen-address", address,
		"--cluster.listen-address", "",
		"--log.level", "warn")
	a.Process, err = process.Start(ctx, "Alertmanager", command, filepath.Join(out, "alertmanager.log"), func(ctx context.Context) bool {
		return process.IsReady(ctx, a.URL+"/-/ready")
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Get asks the API and reads its answer. path has the parameters, too.
func (a *Alertmanager) Get(ctx context.Context, path string, into any) error {
	return get(ctx, a.URL+path, into)
}

// Notification is what Alertmanager's webhook integration sends: a group of alerts for one receiver.
type Notification struct {
	// Receiver is the name in Alertmanager's configuration.
	Receiver string  `json:"receiver"`
	Alerts   []Alert `json:"alerts"`
	// At is when it arrived, Path where.
	At   time.Time `json:"-"`
	Path string    `json:"-"`
}

// Alert is one alert of a notification.
type Alert struct {
	// Status is firing or resolved.
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	// StartsAt is when the rule's `for` was over, EndsAt when it resolved.
	StartsAt time.Time `json:"startsAt"`
	EndsAt   time.Time `json:"endsAt"`
}

// Webhook takes notifications at any path.
type Webhook struct {
	// URL is where it listens, without a path.
	URL string

	server *http.Server
	mu     sync.Mutex
	got    []Notification
	more   chan struct{} // closed and replaced at each arrival
}

// StartWebhook listens at an address, host:port, where 127.0.0.1:0 is any free port. Who starts it calls Close.
func StartWebhook(address string) (*Webhook, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	w := &Webhook{URL: "http://" + listener.Addr().String(), more: make(chan struct{})}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.server.Serve(listener) }()
	return w, nil
}

// Close ends it at once.
func (w *Webhook) Close() { _ = w.server.Close() }

func (w *Webhook) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	n := Notification{At: time.Now(), Path: request.URL.Path}
	if err := json.NewDecoder(request.Body).Decode(&n); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, n)
	close(w.more)
	w.more = make(chan struct{})
}

// Notifications returns what has arrived, in that order.
func (w *Webhook) Notifications() []Notification {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Notification(nil), w.got...)
}

// Wait returns the first alert that is wanted, with the notification it came in, as soon as it is there.
func (w *Webhook) Wait(ctx context.Context, wanted func(Alert) bool) (Alert, Notification, error) {
	seen := 0
	for {
		w.mu.Lock()
		got, more := w.got, w.more
		w.mu.Unlock()
		for ; seen < len(got); seen++ {
			for _, alert := range got[seen].Alerts {
				if wanted(alert) {
					return alert, got[seen], nil
				}
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Alert{}, Notification{}, ctx.Err()
		}
	}
}

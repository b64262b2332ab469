// Package local is the socket on which the agent of this instance answers.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// maxPath is Linux's limit: sun_path of 108 bytes, with a NUL at its end (unix(7)).
const maxPath = 107

// Serve answers GET /status on a unix socket at path with what status gives,
// as JSON, until ctx ends. Only the agent's own user and group may ask. A
// socket that an earlier agent left is replaced; one that is answered is not.
func Serve(ctx context.Context, path string, status func() any) error {
	if err := clear(ctx, path); err != nil {
		return err
	}
	if len(path) > maxPath {
		return fmt.Errorf("listen on %s: a socket's path has at most %d bytes, and this has %d: let the runtime directory have a shorter one", path, maxPath, len(path))
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return errors.Join(fmt.Errorf("let only the agent's group ask on %s: %w", path, err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(status()) // who asked may have gone
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", path, err)
	case <-ctx.Done():
		err := server.Close() // removes the socket as well
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	}
}

// clear removes a socket on which nobody answers.
func clear(ctx context.Context, path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("another agent answers on %s: only one may run on an instance", path)
	}
	return os.Remove(path)
}

// Get asks the agent at path and decodes its answer into status.
func Get(ctx context.Context, path string, status any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/status", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return unanswered(path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the agent on %s: it answered %s", path, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(status); err != nil {
		return fmt.Errorf("decode the answer of the agent on %s: %w", path, err)
	}
	return nil
}

// unanswered says why nobody answered, and what to do.
func unanswered(path string, err error) error {
	var dial *net.OpError
	if !errors.As(err, &dial) {
		return fmt.Errorf("ask the agent on %s: %w", path, err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent answers on %s: is bootagent running on this instance (systemctl status bootagent), and is this its --socket? (%w)", path, dial.Err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("only the agent's user and group may ask on %s: try sudo (%w)", path, dial.Err)
	}
	return fmt.Errorf("ask the agent on %s: %w", path, dial.Err)
}

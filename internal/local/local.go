// Package local is the socket on which the agent of this instance answers.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxPath is Linux's limit: sun_path of 108 bytes, with a NUL at its end (unix(7)).
const maxPath = 107

// Verb is something that the agent can be told to do. It returns when the agent has taken note of it.
type Verb func(context.Context) error

// Serve answers on a unix socket at path until ctx ends: GET /status with what status gives, as JSON, and POST /<verb> by
// doing it. Only root and the agent's own user may ask, and so command. A
// socket that an earlier agent left is replaced; one that is answered is not.
func Serve(ctx context.Context, path string, status func() any, verbs map[string]Verb) error {
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
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("let only the agent's user ask on %s: %w", path, err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(status()) // who asked may have gone
	})
	for name, do := range verbs {
		mux.HandleFunc("POST /"+name, func(rw http.ResponseWriter, r *http.Request) {
			if err := do(r.Context()); err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: patience}
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

// patience is how long an answer may take; the agent gives up on its own loop before that.
const patience = 20 * time.Second

// Get asks the agent at path and decodes its answer into status.
func Get(ctx context.Context, path string, status any) error {
	return call(ctx, path, http.MethodGet, "status", func(answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("ask the agent on %s: it answered %s", path, answer.Status)
		}
		if err := json.NewDecoder(answer.Body).Decode(status); err != nil {
			return fmt.Errorf("decode the answer of the agent on %s: %w", path, err)
		}
		return nil
	})
}

// maxRefusal is how many bytes of the agent's reason are read.
const maxRefusal = 4 << 10

// Post tells the agent at path to do something. The error is the agent's own where it would not.
func Post(ctx context.Context, path, verb string) error {
	return call(ctx, path, http.MethodPost, verb, func(answer *http.Response) error {
		switch answer.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			return fmt.Errorf("the agent that runs does not know %q: it is of another version, restart it (systemctl restart bootagent)", verb)
		}
		reason, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		if err != nil {
			return fmt.Errorf("read why the agent on %s refuses to %s: %w", path, verb, err)
		}
		return fmt.Errorf("the agent refuses to %s: %s", verb, strings.TrimSpace(string(reason)))
	})
}

// call makes one request of the agent at path.
func call(ctx context.Context, path, method, name string, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent/"+name, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return unanswered(path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	return read(answer)
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
		return fmt.Errorf("only root and the agent's user may ask on %s: try sudo (%w)", path, dial.Err)
	}
	return fmt.Errorf("ask the agent on %s: %w", path, dial.Err)
}

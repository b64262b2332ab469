package wire_test

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

func TestAnEndpointClosesPromptlyAndWaits(t *testing.T) {
	t.Parallel()
	entered, ended := make(chan struct{}), false
	e, err := wire.Listen(t.Context(), "127.0.0.1:0", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		time.Sleep(10 * time.Millisecond) // Close must wait for this too
		ended = true
	}))
	if err != nil {
		t.Fatal(err)
	}
	// A connection that was dialled and not used: http.Server.Shutdown alone
	// gives it five seconds.
	unused, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	go func() {
		resp, err := http.Get("http://" + e.Addr().String())
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered

	start := time.Now()
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("closing took %v", took)
	}
	if !ended {
		t.Error("Close did not wait for the request under way")
	}
	if err := errors.Join(e.Close(), e.Err()); err != nil {
		t.Errorf("a second close: %v", err)
	}
	if conn, err := net.Dial("tcp", e.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("it still listens")
	}
}

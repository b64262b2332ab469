package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// moto is the one moto server of the suite, started by the first test that
// wants it and stopped by TestMain.
var moto struct {
	once     sync.Once
	endpoint string
	err      error
	stop     func()
	turn     sync.Mutex
}

func TestMain(m *testing.M) {
	code := m.Run()
	if moto.stop != nil {
		moto.stop()
	}
	os.Exit(code)
}

// freshMoto returns the URL of an empty moto server, which the test has for
// itself until it ends, or leaves the test out. Names of its own are not enough:
// moto goes through its parameters without a lock, and a label for a parameter
// that is not there makes every later DescribeParameters a 500.
func freshMoto(t *testing.T) string {
	t.Helper()
	moto.once.Do(func() { moto.endpoint, moto.stop, moto.err = startMoto() })
	if moto.err != nil {
		leaveOut(t, "what moto says", moto.err)
	}
	moto.turn.Lock()
	t.Cleanup(moto.turn.Unlock)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, moto.endpoint+"/moto-api/reset", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("reset moto: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("reset moto: %s", resp.Status)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return moto.endpoint
}

// The server ends when its standard input does: even when this process is
// killed, it leaves none behind.
const motoProgram = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(sys.argv[1:])
`

func startMoto() (endpoint string, stop func(), err error) {
	interpreter, err := python("moto.server")
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("find a port for moto: %w", err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", nil, fmt.Errorf("find a port for moto: %w", err)
	}
	host, port, _ := strings.Cut(addr, ":")

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, interpreter, "-c", motoProgram, "-H", host, "-p", port)
	// Without its catalogue of machine images a reset takes 15 ms of a processor, not 120.
	cmd.Env = append(os.Environ(), "MOTO_EC2_LOAD_DEFAULT_AMIS=false")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", nil, fmt.Errorf("start moto: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it never ends by itself; what it said is in output
	}()
	stop = func() {
		_ = stdin.Close()
		cancel()
		<-ended
	}
	if err := answers("http://"+addr+"/", ended); err != nil {
		stop()
		return "", nil, fmt.Errorf("start moto: %w; it said: %s", err, output.String())
	}
	return "http://" + addr, stop, nil
}

// answers waits until the URL does, at most a minute: moto is slow to import
// on a busy machine.
func answers(url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.Body.Close()
		}
		select {
		case <-ended:
			return errors.New("it ended before it served")
		case <-ctx.Done():
			return fmt.Errorf("it did not serve within a minute: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Package awstest lets the adapters' tests meet servers: sessions with fixed
// credentials, regions, and moto.
package awstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/region"
)

// Session is a session with the server at endpoint, in us-east-1, whatever the environment says.
func Session(t testing.TB, endpoint string) *session.Session {
	t.Helper()
	s, err := session.Load(context.Background(), session.Options{Region: "us-east-1", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.BaseEndpoint = aws.String(endpoint)
	s.Config.Credentials = credentials.NewStaticCredentialsProvider("AKIATEST", "a-secret-of-the-test", "")
	return s
}

// Region starts a region on loopback, which ends with the test.
func Region(t testing.TB) *region.Region {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// moto is a server of its own process. It ends with its standard input, and so with the test, however that ends.
const moto = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
`

// Moto starts moto and gives its endpoint. Without moto the test is skipped, except in CI.
func Moto(t testing.TB) string {
	t.Helper()
	if out, err := exec.Command("python3", "-c", "import moto.server").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("moto is needed, pip install 'moto[server]': %v\n%s", err, out)
		}
		t.Skipf("no moto here (pip install 'moto[server]'): %v", err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("python3", "-c", moto, port)
	log := &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("moto: %v\n%s", err, log)
		}
	})
	endpoint := "http://" + address
	if err := waitFor(endpoint+"/moto-api/", time.Minute); err != nil {
		t.Fatalf("moto does not come up: %v\n%s", err, log)
	}
	return endpoint
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(url string, d time.Duration) error {
	last := errors.New("not asked")
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get(url)
		if err == nil {
			answer.Body.Close()
			return nil
		}
		last = err
	}
	return fmt.Errorf("nothing at %s within %s: %w", url, d, last)
}

// buffer is a bytes.Buffer that a process writes to while the test may read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

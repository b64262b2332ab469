package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// app is the example that is booted, in a git repository of its own.
type app struct {
	dir   string
	build []string // the environment of its builds, which all share one cache
	start time.Duration
}

// tag is the release that is booted.
const tag = "v1"

// trimmed keeps the name of the directory that it is built in out of a program. Here that name has the instance's id in it, and an instance never
// keeps what names it; on instances the directory is the same everywhere.
const trimmed = "GOFLAGS=-trimpath"

// app is made when it is needed first.
func (b *bench) app(ctx context.Context) (*app, error) {
	if b.made == nil {
		b.say("  compiling the app once, so that its builds find Go's standard library compiled")
		made, err := b.newApp(ctx)
		if err != nil {
			return nil, err
		}
		b.made = made
	}
	return b.made, nil
}

// newApp makes the repository, compiles what all builds share, and measures how long the app itself takes to start.
func (b *bench) newApp(ctx context.Context) (*app, error) {
	dir := filepath.Join(b.dir, "app")
	cache := filepath.Join(b.dir, "go")
	a := &app{dir: dir, build: []string{"CGO_ENABLED=0", "GOPROXY=off", "GOCACHE=" + cache, trimmed}}
	if err := os.CopyFS(dir, os.DirFS("examples/hello")); err != nil {
		return nil, fmt.Errorf("%w; run it as `make bench`, in the repository's directory", err)
	}
	recipe := filepath.Join(dir, "bootagent.yaml")
	text, err := os.ReadFile(recipe)
	if err != nil {
		return nil, err
	}
	const place = "    CGO_ENABLED: \"0\"\n"
	shared := strings.Replace(string(text), place, place+"    GOCACHE: "+cache+"\n    "+strings.Replace(trimmed, "=", ": ", 1)+"\n", 1)
	if shared == string(text) {
		return nil, fmt.Errorf("%s has no line %q after which the build cache could be named", recipe, place)
	}
	if err := os.WriteFile(recipe, []byte(shared), 0o644); err != nil {
		return nil, err
	}
	program := filepath.Join(b.dir, "hello")
	compile := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	compile.Dir, compile.Env = dir, append(os.Environ(), a.build...)
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the app: %w: %s", err, out)
	}
	var starts []time.Duration
	for range enough {
		took, err := startApp(ctx, program)
		if err != nil {
			return nil, fmt.Errorf("start the app by itself: %w", err)
		}
		starts = append(starts, took)
	}
	a.start = median(starts)
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"},
		{"-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "--quiet", "-m", "Release"}, {"tag", tag}} {
		if _, err := git(ctx, "", append([]string{"-C", dir}, args...)...); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// startApp is how long the app takes from its start to its first answer, asked every millisecond.
func startApp(ctx context.Context, program string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("it did not answer within 10s"))
	defer cancel()
	port, err := freePort(ctx)
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, program)
	command.Env = []string{"PORT=" + strconv.Itoa(port)}
	began := time.Now()
	if err := command.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = command.Process.Kill() // it may have ended by itself, which shows
		_ = command.Wait()         // it was killed
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/up", port), nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil || !ok {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return address.Port, nil
}

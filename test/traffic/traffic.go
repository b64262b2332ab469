// Package traffic is what users do while things change: requests through a balancer, of which none may fail. Apps that are tested
// with it say their release in the header X-Release, and wait for as long as the query says, ?for=300ms.
package traffic

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Load is traffic through a balancer. Its test fails if one request does.
type Load struct {
	t      testing.TB
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	answers  map[string]int // by release
	failures []string
}

// How long a client waits between two requests. A connection that is closed leaves an entry in the kernel's table
// for a minute, which every look at the sockets goes through: few are opened, so that many tests find room on a laptop.
const (
	pauseKept = 30 * time.Millisecond  // of a client that keeps its connection
	pauseNew  = 150 * time.Millisecond // of one that opens a new connection each time
)

// Start begins to send requests, with two clients that keep their connections and two that don't. Now and then a
// request takes its time, so that some are in flight whatever happens. It ends with Stop, or with the test.
func Start(t testing.TB, url string) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{t: t, cancel: cancel, answers: map[string]int{}}
	for _, pause := range []time.Duration{pauseKept, pauseKept, pauseNew, pauseNew} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: pause == pauseNew}, Timeout: 20 * time.Second}
		l.done.Go(func() {
			defer client.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				path := "/"
				if i%10 == 0 {
					path = "/?for=300ms"
				}
				l.note(Get(client, url+path))
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

// Get makes one request and says which release answered.
func Get(client *http.Client, url string) (release string, err error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	_ = answer.Body.Close()
	release = answer.Header.Get("X-Release")
	if err == nil && (answer.StatusCode != http.StatusOK || release == "") {
		err = fmt.Errorf("GET %s: %s from release %q: %.200s", url, answer.Status, release, body)
	}
	return release, err
}

// Client makes a client that keeps no connections, so that each request may go to another target.
func Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
}

// Answers says whether a release, and no other, answers ten requests in a row, each on a connection of its own.
func Answers(url, release string) error {
	client := Client()
	for range 10 {
		got, err := Get(client, url)
		if err != nil {
			return err
		}
		if got != release {
			return fmt.Errorf("GET %s: release %q answered, not %q", url, got, release)
		}
	}
	return nil
}

func (l *Load) note(release string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	l.answers[release]++
}

// Stop ends the traffic, fails the test if a request failed, and gives the number of answers by release. What is in
// flight is waited for.
func (l *Load) Stop() map[string]int {
	l.t.Helper()
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) > 0 {
		l.t.Errorf("failed=%d of the requests, answered were %v; the first:\n%s",
			len(l.failures), l.answers, strings.Join(l.failures[:min(5, len(l.failures))], "\n"))
		l.failures = nil
	}
	return l.answers
}

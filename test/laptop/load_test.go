package laptop_test

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

// load is traffic through a lab's balancer. Its test fails if one request does.
type load struct {
	t      testing.TB
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	answers  map[string]int // by release
	failures []string
}

// How long a client waits between two requests. A connection that is closed leaves an entry in the kernel's table
// for a minute, which every look at the sockets goes through: few are opened, so that many labs find room on a laptop.
const (
	pauseKept = 30 * time.Millisecond  // of a client that keeps its connection
	pauseNew  = 150 * time.Millisecond // of one that opens a new connection each time
)

// startLoad begins to send requests, with two clients that keep their connections and two that don't. Now and then a
// request takes its time, so that some are in flight whatever happens.
func (l *lab) startLoad() *load {
	ctx, cancel := context.WithCancel(context.Background())
	o := &load{t: l.t, cancel: cancel, answers: map[string]int{}}
	for _, pause := range []time.Duration{pauseKept, pauseKept, pauseNew, pauseNew} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: pause == pauseNew}, Timeout: 20 * time.Second}
		o.done.Go(func() {
			defer client.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				path := "/"
				if i%10 == 0 {
					path = "/?for=300ms"
				}
				o.note(get(client, l.URL()+path))
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	l.t.Cleanup(func() { o.stop() })
	return o
}

// get makes one request and says which release answered.
func get(client *http.Client, url string) (release string, err error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	release = answer.Header.Get("X-Release")
	if err == nil && (answer.StatusCode != http.StatusOK || release == "") {
		err = fmt.Errorf("%s from release %q", answer.Status, release)
	}
	return release, err
}

func (o *load) note(release string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.failures = append(o.failures, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	o.answers[release]++
}

// stop ends the traffic, fails the test if a request failed, and gives the number of answers by release. What is in
// flight is waited for.
func (o *load) stop() map[string]int {
	o.t.Helper()
	o.cancel()
	o.done.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failures) > 0 {
		o.t.Errorf("failed=%d of the requests, answered were %v; the first:\n%s",
			len(o.failures), o.answers, strings.Join(o.failures[:min(5, len(o.failures))], "\n"))
		o.failures = nil
	}
	return o.answers
}

// answers says whether a release, and no other, answers ten requests in a row, each on a connection of its own.
func (l *lab) answers(release string) error {
	client := newClient()
	for range 10 {
		if got, err := get(client, l.URL()); err != nil || got != release {
			return fmt.Errorf("the balancer gives release %q (%v)", got, err)
		}
	}
	return nil
}

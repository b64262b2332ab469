package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/balancer"
)

const (
	clients  = 6
	pause    = 10 * time.Millisecond // between two requests of one client: some 400 a second in all
	loadLast = 10 * time.Minute      // the load ends by itself, whatever happens to the demo
)

// load sends requests through the balancer and counts what became of them.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	requests int
	failures []string       // what clients saw fail, shortened
	releases map[string]int // answers by release
	failed   map[string]int // by instance, what the balancer failed
	victim   string         // the instance that was killed
	victimAt time.Time
}

func newLoad() *load {
	return &load{releases: map[string]int{}, failed: map[string]int{}, cancel: func() {}}
}

func (l *load) start(url string) {
	ctx, cancel := context.WithTimeout(context.Background(), loadLast)
	l.cancel = cancel
	for n := range clients {
		// Half of the clients keep their connections, half open a new one each time.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: n%2 == 0}, Timeout: 20 * time.Second}
		l.done.Go(func() {
			defer client.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				path := "/"
				if i%20 == 0 {
					path = "/slow?for=300ms" // in flight while things change
				}
				l.count(ctx, client, url+path)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

func (l *load) count(ctx context.Context, client *http.Client, url string) {
	// A request that has begun is not cancelled by the end of the load: it would count as failed.
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the demo's own URL
	}
	answer, err := client.Do(request)
	release := ""
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		release = answer.Header.Get("X-Release")
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s from release %q", answer.Status, release)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	l.releases[release]++
}

// balancerFailed is told by the balancer of each request that it failed.
func (l *load) balancerFailed(f balancer.Failure) {
	instance, _, _ := strings.Cut(f.Target, ":")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[instance]++
}

// killed says that an instance is about to be killed: what the balancer fails on it is lost, not failed.
func (l *load) killed(instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.victim, l.victimAt = instance, time.Now()
	// What it failed before it was killed is no excuse.
	l.failed[instance] = 0
}

func (l *load) killedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.victimAt
}

// report is the traffic until now, in one line.
func (l *load) report() {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Printf("   load: %d requests, %d failed; answered by release 1: %d, 2: %d, 3: %d, 4: %d\n",
		l.requests, len(l.failures), l.releases["1"], l.releases["2"], l.releases["3"], l.releases["4"])
}

// stop ends the load and gives the totals. Lost are the requests in flight on,
// or sent before detection to, the instance that was killed.
func (l *load) stop() (requests, failed, lost int) {
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.victim != "" {
		lost = min(l.failed[l.victim], len(l.failures))
	}
	return l.requests, len(l.failures) - lost, lost
}

// why shows the first failures.
func (l *load) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.failures[:min(5, len(l.failures))], "; ")
}

// indented puts what is drawn below the act that it belongs to.
type indented struct{ out *os.File }

func (i indented) Write(p []byte) (int, error) {
	if _, err := i.out.WriteString("     " + string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

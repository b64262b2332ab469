package contract

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/machine"
)

// patience bounds every wait for the region; the machine may be busy.
const patience = time.Minute

// laptop is a whole region: what a person has who starts one.
type laptop struct {
	*region.Region
	t         *testing.T
	balancers *elbv2.Service
	groups    *autoscaling.Service
	machines  *machine.Launcher
	python    string
	web       string // the empty directory that instances serve

	mu    sync.Mutex
	hosts map[string]*host
}

// host is a running instance: a web server that is Python's own, and an IMDS.
type host struct {
	metadata *imds.Server
	console  console
}

func newLaptop(t *testing.T, python string) *laptop {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{Region: r, t: t, python: python, web: t.TempDir(), hosts: map[string]*host{}}
	l.machines = machine.NewLauncher(l.command)
	l.balancers = elbv2.New(elbv2.Options{Instances: l})
	l.groups = autoscaling.New(autoscaling.Options{Launcher: l.machines, Traffic: l.balancers, OnTransition: l.transition})
	r.Handle(elbv2.SigningName, elbv2.Namespace, l.balancers)
	r.Handle(autoscaling.Name, autoscaling.Namespace, l.groups)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, err := range []error{l.groups.Close(ctx), l.machines.Close(ctx), l.balancers.Close(ctx), r.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// command starts an instance's metadata service and says what else it runs.
func (l *laptop) command(ctx context.Context, i autoscaling.Instance) (machine.Command, error) {
	metadata, err := l.StartIMDS(ctx, imds.Options{Addr: "127.0.0.1:0", InstanceID: i.ID, AvailabilityZone: i.Zone, Tags: i.Tags,
		TargetLifecycle: string(model.LifecycleInService)})
	if err != nil {
		return machine.Command{}, err
	}
	h := &host{metadata: metadata}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts[i.ID] = h
	return machine.Command{
		Argv: []string{l.python, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"}, Dir: l.web,
		Env: []string{"PATH=" + os.Getenv("PATH")}, Output: &h.console,
	}, nil
}

func (l *laptop) transition(id string, current, target model.Lifecycle) {
	h := l.host(id)
	if h == nil {
		return // it is about to be launched
	}
	h.metadata.SetTargetLifecycle(string(target))
	if current == model.LifecycleTerminated {
		l.balancers.InstanceGone(id)
		l.mu.Lock()
		delete(l.hosts, id)
		l.mu.Unlock()
		if err := h.metadata.Close(); err != nil {
			l.t.Error(err)
		}
	}
}

func (l *laptop) host(id string) *host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hosts[id]
}

// Address says where an instance's ports are.
func (l *laptop) Address(id string) (string, bool) { return "127.0.0.1", l.host(id) != nil }

// instance waits until the group has exactly n instances, the newest of them in this state, and gives that one.
func (l *laptop) instance(group string, n int, state model.Lifecycle) string {
	l.t.Helper()
	id := ""
	l.until(fmt.Sprintf("%s has %d instances and the newest is %s", group, n, state), func() bool {
		all := l.groups.Instances(group)
		if len(all) != n || all[n-1].Lifecycle != state {
			return false
		}
		id = all[n-1].ID
		return true
	})
	return id
}

// until waits until something is true.
func (l *laptop) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// port waits until the instance's web server says where it listens.
func (l *laptop) port(id string) int {
	l.t.Helper()
	port := 0
	l.until("the web server of "+id+" says its port", func() bool {
		port = l.host(id).console.port()
		return port != 0
	})
	return port
}

// curl sends a request to an instance's metadata service: "PUT latest/api/token",
// with a header "Name: value" or "". It gives the status and the body.
func (l *laptop) curl(id, request, header string) (int, string) {
	l.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	return fetch(l.t, method, l.host(id).metadata.Endpoint()+"/"+path, header)
}

func fetch(t *testing.T, method, url, header string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	req.Close = true // an idle connection would outlive the instance
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// console keeps what an instance prints.
type console struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

var servingOn = regexp.MustCompile(`Serving HTTP on \S+ port (\d+)`)

func (c *console) port() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := servingOn.FindStringSubmatch(c.text.String())
	if found == nil {
		return 0
	}
	port, _ := strconv.Atoi(found[1]) // digits
	return port
}

// freePort finds a port that nobody listens on, below those that the kernel
// gives to outgoing connections, so that none of these takes it meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no free port found between 10000 and 20000")
	return 0
}

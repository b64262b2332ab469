// Package elbv2 is Elastic Load Balancing v2 of a region on a laptop: target
// groups, load balancers, listeners and targets behind AWS's own API, with
// real health checks over the network and a real balancer (package balancer)
// for each listener.
//
// It knows Application Load Balancers with HTTP listeners that forward to one
// target group of instances. Everything else that the API has, HTTPS, rules,
// network load balancers, ip and lambda targets, stickiness, slow start, is
// refused with an error that says so. Subnets, VPCs and security groups are
// taken as they come: the region has no EC2.
//
// Over the API the limits are AWS's, whole seconds among them. In-process
// (GroupSpec) times may be shorter, so that a laptop need not wait; what the
// API then reports is rounded up to whole seconds.
package elbv2

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// The names under which the wire server serves a Service.
const (
	// SigningName is the service's name in a SigV4 signature.
	SigningName = "elasticloadbalancing"
	// Namespace is the XML namespace of the service's answers.
	Namespace = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
)

// Instances says which instances run, and where.
type Instances interface {
	// Address is the host (an IP address) that a running instance's ports are
	// on; false when there is no such instance or it does not run.
	Address(instanceID string) (host string, ok bool)
}

// Propagation is how long the load balancer's nodes take to learn of changes.
// The zero value is: no time at all.
type Propagation struct {
	// Registration is the time from RegisterTargets to the first health check
	// (Elb.RegistrationInProgress).
	Registration balancer.Range
	// Healthy is the time from a target's becoming healthy to its first request, per node.
	Healthy balancer.Range
	// Deregistration is the time for which new requests keep coming after
	// DeregisterTargets, per node.
	Deregistration balancer.Range
}

// ALB is the Propagation of a real Application Load Balancer: after a
// deregistration 5 s were seen not to be enough and 70 s always were
// (kubernetes-sigs/aws-load-balancer-controller issues 1064 and 2106). The two
// others are documented nowhere; seconds are what one sees.
func ALB() Propagation {
	return Propagation{
		Registration:   balancer.Range{Min: time.Second, Max: 5 * time.Second},
		Healthy:        balancer.Range{Min: 0, Max: 2 * time.Second},
		Deregistration: balancer.Range{Min: 2 * time.Second, Max: 60 * time.Second},
	}
}

// Scale multiplies all times: 0.05 makes a minute three seconds.
func (p Propagation) Scale(factor float64) Propagation {
	scale := func(r balancer.Range) balancer.Range {
		return balancer.Range{
			Min: time.Duration(float64(r.Min) * factor),
			Max: time.Duration(float64(r.Max) * factor),
		}
	}
	return Propagation{scale(p.Registration), scale(p.Healthy), scale(p.Deregistration)}
}

// Options configures a Service. Instances is required.
type Options struct {
	Region  string // in ARNs; "us-east-1" when empty
	Account string // in ARNs; "123456789012" when empty
	// Host is the address that listeners are opened on, and the DNSName of
	// every load balancer; "127.0.0.1" when empty.
	Host string
	// Instances says where targets are.
	Instances Instances
	// Propagation slows the nodes down; zero by default. ALB().Scale(…) is a good value.
	Propagation Propagation
	// Nodes is the number of nodes of each load balancer; 2 when zero.
	Nodes int
	// Balancer configures the listeners: time-outs, the hook for failed requests.
	Balancer balancer.Options
}

// Service is the service: a wire.Handler, with methods for those who are in
// the same process. Make one with New; Close ends it.
type Service struct {
	opts   Options
	probe  func(ctx context.Context, check HealthCheck, host string, port int) outcome
	listen func(ctx context.Context, address string) (net.Listener, error)

	ctx    context.Context // of everything that runs in the background, until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	groups    map[string]*group // by ARN, as the next
	balancers map[string]*loadBalancer
	tags      map[string]map[string]string // by the ARN of what is tagged
	limits    Limits
}

var _ wire.Handler = (*Service)(nil)

// New makes a service without target groups and load balancers.
func New(opts Options) *Service {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Account == "" {
		opts.Account = "123456789012"
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	s := &Service{
		opts:      opts,
		probe:     probe,
		listen:    openPort,
		groups:    map[string]*group{},
		balancers: map[string]*loadBalancer{},
		tags:      map[string]map[string]string{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func openPort(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// errClosed is what a closed Service answers to whatever would start something.
var errClosed = &wire.Error{Code: "ServiceUnavailable", Message: "the region is shutting down", Status: 503}

// Close stops the health checks, closes the listeners, lets requests in flight
// finish until ctx ends, and waits for everything that the Service started.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	var open []*listener
	for _, lb := range s.balancers {
		for _, l := range lb.listeners {
			open = append(open, l)
		}
	}
	var routes []*balancer.Group
	for _, g := range s.groups {
		g.stopAll()
		if g.routes != nil {
			routes = append(routes, g.routes)
		}
	}
	s.mu.Unlock()

	errs := make([]error, len(open))
	var wg sync.WaitGroup
	for i, l := range open {
		wg.Go(func() { errs[i] = l.balancer.Close(ctx) })
	}
	wg.Wait()
	for _, r := range routes {
		r.Close()
	}
	s.cancel()
	s.wg.Wait()
	return errors.Join(errs...)
}

// arn makes the ARN of a new resource: resource ends with the 16 hex digits
// that AWS gives one.
func (s *Service) arn(resource string) string {
	return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:%s/%s", s.opts.Region, s.opts.Account, resource, randomID())
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, it crashes the program instead
	return hex.EncodeToString(b[:])
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

// unsupported is the answer to what AWS can do and this region can't.
func unsupported(format string, args ...any) error {
	return wire.Errorf("InvalidConfigurationRequest", "this region on a laptop does not support "+format, args...)
}

// checkName holds a name to AWS's rules for target groups and load balancers.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
func checkName(what, name string) error {
	if name == "" {
		return invalid("%s name must be specified", what)
	}
	if len(name) > 32 {
		return invalid("%s name '%s' cannot be longer than '32' characters", what, name)
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return invalid("%s name '%s' can only contain characters that are alphanumeric characters or hyphens(-)", what, name)
		}
	}
	if strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return invalid("%s name '%s' cannot begin or end with '-'", what, name)
	}
	return nil
}

// seconds is a duration as the API reports it: whole seconds, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Package imds is the instance metadata service of one instance of the region:
// an HTTP endpoint of its own, IMDSv2 only.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
//
// It serves what bootagent, the SDKs and cloud-init's Ec2 source read. A path
// that the real one has and this one has not is a 404, which is also what the
// real one answers to what an instance has not.
package imds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Options of an instance's endpoint. InstanceID, and Addr or Listeners, are required.
type Options struct {
	// Addr is where to listen, "127.0.0.1:0" for a port of its own; with a
	// Delay the port must be given.
	Addr string
	// Delay is how long after Start the listener opens: networks come up late.
	// Until then connections are refused.
	Delay time.Duration
	// Listeners are where it listens instead, at once; Close closes them. They are for tests whose instances have
	// networks of their own: there they can be on 169.254.169.254:80 and [fd00:ec2::254]:80, as on EC2.
	Listeners []net.Listener

	InstanceID       string
	Account          string // default 123456789012
	Region           string // default us-east-1
	AvailabilityZone string // default the region's a
	AMI              string // default ami-0b007a6e27000000f, a made-up one
	InstanceType     string // default t3.micro
	PrivateIP        string // default 127.0.0.1
	Hostname         string // default ip-<PrivateIP with dashes>.ec2.internal
	Tags             map[string]string
	// UserData is what user-data answers; "" is a 404.
	UserData string
	// LaunchedAt is the identity document's pendingTime; zero is now.
	LaunchedAt time.Time
	// TargetLifecycle is autoscaling/target-lifecycle-state; "" is a 404.
	TargetLifecycle string

	// Role is the name of the instance's role, "" for an instance without one.
	// Its credentials are Credentials, valid for another CredentialsTTL (default
	// 6 h) whenever they are read: keys that never change are enough here.
	Role           string
	Credentials    Credentials
	CredentialsTTL time.Duration

	// Clock ages tokens and dates credentials; nil is time.Now.
	Clock func() time.Time
	// Observe is told of every request after its answer is ready; nil is nobody.
	// It is called concurrently.
	Observe func(Request)
}

// Credentials are what a role gives an instance.
type Credentials struct{ AccessKeyID, SecretAccessKey, Token string }

// Request is one request to the endpoint, as Observe sees it.
type Request struct {
	Method, Path string
	Status       int
	Time         time.Time
	Duration     time.Duration
}

// Server is one instance's endpoint. What it says of the instance may be
// changed at any time.
type Server struct {
	opts    Options
	key     []byte // authenticates the tokens
	addr    string
	cancel  context.CancelFunc // calls off a delayed start
	opening sync.WaitGroup

	mu         sync.Mutex
	endpoints  []*wire.Endpoint // none until it is open
	tags       map[string]string
	lifecycle  string
	spotAction string
	spotAt     time.Time
	fault      func(path string) int
	failed     error // why it could not open
}

// Start opens the endpoint, or, with a Delay, returns at once and opens it
// later. The context only bounds the start: stop the endpoint with Close.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.InstanceID == "" {
		return nil, errors.New("start an instance's IMDS: no instance id was given")
	}
	if len(opts.Listeners) > 0 {
		opts.Addr, opts.Delay = opts.Listeners[0].Addr().String(), 0
	}
	if _, port, err := net.SplitHostPort(opts.Addr); err != nil {
		return nil, fmt.Errorf("start the IMDS of %s: the address %q is not host:port: %w", opts.InstanceID, opts.Addr, err)
	} else if opts.Delay > 0 && port == "0" {
		return nil, fmt.Errorf("start the IMDS of %s: a delayed start needs a port that is known before, not 0", opts.InstanceID)
	}
	s := &Server{
		opts: opts.withDefaults(), key: newKey(), addr: opts.Addr,
		tags: maps.Clone(opts.Tags), lifecycle: opts.TargetLifecycle, cancel: func() {},
	}
	if s.tags == nil {
		s.tags = map[string]string{}
	}
	for _, listener := range opts.Listeners {
		s.endpoints = append(s.endpoints, wire.Serve(ctx, listener, s))
	}
	if len(opts.Listeners) > 0 {
		return s, nil
	}
	if opts.Delay == 0 {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		s.addr = s.endpoints[0].Addr().String()
		return s, nil
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.opening.Go(func() { s.openLater(run) })
	return s, nil
}

// open listens and serves.
func (s *Server) open(ctx context.Context) error {
	endpoint, err := wire.Listen(ctx, s.opts.Addr, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = fmt.Errorf("start the IMDS of %s: %w", s.opts.InstanceID, err)
		return s.failed
	}
	s.endpoints = []*wire.Endpoint{endpoint}
	return nil
}

func (s *Server) openLater(ctx context.Context) {
	timer := time.NewTimer(s.opts.Delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		_ = s.open(ctx) // Err and Close say what it was
	}
}

// Close closes the endpoint and waits for it, and for the requests under way.
// It returns why the endpoint had stopped before, or never opened, if so.
func (s *Server) Close() error {
	s.cancel()
	s.opening.Wait()
	if len(s.endpoints) == 0 {
		return s.Err()
	}
	var errs []error
	for _, endpoint := range s.endpoints {
		errs = append(errs, endpoint.Close())
	}
	return errors.Join(errs...)
}

// Err is why the endpoint serves no more, or could not open after its Delay;
// nil while it serves, or has not begun.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, endpoint := range s.endpoints {
		if err := endpoint.Err(); err != nil {
			return err
		}
	}
	return s.failed
}

// Endpoint is the value for AWS_EC2_METADATA_SERVICE_ENDPOINT, without a slash at its end.
func (s *Server) Endpoint() string { return "http://" + s.addr }

// SetTargetLifecycle changes autoscaling/target-lifecycle-state, in AWS's
// spelling; "" makes it a 404.
func (s *Server) SetTargetLifecycle(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifecycle = state
}

// SetTag sets a tag. Keys that hold a slash or a space are not for the metadata
// service: EC2 refuses them while tags are on in it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
func (s *Server) SetTag(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[key] = value
}

// RemoveTag takes a tag away; one that is not there is no error.
func (s *Server) RemoveTag(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tags, key)
}

// SetSpotAction announces an interruption, "terminate", "stop" or "hibernate",
// at a time; "" takes it back.
func (s *Server) SetSpotAction(action string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spotAction, s.spotAt = action, at
}

// SetFault makes the endpoint answer with a status of its own wherever f, which
// is called concurrently, gives one that is not 0: 503 is how the real one
// throttles, 403 how it looks when it is turned off. nil ends it.
func (s *Server) SetFault(f func(path string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

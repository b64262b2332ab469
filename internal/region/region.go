// Package region is a region on a laptop: one endpoint on loopback that speaks
// AWS's wire protocols for every service that is plugged into it, remembers
// every call, and misbehaves on request. Parameter Store, DynamoDB, S3 and STS are built in.
//
// It is for development, tests and demonstrations. Signatures are not verified
// (see wire), there are no IAM policies but for fault.Deny, and nothing is kept
// when the process ends.
package region

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/region/dynamodb"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/internal/region/s3"
	"github.com/bootagent/bootagent/internal/region/ssm"
	"github.com/bootagent/bootagent/internal/region/sts"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// Options of a Region; the zero value is usable.
type Options struct {
	// Addr is where the endpoint listens, on a loopback address; "" is
	// 127.0.0.1:0, a port of its own.
	Addr string
	// Listener is where the endpoint listens instead of on Addr; Close closes it. It need not be on loopback, and
	// whoever reaches it may do everything: it is for tests whose instances have networks of their own, on an
	// address that leads to those alone.
	Listener net.Listener
	// Name is the region's name, which calls must be signed for; "" is us-east-1.
	Name string
	// Account is the twelve-digit account; "" is 123456789012.
	Account string
	// Remember is how many calls are kept for Calls; 0 is 10,000.
	Remember int
	// Clock dates everything; nil is time.Now.
	Clock func() time.Time
	// Logger gets a line a call at debug level; nil drops them.
	Logger *zap.Logger
}

// Region is a running region. Close it.
type Region struct {
	// SSM is the region's Parameter Store.
	SSM *ssm.Store
	// DynamoDB is the region's DynamoDB.
	DynamoDB *dynamodb.Service
	// S3 is the region's S3, without buckets.
	S3 *s3.Service
	// Faults makes calls go wrong.
	Faults *fault.Injector

	opts     Options
	log      *wire.Log
	wire     *wire.Server
	endpoint *wire.Endpoint

	mu         sync.Mutex
	principals map[string]wire.Principal // by access key
	metadata   []*imds.Server
	closed     bool
}

// New opens a region. The context only bounds the opening.
func New(ctx context.Context, opts Options) (*Region, error) {
	opts.Addr = cmp.Or(opts.Addr, "127.0.0.1:0")
	opts.Name = cmp.Or(opts.Name, "us-east-1")
	opts.Account = cmp.Or(opts.Account, "123456789012")
	opts.Remember = cmp.Or(opts.Remember, 10_000)
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	r := &Region{
		SSM:      ssm.New(ssm.Options{Account: opts.Account, Region: opts.Name, Clock: opts.Clock}),
		DynamoDB: dynamodb.New(dynamodb.Options{Account: opts.Account, Region: opts.Name, Clock: opts.Clock}),
		S3:       s3.New(s3.Options{Clock: opts.Clock}),
		Faults:   &fault.Injector{}, opts: opts, log: wire.NewLog(opts.Remember), principals: map[string]wire.Principal{},
	}
	r.wire = wire.NewServer(wire.Options{
		Region: opts.Name, Principal: r.principal, Intercept: r.Faults.Intercept, Log: r.log, Clock: opts.Clock, Logger: opts.Logger,
	})
	r.Handle(ssm.Name, "", r.SSM)
	r.Handle(dynamodb.Name, "", r.DynamoDB)
	r.wire.HandleREST(s3.Name, r.S3)
	r.Handle(sts.Name, sts.Namespace, sts.New(sts.Options{Identify: r.Identify, Clock: opts.Clock}))

	if opts.Listener != nil {
		r.endpoint = wire.Serve(ctx, opts.Listener, r.wire)
		return r, nil
	}
	var err error
	if r.endpoint, err = wire.Listen(ctx, opts.Addr, r.wire); err != nil {
		return nil, fmt.Errorf("open the region on %s: %w", opts.Addr, err)
	}
	if addr, ok := r.endpoint.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("open the region on %s: not a loopback address, and whoever reaches it may do everything",
			opts.Addr), r.endpoint.Close())
	}
	return r, nil
}

// Handle plugs a service in under its SigV4 signing name; see wire.Server.Handle.
func (r *Region) Handle(service, xmlns string, h wire.Handler) { r.wire.Handle(service, xmlns, h) }

// Name is the region's name.
func (r *Region) Name() string { return r.opts.Name }

// Account is the twelve-digit account that everything is in.
func (r *Region) Account() string { return r.opts.Account }

// Endpoint is the URL of all services, for AWS_ENDPOINT_URL.
func (r *Region) Endpoint() string { return "http://" + r.endpoint.Addr().String() }

// Environment is what a person's SDK or AWS CLI needs to call this region, as
// NAME=value. The keys are nobody's.
func (r *Region) Environment() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + r.Endpoint(),
		"AWS_REGION=" + r.opts.Name,
		"AWS_DEFAULT_REGION=" + r.opts.Name,
		"AWS_ACCESS_KEY_ID=AKIALAPTOP0000000000",
		"AWS_SECRET_ACCESS_KEY=not-verified",
	}
}

// Calls returns the remembered calls that match, in the order in which they
// ended. Requests to instances' metadata are among them, with the service
// "imds" and an operation such as "GET /latest/meta-data/instance-id".
func (r *Region) Calls(f wire.Filter) []wire.Record { return r.log.Calls(f) }

// Counts returns how many calls there were of each operation since the start,
// keyed "ssm:GetParameters".
func (r *Region) Counts() map[string]int { return r.log.Counts() }

// Identify says who signs with an access key from now on. Every key that is
// not known is the person at the laptop's.
func (r *Region) Identify(accessKey string, p wire.Principal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.principals[accessKey] = p
}

func (r *Region) principal(accessKey string) wire.Principal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.principals[accessKey]; ok {
		return p
	}
	return wire.Principal{Account: r.opts.Account, ARN: "arn:aws:iam::" + r.opts.Account + ":user/laptop", UserID: "AIDALAPTOP0000000000"}
}

// StartIMDS opens the metadata service of an instance of this region, with
// credentials by which its calls are known. What opts leaves empty of Account,
// Region, Role, Credentials and Clock is filled in; Observe still sees all.
// Close it when the instance ends; Close of the region closes those left.
func (r *Region) StartIMDS(ctx context.Context, opts imds.Options) (*imds.Server, error) {
	opts.Account = cmp.Or(opts.Account, r.opts.Account)
	opts.Region = cmp.Or(opts.Region, r.opts.Name)
	opts.Role = cmp.Or(opts.Role, "bootagent-instance")
	if opts.Clock == nil {
		opts.Clock = r.opts.Clock
	}
	if opts.Credentials.AccessKeyID == "" {
		opts.Credentials = imds.Credentials{AccessKeyID: "ASIA" + letters()[:16], SecretAccessKey: letters(), Token: letters()}
	}
	observe := opts.Observe
	opts.Observe = func(req imds.Request) {
		r.log.Add(imdsRecord(opts, req))
		if observe != nil {
			observe(req)
		}
	}
	r.Identify(opts.Credentials.AccessKeyID, wire.Principal{
		Account:  opts.Account,
		ARN:      fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", opts.Account, opts.Role, opts.InstanceID),
		UserID:   "AROAINSTANCE00000000:" + opts.InstanceID,
		Instance: opts.InstanceID,
	})
	server, err := imds.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	closed := r.closed
	r.metadata = append(r.metadata, server)
	r.mu.Unlock()
	if closed {
		return nil, errors.Join(fmt.Errorf("start the IMDS of %s: the region is closed", opts.InstanceID), server.Close())
	}
	return server, nil
}

func imdsRecord(opts imds.Options, req imds.Request) wire.Record {
	rec := wire.Record{
		Time: req.Time, Service: "imds", Operation: req.Method + " " + req.Path,
		AccessKey: opts.Credentials.AccessKeyID, Instance: opts.InstanceID, Status: req.Status, Duration: req.Duration,
	}
	if req.Status >= http.StatusBadRequest {
		rec.Code = strings.ReplaceAll(http.StatusText(req.Status), " ", "") // "NotFound"
	}
	return rec
}

// Close ends what calls wait for, closes the endpoint and the instances'
// metadata, and waits for everything. A second Close does nothing.
func (r *Region) Close() error {
	r.mu.Lock()
	metadata, again := r.metadata, r.closed
	r.metadata, r.closed = nil, true
	r.mu.Unlock()
	if again {
		return nil
	}
	errs := []error{r.endpoint.Close(), r.S3.Close()}
	for _, server := range metadata {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}

// letters are 32 random characters of A–Z and 2–7.
func letters() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails
	return base32.StdEncoding.EncodeToString(raw)
}

// Package s3 is S3 as far as bootagent uses it: buckets, and objects that are put whole, conditionally or not, read whole or in part, listed
// and deleted. Objects are files of a directory that goes with the service. What it does not know is refused.
package s3

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name is the service's signing name.
const Name = "s3"

// objectMost bounds an object, as AWS bounds one that is put in one request.
const objectMost = 5 << 30

// Options of a Service.
type Options struct {
	// Clock dates objects; nil is time.Now.
	Clock func() time.Time
}

// Service is the region's S3. Close it.
type Service struct {
	clock func() time.Time

	mu      sync.Mutex
	dir     string // made with the first object
	closed  bool
	next    int
	buckets map[string]map[string]object
}

type object struct {
	path     string // of its content
	size     int64
	etag     string
	modified time.Time
	metadata http.Header
	kind     string // Content-Type
}

// New makes a service without buckets.
func New(opts Options) *Service {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	return &Service{clock: opts.Clock, buckets: map[string]map[string]object{}}
}

// Close removes what was stored.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.buckets = map[string]map[string]object{}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// MakeBucket makes a bucket, unless it is there.
func (s *Service) MakeBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.makeBucket(name)
}

func (s *Service) makeBucket(name string) error {
	if !bucketForm.MatchString(name) {
		return wire.Errorf("InvalidBucketName", "The specified bucket is not valid.")
	}
	if s.buckets[name] == nil {
		s.buckets[name] = map[string]object{}
	}
	return nil
}

// split gives the bucket and the key of a path: buckets' own hosts are not served.
func split(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}

// Operation names what a request asks for.
func (s *Service) Operation(r *http.Request) string {
	bucket, key := split(r)
	q := r.URL.Query()
	for _, name := range []string{"uploads", "uploadId", "partNumber", "acl", "tagging", "versioning", "versions", "delete", "policy", "location"} {
		if q.Has(name) {
			return r.Method + "?" + name
		}
	}
	switch {
	case bucket == "":
		return r.Method
	case key == "" && r.Method == http.MethodPut:
		return "CreateBucket"
	case key == "" && r.Method == http.MethodGet && q.Get("list-type") == "2":
		return "ListObjectsV2"
	case key == "" && r.Method == http.MethodHead:
		return "HeadBucket"
	case key == "":
		return r.Method + " bucket"
	}
	switch r.Method {
	case http.MethodPut:
		return "PutObject"
	case http.MethodGet:
		return "GetObject"
	case http.MethodHead:
		return "HeadObject"
	case http.MethodDelete:
		return "DeleteObject"
	}
	return r.Method
}

// ServeREST serves one call.
func (s *Service) ServeREST(_ context.Context, call wire.Call, r *http.Request) (*wire.Response, error) {
	bucket, key := split(r)
	switch call.Operation {
	case "CreateBucket":
		return nil, s.MakeBucket(bucket)
	case "HeadBucket":
		_, err := s.objects(bucket)
		return nil, err
	case "ListObjectsV2":
		return s.list(bucket, r)
	case "PutObject":
		return s.put(bucket, key, r)
	case "GetObject", "HeadObject":
		return s.get(bucket, key, r)
	case "DeleteObject":
		return s.remove(bucket, key)
	}
	return nil, &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "this region on a laptop has no s3:" + call.Operation}
}

// objects gives a copy of a bucket's objects.
func (s *Service) objects(bucket string) (map[string]object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.buckets[bucket]
	if !ok {
		return nil, noBucket()
	}
	out := make(map[string]object, len(in))
	for key, o := range in {
		out[key] = o
	}
	return out, nil
}

func noBucket() error {
	return &wire.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
}

func refuse(r *http.Request, names ...string) error {
	for _, name := range names {
		if r.Header.Get(name) != "" {
			return &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "this region on a laptop does not know the header " + name}
		}
	}
	return nil
}

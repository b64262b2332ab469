// Package s3 is S3 as far as bootagent uses it: buckets, and objects that are put whole, conditionally or not, read whole or in part, listed
// and deleted. Objects are files of a directory that goes with the service. What it does not know is refused.
package s3

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
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

func (s *Service) put(bucket, key string, r *http.Request) (*wire.Response, error) {
	if err := refuse(r, "If-Match", "X-Amz-Copy-Source", "X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Tagging"); err != nil {
		return nil, err
	}
	condition := r.Header.Get("If-None-Match")
	if condition != "" && condition != "*" {
		return nil, &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "A header you provided implies functionality that is not implemented"}
	}
	if len(key) > 1024 {
		return nil, wire.Errorf("KeyTooLongError", "Your key is too long")
	}
	if condition == "*" { // also before the body is stored
		if all, err := s.objects(bucket); err != nil {
			return nil, err
		} else if _, there := all[key]; there {
			return nil, preconditionFailed()
		}
	}
	o, err := s.store(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	before, there := objects[key]
	if !ok || s.closed || condition == "*" && there {
		err := os.Remove(o.path)
		if !ok || s.closed {
			return nil, errors.Join(noBucket(), err)
		}
		return nil, errors.Join(preconditionFailed(), err)
	}
	objects[key] = o
	if there {
		err = os.Remove(before.path) // who reads it has it open
	}
	return &wire.Response{Header: http.Header{"Etag": {o.etag}}}, err
}

func preconditionFailed() error {
	return &wire.Error{Code: "PreconditionFailed", Message: "At least one of the pre-conditions you specified did not hold", Status: http.StatusPreconditionFailed}
}

// store writes a request's body into a file.
func (s *Service) store(r *http.Request) (o object, err error) {
	f, err := s.create()
	if err != nil {
		return o, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	var body io.Reader = http.MaxBytesReader(nil, r.Body, objectMost)
	var trailer *chunked
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		if trailer, err = newChunked(body, r.Header.Get("X-Amz-Content-Sha256")); err != nil {
			return o, err
		}
		body = trailer
	}
	sum, crc := md5.New(), crc32.NewIEEE() //nolint:gosec // what an ETag is
	n, err := io.Copy(io.MultiWriter(f, sum, crc), body)
	if err != nil {
		return o, wire.Errorf("IncompleteBody", "The request body terminated unexpectedly: %v", err)
	}
	said := r.Header.Get("X-Amz-Checksum-Crc32")
	if trailer != nil {
		said = cmp.Or(said, trailer.trailer["x-amz-checksum-crc32"])
	}
	if err := matches("CRC32", said, crc); err != nil {
		return o, err
	}
	if err := matches("MD5", r.Header.Get("Content-Md5"), sum); err != nil {
		return o, err
	}
	metadata := http.Header{}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			metadata[name] = values
		}
	}
	return object{path: f.Name(), size: n, etag: `"` + hex.EncodeToString(sum.Sum(nil)) + `"`, modified: s.clock().UTC().Truncate(time.Second), metadata: metadata, kind: cmp.Or(r.Header.Get("Content-Type"), "binary/octet-stream")}, nil
}

func matches(kind, said string, sum hash.Hash) error {
	if said != "" && said != base64.StdEncoding.EncodeToString(sum.Sum(nil)) {
		return wire.Errorf("BadDigest", "The %s you specified did not match the calculated checksum.", kind)
	}
	return nil
}

func (s *Service) create() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the region is closed")
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "bootagent-s3-")
		if err != nil {
			return nil, err
		}
		s.dir = dir
	}
	s.next++
	return os.Create(fmt.Sprintf("%s/%d", s.dir, s.next))
}

func (s *Service) remove(bucket, key string) (*wire.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	if !ok {
		return nil, noBucket()
	}
	var err error
	if o, there := objects[key]; there {
		delete(objects, key)
		err = os.Remove(o.path)
	}
	return &wire.Response{Status: http.StatusNoContent}, err
}

func (s *Service) get(bucket, key string, r *http.Request) (*wire.Response, error) {
	if err := refuse(r, "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	objects, ok := s.buckets[bucket]
	o, there := objects[key]
	var f *os.File
	var err error
	if there {
		f, err = os.Open(o.path)
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return nil, noBucket()
	case !there:
		return nil, &wire.Error{Code: "NoSuchKey", Message: "The specified key does not exist.", Status: http.StatusNotFound}
	case err != nil:
		return nil, err
	}
	first, size, status, err := span(r.Header.Get("Range"), o.size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	h := http.Header{"Etag": {o.etag}, "Last-Modified": {o.modified.Format(http.TimeFormat)}, "Content-Type": {o.kind}, "Accept-Ranges": {"bytes"}}
	for name, values := range o.metadata {
		h[name] = values
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+size-1, o.size))
	}
	resp := &wire.Response{Status: status, Header: h, Size: size}
	if r.Method == http.MethodHead {
		return resp, f.Close()
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, first, size), f}
	return resp, nil
}

var rangeForm = regexp.MustCompile(`^bytes=(\d*)-(\d*)$`)

// span reads a Range of one part.
func span(text string, size int64) (first, length int64, status int, err error) {
	m := rangeForm.FindStringSubmatch(text)
	if m == nil || m[1] == "" && m[2] == "" { // what is no range is none, as with AWS
		return 0, size, http.StatusOK, nil
	}
	unfit := &wire.Error{Code: "InvalidRange", Message: "The requested range is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable}
	number := func(s string, or int64) int64 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		return or
	}
	if m[1] == "" {
		length = min(number(m[2], size), size)
		if length == 0 {
			return 0, 0, 0, unfit
		}
		return size - length, length, http.StatusPartialContent, nil
	}
	first, last := number(m[1], size), min(number(m[2], size-1), size-1)
	if first >= size {
		return 0, 0, 0, unfit
	}
	if last < first {
		return 0, size, http.StatusOK, nil
	}
	return first, last - first + 1, http.StatusPartialContent, nil
}

type listing struct {
	XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name        string
	Prefix      string
	KeyCount    int
	MaxKeys     int
	IsTruncated bool
	Next        string `xml:"NextContinuationToken,omitempty"`
	Contents    []listed
}

type listed struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

// list lists a page of objects by key. The token is the last key of the page before, so that it means the same whatever was put meanwhile.
func (s *Service) list(bucket string, r *http.Request) (*wire.Response, error) {
	all, err := s.objects(bucket)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	if q.Get("delimiter") != "" {
		return nil, &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "this region on a laptop lists without a delimiter"}
	}
	out := listing{Name: bucket, Prefix: q.Get("prefix"), MaxKeys: 1000}
	if text := q.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, wire.Errorf("InvalidArgument", "Provided max-keys not an integer or within integer range")
		}
		out.MaxKeys = min(n, 1000)
	}
	after := q.Get("start-after")
	if token := q.Get("continuation-token"); token != "" {
		key, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return nil, wire.Errorf("InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(key)
	}
	var keys []string
	for key := range all {
		if strings.HasPrefix(key, out.Prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > out.MaxKeys {
		keys, out.IsTruncated = keys[:out.MaxKeys], true
		if out.MaxKeys > 0 {
			out.Next = base64.URLEncoding.EncodeToString([]byte(keys[out.MaxKeys-1]))
		}
	}
	out.KeyCount = len(keys)
	encode := func(s string) string { return s }
	if q.Get("encoding-type") == "url" {
		encode = escape
	}
	for _, key := range keys {
		o := all[key]
		out.Contents = append(out.Contents, listed{encode(key), o.modified.Format("2006-01-02T15:04:05.000Z"), o.etag, o.size, "STANDARD"})
	}
	body, err := xml.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &wire.Response{Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(xml.Header + string(body))), Size: int64(len(xml.Header) + len(body))}, nil
}

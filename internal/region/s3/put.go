package s3

import (
	"cmp"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

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

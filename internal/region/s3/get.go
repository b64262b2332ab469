package s3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"

	"github.com/bootagent/bootagent/internal/region/wire"
)

func (s *Service) get(bucket, key string, r *http.Request) (*wire.Response, error) {
	if err := refuse(r, "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"); err != nil {
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
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && match != o.etag {
		err = preconditionFailed() // which goes before an unfit range
	}
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

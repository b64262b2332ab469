package s3

import (
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

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

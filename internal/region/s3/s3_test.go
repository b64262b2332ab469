package s3

import (
	"encoding/base64"
	"errors"
	"hash/crc32"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// ask asks a service for what a method and a path say.
func ask(t *testing.T, s *Service, method, path, body string, headers ...string) (string, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.ServeREST(t.Context(), wire.Call{Operation: s.Operation(r)}, r)
	if err != nil || resp == nil || resp.Body == nil {
		return "", err
	}
	data, err := io.ReadAll(resp.Body)
	return string(data), errors.Join(err, resp.Body.Close())
}

func code(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestABodyInChunksWithAChecksumBehindItIsRead(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	t.Cleanup(func() { _ = s.Close() })
	if err := s.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	h := crc32.NewIEEE()
	_, _ = io.WriteString(h, "hello, world")
	right := base64.StdEncoding.EncodeToString(h.Sum(nil))
	chunks := func(sum string) string {
		return "7;chunk-signature=x\r\nhello, \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:" + sum + "\r\n\r\n"
	}
	trailer := []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
	if _, err := ask(t, s, "PUT", "/artifacts/a/b", chunks(right), trailer...); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, s, "GET", "/artifacts/a/b", ""); err != nil || got != "hello, world" {
		t.Errorf("got %q, %v", got, err)
	}
	for name, body := range map[string]string{"a wrong checksum": chunks("AAAAAA=="), "an end too early": "7\r\nhel", "no chunks": "hello"} {
		if _, err := ask(t, s, "PUT", "/artifacts/c", body, trailer...); code(err) != "BadDigest" && code(err) != "IncompleteBody" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ask(t, s, "GET", "/artifacts/c", ""); code(err) != "NoSuchKey" {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestWhatIsNotServedIsRefused(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	if err := s.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"POST", "/artifacts/a?uploads"}, {"PUT", "/artifacts/a?partNumber=1&uploadId=x"}, {"GET", "/artifacts?versions"}, {"GET", "/artifacts"}, {"GET", "/"},
		{"GET", "/artifacts?list-type=2&delimiter=/"}, {"PUT", "/artifacts/a", "If-None-Match", "x"}, {"PUT", "/artifacts/a", "X-Amz-Copy-Source", "x"}, {"GET", "/artifacts/a", "If-None-Match", "x"},
	} {
		if _, err := ask(t, s, c[0], c[1], "", c[2:]...); code(err) != "NotImplemented" {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestNothingIsLeftOfWhatWasStored(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	if err := s.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := ask(t, s, "PUT", "/artifacts/a", "content"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask(t, s, "PUT", "/artifacts/a", "content", "If-None-Match", "*"); code(err) != "PreconditionFailed" {
		t.Errorf("the error is %v", err)
	}
	if files, err := os.ReadDir(s.dir); err != nil || len(files) != 1 {
		t.Errorf("files of one object: %v, %v", files, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	if _, err := ask(t, s, "PUT", "/artifacts/a", "content"); err == nil {
		t.Error("it stores after its end")
	}
}

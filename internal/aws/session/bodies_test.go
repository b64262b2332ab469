package session

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestBodiesAreSentWithoutWriterTo(t *testing.T) {
	t.Parallel()
	s, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Config.HTTPClient.(plainBodies); !ok {
		t.Fatalf("requests go out through a %T", s.Config.HTTPClient)
	}
	var sent *http.Request
	client := plainBodies{clientFunc(func(r *http.Request) (*http.Response, error) { sent = r; return nil, nil })}
	request := func(body io.ReadCloser) io.ReadCloser {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Body = body
		if _, err := client.Do(r); err != nil {
			t.Fatal(err)
		}
		return sent.Body
	}
	body := io.NopCloser(strings.NewReader("x"))
	if _, ok := body.(io.WriterTo); !ok {
		t.Fatal("the test's body has no WriteTo to hide")
	}
	if _, ok := request(body).(io.WriterTo); ok {
		t.Error("the body is sent with its WriteTo")
	}
	// net/http tells an empty body by identity; wrapped, it would be sent as chunks.
	if request(http.NoBody) != http.NoBody {
		t.Error("an empty body is wrapped")
	}
}

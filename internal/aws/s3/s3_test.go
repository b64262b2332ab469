package s3_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/s3"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// onMoto is a session with a moto that has the bucket "artifacts".
func onMoto(t *testing.T) *session.Session {
	t.Helper()
	s := awstest.Session(t, awstest.Moto(t))
	client := sdk.NewFromConfig(s.Config, func(o *sdk.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(t.Context(), &sdk.CreateBucketInput{Bucket: aws.String("artifacts")}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnObjectIsPutOnceAndReadInParts(t *testing.T) {
	t.Parallel()
	s := onMoto(t)
	b, other := s3.Open(s, "artifacts", "shop"), s3.Open(s, "artifacts", "")
	ctx := t.Context()
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	if err := b.Put(ctx, "a/0.tar", bytes.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(ctx, "a/0.tar", strings.NewReader("two"), 3); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second put: %v", err)
	}
	got := make([]byte, len(content)+10)
	if n, err := b.Read(ctx, "a/0.tar", 0, got); err != nil || !bytes.Equal(got[:n], content) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	part := make([]byte, 1000)
	if n, err := b.Read(ctx, "a/0.tar", 1<<20, part); err != nil || n != 1000 || !bytes.Equal(part, content[1<<20:1<<20+1000]) {
		t.Errorf("read %d bytes of the middle, %v", n, err)
	}
	if n, err := b.Read(ctx, "a/0.tar", int64(len(content)), part); err != nil || n != 0 {
		t.Errorf("read %d bytes behind the end, %v", n, err)
	}
	if _, err := b.Read(ctx, "a/1.tar", 0, part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if err := b.Put(ctx, "b/0", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	names := func(b *s3.Bucket, prefix string) []string {
		list, err := b.List(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, o := range list {
			out = append(out, fmt.Sprintf("%s %d", o.Name, o.Size))
			if time.Since(o.Modified) > time.Hour {
				t.Errorf("%s was changed at %s", o.Name, o.Modified)
			}
		}
		return out
	}
	if got := names(b, "a/"); !slices.Equal(got, []string{"a/0.tar 3145728"}) {
		t.Errorf("listed %q", got)
	}
	if got := names(other, "shop/"); len(got) != 2 {
		t.Errorf("without a prefix: %q", got)
	}
	if err := errors.Join(b.Remove(ctx, "b/0"), b.Remove(ctx, "b/0")); err != nil {
		t.Error(err)
	}
	if got := names(b, ""); len(got) != 1 {
		t.Errorf("after one was removed: %q", got)
	}
}

// The region decides who was first; moto looks whether there is an object, and writes one later.
func TestOfManyWhoPutTheSameOneWins(t *testing.T) {
	t.Parallel()
	r := awstest.Region(t)
	if err := r.S3.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	b := s3.Open(awstest.Session(t, r.Endpoint()), "artifacts", "")
	large := strings.Repeat("x", 1<<20) // so that they are all at it at the same time
	var won atomic.Int32
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			switch err := b.Put(t.Context(), "one", strings.NewReader(large), int64(len(large))); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have won", won.Load())
	}
}

func TestABucketThatIsNotThereIsNoMissingObject(t *testing.T) {
	t.Parallel()
	b := s3.Open(onMoto(t), "elsewhere", "")
	_, err := b.Read(t.Context(), "x", 0, make([]byte, 1))
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "s3:GetObject on s3://elsewhere/x") {
		t.Errorf("the error is %v", err)
	}
}

// server answers as S3 would.
func server(t *testing.T, h http.HandlerFunc) *s3.Bucket {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return s3.Open(awstest.Session(t, srv.URL), "artifacts", "shop")
}

func failWith(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

func TestWhoMayNotIsToldWhichActionIsMissing(t *testing.T) {
	t.Parallel()
	b := server(t, func(w http.ResponseWriter, _ *http.Request) {
		failWith(w, http.StatusForbidden, "AccessDenied", "User: arn:aws:sts::1:assumed-role/shop/i-1 is not authorized to perform: s3:ListBucket on resource: \"arn:aws:s3:::artifacts\" because no identity-based policy allows the s3:ListBucket action")
	})
	_, err := b.List(t.Context(), "x")
	if !errors.Is(err, model.ErrConfiguration) || !strings.Contains(err.Error(), "may not s3:ListBucket on s3://artifacts/shop/x: add that action") {
		t.Errorf("the error is %v", err)
	}
}

func TestAReadThatBreaksOffGoesOnFromThere(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789", 1000)
	var asked []string
	b := server(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Range"))
		var first, last int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content)))
		w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
		w.WriteHeader(http.StatusPartialContent)
		if len(asked) < 3 {
			_, _ = w.Write([]byte(content[first : first+1000]))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(content[first : last+1]))
	})
	p := make([]byte, 5000)
	if n, err := b.Read(t.Context(), "x", 100, p); err != nil || string(p[:n]) != content[100:5100] {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if len(asked) != 3 || asked[2] == asked[0] {
		t.Errorf("asked for %q", asked)
	}
}

func TestAReadThatBreaksOffForeverIsAnError(t *testing.T) {
	t.Parallel()
	b := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-999/1000")
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusPartialContent)
		panic(http.ErrAbortHandler)
	})
	if _, err := b.Read(t.Context(), "x", 0, make([]byte, 1000)); err == nil {
		t.Error("no error")
	}
}

func TestAPutWhoseAnswerWasLostIsKnownByItsOwner(t *testing.T) {
	t.Parallel()
	var nonce string
	b := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("X-Amz-Meta-Bootagent-Put", nonce)
		case nonce == "":
			nonce = r.Header.Get("X-Amz-Meta-Bootagent-Put")
			panic(http.ErrAbortHandler)
		default:
			failWith(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		}
	})
	if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1); err != nil {
		t.Error(err)
	}
	nonce = "somebody else's"
	if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("somebody else's: %v", err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := server(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Read(ctx, "x", 0, make([]byte, 10)); err == nil {
		t.Error("no error")
	}
}

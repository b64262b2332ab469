package source_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// signal says on reached that a request came, and goes on.
func signal(reached chan<- struct{}, then func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		h := then(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				reached <- struct{}{}
			}
			h.ServeHTTP(w, r)
		})
	}
}

// silent takes requests and never answers.
func silent(reached chan<- struct{}) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reached <- struct{}{}
			<-r.Context().Done()
		})
	}
}

// answer is a middleware that answers every request the same.
func answer(status int, contentType, body string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body) // a client that is gone does not matter
		})
	}
}

func TestATransferThatIsCutLeavesNothingAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	want := snapshot(t, repo.Clone(sha))
	srv := gittest.NewServer(t, repo)
	for _, n := range []int{0, 1, 4, 60, 64, 90, 100, 1000, 8192, 65_536, 200_000, 700_000} {
		srv.Use(gittest.CutAfter(n))
		_, err := fetch(t, from(t, srv), sha)
		if err == nil || isRevision(err) || !strings.Contains(err.Error(), "try again") {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	srv.Use(nil)
	if diff := cmp.Diff(want, snapshot(t, mustFetch(t, from(t, srv), sha))); diff != "" {
		t.Error(diff)
	}
}

// flip changes one byte of a pack on its way.
func flip(position int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			body[position%len(body)] ^= 0x20
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			_, _ = w.Write(body) // a client that gives up early is what is being tested
		})
	}
}

func TestAPackThatArrivesWithOneWrongBitIsRefused(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo)
	for _, at := range []int{70, 80, 200, 5000, 100_000, 600_000} {
		srv.Use(flip(at))
		if _, err := fetch(t, from(t, srv), sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), "try again") {
			t.Errorf("bit flipped at %d: %v", at, err)
		}
	}
}

func TestASilentServerIsLeft(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo)
	cases := map[string]struct {
		wrap func(http.Handler) http.Handler
		idle time.Duration
		want string
	}{
		"before the headers": {silent(make(chan struct{}, 8)), 300 * time.Millisecond, "did not answer within 300ms"},
		"in the pack":        {srv.StallAfter(100_000), 300 * time.Millisecond, "fell silent"},
		"dripping":           {srv.Drip(5 * time.Millisecond), 200 * time.Millisecond, "hardly sends"},
	}
	for name, c := range cases {
		srv.Use(c.wrap)
		s := newSource(t, source.Config{URL: srv.CloneURL(), Idle: c.idle})
		if _, err := fetch(t, s, sha); err == nil || isRevision(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	srv.Use(srv.StallAfter(100_000))
	s := newSource(t, source.Config{URL: srv.CloneURL(), FetchTimeout: 200 * time.Millisecond})
	if _, err := fetch(t, s, sha); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 200ms") {
		t.Errorf("the whole fetch has a deadline: %v", err)
	}
}

func TestASlowServerThatSendsIsNotLeft(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	srv.Use(srv.Drip(2 * time.Millisecond)) // a few hundred bytes: over before ten idle periods are
	s := newSource(t, source.Config{URL: srv.CloneURL(), Idle: time.Second})
	mustFetch(t, s, sha)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-t0ken"
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo, gittest.WithAuth("deploy", secret))
	with := func(user string, pw source.Secret) *source.Source {
		return newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{User: user, Secret: pw}})
	}
	mustFetch(t, with("deploy", secret), sha)
	if got, err := with("deploy", secret).Resolve(context.Background(), "main"); err != nil || got != sha {
		t.Errorf("resolve: %s %v", got, err)
	}
	for name, c := range map[string]struct {
		s    *source.Source
		want string
	}{
		"none":         {with("", ""), "source.auth.parameter"},
		"wrong":        {with("deploy", "wrong-"+secret), `the credentials of "deploy"`},
		"another user": {with("", secret), `the credentials of "x-access-token"`},
	} {
		_, err := fetch(t, c.s, sha)
		if !errors.Is(err, source.ErrDenied) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), srv.CloneURL()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"echo 403":     answer(403, "text/plain", "you sent "+secret+"\x1b[2J and may not"),
		"echo 500":     answer(500, "text/plain", secret),
		"echo HTML":    answer(200, "text/html; "+secret, secret),
		"echo garbage": answer(200, "application/x-git-upload-pack-advertisement", "zzzz"+secret),
		"redirect":     gittest.RedirectTo("http://"+secret+":x@127.0.0.2:1", 302),
	} {
		srv.Use(wrap)
		_, err := with("deploy", secret).Resolve(context.Background(), "main")
		if err == nil || strings.Contains(err.Error(), secret) || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", source.Config{Auth: source.Auth{Secret: secret}}, source.Auth{Secret: secret}, source.Auth{Secret: secret}); strings.Contains(text, secret) {
		t.Errorf("the secret prints: %s", text)
	}
}

func TestWhatAServerSaysInThePackCanNotReachATerminalNorTellSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-t0ken"
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	srv.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			said := "\x03your token is " + secret + "\x1b[2J\u009b2J, see https://me:pw@example.com/"
			_, _ = fmt.Fprintf(w, "0034shallow %s00000008NAK\n%04x%s0000", sha, len(said)+4, said) // the client may be gone
		})
	})
	s := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: secret}})
	_, err := fetch(t, s, sha)
	if err == nil || isRevision(err) || !strings.Contains(err.Error(), "the server says: your token is ***") || strings.Contains(err.Error(), "me:pw") ||
		strings.ContainsAny(err.Error(), "\x1b\u009b") {
		t.Errorf("got %q", err)
	}
}

func TestCredentialsStayHomeWhenTheServerSendsUsElsewhere(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	elsewhere := gittest.NewServer(t, repo)
	srv := gittest.NewServer(t, repo, gittest.WithAuth("", "pw"))
	s := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "pw"}})
	for _, base := range []string{elsewhere.URL, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			srv.Use(gittest.RedirectTo(base, status))
			_, err := fetch(t, s, sha)
			if err == nil || !strings.Contains(err.Error(), "change source.url") || !strings.Contains(err.Error(), base) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
	if got := elsewhere.Requests(); len(got) > 0 {
		t.Errorf("the other server was asked %d times, first for %s with %v", len(got), got[0].URL, got[0].Header)
	}
	// On the same host a repository may have another name now; the transfer goes there as well.
	srv.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rest, ok := strings.CutPrefix(r.URL.Path, "/old"); ok {
				http.Redirect(w, r, rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	moved := newSource(t, source.Config{URL: srv.URL + "/old/" + repo.Name(), Auth: source.Auth{Secret: "pw"}})
	mustFetch(t, moved, sha)
	// A transfer itself is not followed anywhere.
	srv.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/old"+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := fetch(t, s, sha); err == nil || !strings.Contains(err.Error(), "redirects the transfer") {
		t.Errorf("a redirected transfer: %v", err)
	}
}

func TestWhatTheServerSaysIsPutIntoWords(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	cases := map[string]struct {
		wrap func(http.Handler) http.Handler
		is   error
		want string
	}{
		"401":        {answer(401, "text/plain", "x"), source.ErrDenied, "401"},
		"403":        {answer(403, "text/plain", "no entry\nat all"), source.ErrDenied, "(it says: no entry)"},
		"404":        {answer(404, "text/html", "<h1>"), source.ErrNoRepository, "check source.url"},
		"503":        {answer(503, "text/plain", "later"), nil, "try again later"},
		"429":        {answer(429, "text/plain", "slow down"), nil, "(it says: slow down)"},
		"web page":   {answer(200, "text/html", "<html>"), source.ErrNoRepository, "text/html"},
		"dumb HTTP":  {answer(200, "text/plain", sha+"\trefs/heads/main\n"), source.ErrNoRepository, "git clone"},
		"ERR":        {answer(200, "application/x-git-upload-pack-advertisement", "0015ERR no such thing"), nil, "no such thing"},
		"not at all": {answer(200, "application/x-git-upload-pack-advertisement", ""), nil, "list of refs"},
	}
	for name, c := range cases {
		srv.Use(c.wrap)
		_, err := from(t, srv).Resolve(context.Background(), "main")
		if err == nil || isRevision(err) || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := gittest.NewServer(t, repo)
	s := from(t, gone)
	gone.Close()
	if _, err := fetch(t, s, sha); err == nil || isRevision(err) {
		t.Errorf("nobody listens: %v", err)
	}
	missing := newSource(t, source.Config{URL: srv.URL + "/other.git"})
	srv.Use(nil)
	if _, err := fetch(t, missing, sha); !errors.Is(err, source.ErrNoRepository) {
		t.Errorf("another repository: %v", err)
	}
}

func TestAServerThatSendsSomethingElseIsFoundOut(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	first := repo.Commit(map[string]string{"a": "good"})
	evil := repo.Commit(map[string]string{"a": "evil"})
	srv := gittest.NewServer(t, repo)
	// The liar answers the wish for one commit with another.
	srv.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				r = replaceInBody(r, first, evil)
			}
			next.ServeHTTP(w, r)
		})
	})
	_, err := fetch(t, from(t, srv), first)
	if err == nil || isRevision(err) || !strings.Contains(err.Error(), "other objects than") {
		t.Errorf("got %v", err)
	}
}

func TestHTTPSTakesOnlyCertificatesThatItKnows(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo, gittest.WithTLS())
	if _, err := fetch(t, from(t, srv), sha); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	known, ok := srv.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("httptest's client has another transport")
	}
	mustFetch(t, newSource(t, source.Config{URL: srv.CloneURL(), Transport: known}), sha)
}

package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// conn is the requests of one operation: they share connections, a base URL that redirects may have moved, and an end.
type conn struct {
	source *Source
	ctx    context.Context
	cancel context.CancelCauseFunc
	client *http.Client
	base   *url.URL

	mu     sync.Mutex
	broken error // the first error of a body: decoders on the way up may turn it into one of their own
}

// broke notes why a body ended.
func (c *conn) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

func (s *Source) connect(ctx context.Context) *conn {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &conn{source: s, ctx: ctx, cancel: cancel, base: s.url}
	transport := s.config.Transport
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	} else {
		transport = transport.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: s.config.Idle, KeepAlive: 15 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = s.config.Idle
	transport.ResponseHeaderTimeout = s.config.Idle
	transport.DisableCompression = true // packs are compressed
	c.client = &http.Client{Transport: transport, CheckRedirect: c.checkRedirect}
	return c
}

// close ends whatever is still open; nothing outlives an operation.
func (c *conn) close() {
	c.cancel(nil)
	c.client.CloseIdleConnections()
}

// checkRedirect follows a redirect of the first request (the only GET) on the same host, or from http to https there,
// as git does (http.followRedirects=initial). Anywhere else the credentials must not go, nor do we without them.
func (c *conn) checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	where := (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String()
	switch {
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("the server redirects the transfer to %s, which git does not follow either", where)
	case len(via) >= 10:
		return errors.New("the server redirects in circles")
	case !sameOrigin(from, to):
		return fmt.Errorf("the server redirects to %s: credentials don't follow to another host; "+
			"if the repository has moved, change source.url", where)
	}
	return nil
}

func sameOrigin(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

const (
	infoRefs   = "info/refs"
	uploadPack = "git-upload-pack"
	// refsMax bounds the list of refs: about half a million of them.
	refsMax = 64 << 20
)

// refs asks for the advertised refs and capabilities.
func (c *conn) refs() (refs, error) {
	u := c.base.JoinPath(infoRefs)
	u.RawQuery = "service=" + uploadPack
	resp, err := c.do(http.MethodGet, u, nil)
	if err != nil {
		return refs{}, err
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); ct != "application/x-git-upload-pack-advertisement" {
		return refs{}, fmt.Errorf("%w here: the server answers with %q, not as a git server: "+
			"is %s the URL that `git clone` takes?", ErrNoRepository, ct, c.source.URL())
	}
	if path, ok := strings.CutSuffix(resp.Request.URL.Path, infoRefs); ok {
		moved := *resp.Request.URL
		moved.Path, moved.RawPath, moved.RawQuery = path, strings.TrimSuffix(moved.RawPath, infoRefs), ""
		c.base = &moved
	} else {
		return refs{}, fmt.Errorf("the server redirects to %s, which is no repository", resp.Request.URL.Redacted())
	}
	body := bufio.NewReaderSize(&boundedReader{r: resp.Body, left: refsMax}, 8<<10)
	first, _ := body.Peek(4 << 10) // a short or failing read shows below
	adv := packp.NewAdvRefs()
	err = adv.Decode(body)
	switch {
	case bytes.Contains(first, []byte("object-format=sha256")):
		return refs{}, ErrSHA256
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return refs{}, ErrEmptyRepository
	case err != nil:
		return refs{}, fmt.Errorf("the list of refs: %w", truncated(err))
	case len(adv.References) == 0 && adv.Head == nil:
		return refs{}, ErrEmptyRepository
	}
	return refs{adv}, nil
}

var (
	// errNotOurRef is the server's "I don't hand that out".
	errNotOurRef = errors.New("the server does not hand out this commit")
	errCut       = errors.New("the transfer ended too early: try again")
)

// truncated says what an unexpected end means.
func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w (%w)", errCut, err)
	}
	return err
}

// pack asks for objects and gives the stream of the pack.
func (c *conn) pack(w wants) (io.Reader, error) {
	req := packp.NewUploadPackRequest()
	req.Wants = w.hashes
	caps := req.Capabilities
	var demux func(io.Reader) io.Reader
	set := func(name capability.Capability, values ...string) bool {
		return w.capabilities.Supports(name) && caps.Set(name, values...) == nil
	}
	switch {
	case set(capability.Sideband64k):
		demux = func(r io.Reader) io.Reader { return sideband.NewDemuxer(sideband.Sideband64k, r) }
	case set(capability.Sideband):
		demux = func(r io.Reader) io.Reader { return sideband.NewDemuxer(sideband.Sideband, r) }
	default:
		demux = func(r io.Reader) io.Reader { return r }
	}
	_ = set(capability.MultiACKDetailed) || set(capability.MultiACK) // no difference without haves, but Azure DevOps insists
	set(capability.OFSDelta)
	set(capability.NoProgress)
	set(capability.Agent, capability.DefaultAgent())
	if w.depth > 0 {
		if !set(capability.Shallow) {
			return nil, errNotOurRef // a server without shallow fetches: everything, then
		}
		req.Depth = packp.DepthCommits(w.depth)
	}
	var body bytes.Buffer
	if err := req.UploadRequest.Encode(&body); err != nil {
		return nil, fmt.Errorf("ask for the pack: %w", err)
	}
	if err := pktline.NewEncoder(&body).EncodeString("done\n"); err != nil {
		return nil, fmt.Errorf("ask for the pack: %w", err)
	}
	resp, err := c.do(http.MethodPost, c.base.JoinPath(uploadPack), body.Bytes())
	if err != nil {
		return nil, err
	}
	answer := packp.NewUploadPackResponse(req)
	if err := answer.Decode(resp.Body); err != nil {
		return nil, refusal(err)
	}
	return demux(bufio.NewReaderSize(answer, 64<<10)), nil
}

// refusal tells "not our ref" (git's upload-pack.c), for which there is another way, from the rest.
func refusal(err error) error {
	var line *pktline.ErrorLine
	if errors.As(err, &line) {
		if strings.Contains(line.Text, "not our ref") || strings.Contains(line.Text, "unadvertised object") {
			return errNotOurRef
		}
		return fmt.Errorf("the server says: %s", printable(line.Text))
	}
	return fmt.Errorf("the server's answer: %w", truncated(err))
}

// do sends one request and judges the status.
func (c *conn) do(method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/"+capability.DefaultAgent()) // some hosts answer browsers with a page
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if auth := c.source.config.Auth; auth.Secret != "" {
		req.SetBasicAuth(auth.User, string(auth.Secret))
	}
	resp, err := c.client.Do(req)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && c.ctx.Err() == nil {
			return nil, fmt.Errorf("the server did not answer within %s: %w", c.source.config.Idle, err)
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, c.status(resp)
	}
	resp.Body = c.watch(resp.Body)
	return resp, nil
}

// status says in words what an HTTP status means for the repository, and what to do.
func (c *conn) status(resp *http.Response) error {
	said := ""
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(c.watch(resp.Body), 1<<10)) // what can't be read is not quoted
		if said = printable(string(text)); said != "" {
			said = fmt.Sprintf(" (it says: %s)", said)
		}
	}
	auth := c.source.config.Auth
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if auth.Secret == "" {
			return fmt.Errorf("%w: the server wants credentials (401): set source.auth.parameter, or check that the URL is right%s",
				ErrDenied, said)
		}
		return fmt.Errorf("%w: the server does not take the credentials of %q (401): the token may be wrong, or have expired%s",
			ErrDenied, auth.User, said)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the credentials may not read this repository (403): give them read access%s", ErrDenied, said)
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (%d), or one that these credentials may not see: check source.url and source.auth%s",
			ErrNoRepository, resp.StatusCode, said)
	}
	return fmt.Errorf("the server answers %s: try again later%s", resp.Status, said)
}

// printable is the first line of what a server says, in bounds.
func printable(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = visible(line)
	return line[:min(len(line), 200)]
}

// Package health says whether an app is well: probes that ask it once, Wait
// that asks until it is, and Monitor that goes on asking for the rest of its
// life. Each answer that is not good is an error whose text is a sentence that
// can be shown to whoever wrote the app.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

// Probe asks the app once: nil means that it is well. It ends with ctx, whose cause then says in words what was
// waited for ("timed out after 5s").
type Probe func(ctx context.Context) error

// HTTPCheck is a GET request and the answers to it that are good.
type HTTPCheck struct {
	// URL is what is asked. When it is empty, http://127.0.0.1:Port/Path is.
	URL  string
	Port int
	Path string // "/" by default; may have a query
	// Host is the Host header; the URL's own by default.
	Host string
	// StatusMin and StatusMax bound the good answers, both included; 200 and 299 by default. A redirect is not
	// followed: it says how another address is.
	StatusMin, StatusMax int
}

const (
	userAgent  = "bootagent-health"
	maxHeaders = 64 << 10 // bytes of an answer's headers
	maxBody    = 64 << 10 // bytes read of an answer's body; an app that is cut off earlier may log a broken pipe
	maxShown   = 200      // bytes of a body that an error shows
)

// HTTP makes a probe that sends the request over a connection of its own, without a proxy. Several calls at once are fine.
func HTTP(c HTTPCheck) Probe {
	if c.URL == "" {
		c.URL = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)) + "/" + strings.TrimPrefix(c.Path, "/")
	}
	if c.StatusMin == 0 {
		c.StatusMin = 200
	}
	if c.StatusMax == 0 {
		c.StatusMax = max(299, c.StatusMin)
	}
	client := newClient()
	return func(ctx context.Context) error {
		if err := c.ask(ctx, client); err != nil {
			return fmt.Errorf("GET %s %w", c.URL, err)
		}
		return nil
	}
}

// newClient is not http.DefaultClient: that follows redirects, and a proxy of the environment, or a connection to the
// old process that is kept alive, would answer for the app.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask returns an error that goes on after "GET url".
func (c HTTPCheck) ask(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fmt.Errorf("is no request that can be sent: %w", err)
	}
	request.Header.Set("User-Agent", userAgent)
	request.Host = c.Host
	answer, err := client.Do(request)
	if err != nil {
		return explain(ctx, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if answer.StatusCode >= c.StatusMin && answer.StatusCode <= c.StatusMax {
		if err != nil {
			return fmt.Errorf("answered %s, but not to its end: it %w", status(answer), explain(ctx, err))
		}
		return nil
	}
	if where := answer.Header.Get("Location"); where != "" && answer.StatusCode/100 == 3 {
		return fmt.Errorf("answered %s to %s, and a check follows no redirect: name a path that answers by itself", status(answer), unit.CleanLine(where, maxShown))
	}
	text := ""
	if shown := unit.Cut(strings.ToValidUTF8(strings.TrimSpace(string(body)), "\ufffd"), maxShown); shown != "" {
		text = ": " + strconv.Quote(shown) // quoted, so that nothing in it reaches a terminal as it is
	}
	return fmt.Errorf("answered %s%s", status(answer), text)
}

// status is the code with the words that belong to it, whatever the app sent for them.
func status(answer *http.Response) string {
	return strings.TrimSpace(fmt.Sprint(answer.StatusCode, " ", http.StatusText(answer.StatusCode)))
}

// TCP makes a probe that connects to the address (host:port) and hangs up.
func TCP(address string) Probe {
	return func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("TCP %s %w", address, explain(ctx, err))
		}
		_ = conn.Close()
		return nil
	}
}

// Runner is the part of unit.Runner that Command needs.
type Runner interface {
	Run(ctx context.Context, s unit.Spec, out io.Writer) error
}

// UnaskedError is what a Probe returns when it could not ask, for a reason that is the machine's: it says nothing of the app.
type UnaskedError struct{ Err error }

func (e *UnaskedError) Error() string { return e.Err.Error() }
func (e *UnaskedError) Unwrap() error { return e.Err }

// Command makes a probe that runs a command; exit code 0 is good. The error shows the last line that it printed. Where the
// command can't be executed there is a *unit.CommandError in it; where the machine could not run it, it is an *UnaskedError.
func Command(runner Runner, s unit.Spec) Probe {
	return func(ctx context.Context) error {
		out := end{until: ctx}
		err := runner.Run(ctx, s, &out)
		if err == nil {
			return nil
		}
		last := ""
		if line := unit.CleanLine(out.String(), maxShown); line != "" {
			last = fmt.Sprintf(": %q", line)
		}
		var exit *unit.ExitError
		var command *unit.CommandError
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("the health command %w%s", context.Cause(ctx), last)
		case errors.As(err, &exit):
			ended := *exit
			ended.Name = "the health command"
			return &wordsError{ended.Error() + last, err}
		case errors.As(err, &command):
			return fmt.Errorf("the health command can't be executed: %w", err)
		}
		return &UnaskedError{fmt.Errorf("the health command could not be run: %w", err)}
	}
}

// maxKept is how much of the end of a health command's output is kept: more than the longest value that Parameter Store
// holds, so that a secret at its beginning is whole.
const maxKept = 16 << 10

// end keeps the end of what is written to it before a context ends. What a command that is being killed still says is about the
// killing: a shell whose child dies first says "Killed", and that would hide what it waited for.
type end struct {
	until context.Context
	kept  []byte
	cut   bool
}

func (e *end) Write(p []byte) (int, error) {
	if e.until.Err() != nil {
		return len(p), nil
	}
	e.kept = append(e.kept, p...)
	if extra := len(e.kept) - maxKept; extra > 0 {
		e.kept, e.cut = append(e.kept[:0], e.kept[extra:]...), true
	}
	return len(p), nil
}

// String is the last line that is not blank. One whose beginning is lost is not shown: a part of a secret can't be masked.
func (e *end) String() string {
	text := strings.TrimSpace(string(e.kept))
	begin := strings.LastIndexByte(text, '\n') + 1
	if begin == 0 && e.cut {
		return fmt.Sprintf("(a line of more than %d KiB)", maxKept>>10)
	}
	return strings.TrimSpace(text[begin:])
}

// explain says what a network error means, without what the caller says anyway. Its text goes on after the address.
func explain(ctx context.Context, err error) error {
	var network net.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		return &wordsError{"was refused: nothing listens there (connection refused)", err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &wordsError{"was cut off (connection reset)", err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &wordsError{"was cut off: the app closed the connection in the middle of its answer", err}
	case errors.As(err, &network) && network.Timeout():
		return &wordsError{"timed out", err}
	}
	return fmt.Errorf("failed: %w", innermost(err))
}

// wordsError is an error in other words.
type wordsError struct {
	text  string
	cause error
}

func (e *wordsError) Error() string { return e.text }
func (e *wordsError) Unwrap() error { return e.cause }

// innermost takes off what repeats the method, the URL and the address.
func innermost(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var operation *net.OpError
	if errors.As(err, &operation) {
		err = operation.Err
	}
	return err
}

// timeoutError is the cause of a probe's context that ran out.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return "timed out after " + e.after.String() }
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// once runs a probe with a time-out.
func once(ctx context.Context, probe Probe, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &timeoutError{timeout})
	defer cancel()
	return probe(ctx)
}

package s3

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// chunked reads a body in aws-chunked, as SDKs send it that give a checksum behind it. Chunks' signatures are not verified, as no signature is here.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
type chunked struct {
	r       *bufio.Reader
	left    int64 // of the chunk at hand
	begun   bool
	err     error
	trailer map[string]string
}

func newChunked(body io.Reader, kind string) (*chunked, error) {
	switch kind {
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		return &chunked{r: bufio.NewReader(body), trailer: map[string]string{}}, nil
	}
	return nil, &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "this region on a laptop does not read " + kind}
}

func (c *chunked) Read(p []byte) (int, error) {
	for c.left == 0 && c.err == nil {
		c.err = c.chunk()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunk reads a chunk's head. The last one is empty, and followed by the trailer.
func (c *chunked) chunk() error {
	if c.begun {
		if line, err := c.line(); err != nil || line != "" {
			return errors.Join(errors.New("a chunk is longer than it says"), err)
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errors.New("a chunk has no length")
	}
	if c.left > 0 {
		return nil
	}
	for {
		line, err := c.line()
		if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && line == "" {
			return io.EOF
		}
		if err != nil {
			return err
		}
		name, value, _ := strings.Cut(line, ":")
		c.trailer[strings.ToLower(name)] = strings.TrimSpace(value)
	}
}

func (c *chunked) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// escape is a key in a listing whose encoding-type is url.
func escape(key string) string {
	return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
}

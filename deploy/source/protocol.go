package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

const (
	infoRefs   = "info/refs"
	uploadPack = "git-upload-pack"
	// refsMax bounds the list of refs, in bytes: some 400,000 of them. Hosts list those of all pull requests, too.
	refsMax = 32 << 20
	// preambleMax bounds what stands before a pack: some lines for each commit that was asked for.
	preambleMax = 16 << 20
)

// refs asks for the advertised refs and capabilities.
func (c *conn) refs() (refs, error) {
	listed, err := c.transport.list()
	if err != nil {
		return refs{}, err
	}
	var first head
	adv := packp.NewAdvRefs()
	err = adv.Decode(io.TeeReader(bufio.NewReaderSize(&boundedReader{r: listed, left: refsMax}, 8<<10), &first))
	_ = listed.Close() // it has been read
	switch {
	case first.offers("object-format=sha256"):
		return refs{}, beyond(ErrSHA256)
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return refs{}, ErrEmptyRepository
	case err != nil:
		return refs{}, fmt.Errorf("the list of refs: %w", truncated(err))
	case len(adv.References) == 0 && adv.Head == nil:
		return refs{}, ErrEmptyRepository
	}
	return refs{adv}, nil
}

// head keeps the beginning of what is written to it.
type head []byte

// headMax is more than a server's capabilities take, or a line to a person.
const headMax = 4 << 10

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), headMax-len(*h))]...)
	return len(p), nil
}

// offers says whether a capability is on the first line, after the first ref's name and a NUL (gitprotocol-pack(5)). What
// stands below are names that anybody who may push has chosen.
func (h head) offers(capability string) bool {
	_, capabilities, _ := bytes.Cut(h, []byte{0})
	capabilities, _, _ = bytes.Cut(capabilities, []byte("\n"))
	return slices.Contains(strings.Fields(string(capabilities)), capability)
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
	if w.signedOnly && set(capability.Filter) {
		req.Filter = packp.FilterTreeDepth(0)
	}
	var body bytes.Buffer
	if err := req.UploadRequest.Encode(&body); err != nil {
		return nil, fmt.Errorf("ask for the pack: %w", err)
	}
	if err := pktline.NewEncoder(&body).EncodeString("done\n"); err != nil {
		return nil, fmt.Errorf("ask for the pack: %w", err)
	}
	stream, err := c.transport.ask(body.Bytes()) // the conn's end closes it
	if err != nil {
		return nil, err
	}
	answer := packp.NewUploadPackResponse(req)
	bounded := &boundedReader{r: stream, left: preambleMax}
	if err := answer.Decode(io.NopCloser(bounded)); err != nil {
		return nil, refusal(err)
	}
	bounded.left = math.MaxInt64 // readPack knows how long a pack may be
	return &spoken{demux(bufio.NewReaderSize(answer, 64<<10)), c}, nil
}

// spoken is a pack in whose middle the server may say what is wrong with it (the sideband's error channel).
type spoken struct {
	io.Reader
	conn *conn
}

func (s *spoken) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil {
		if said, ok := strings.CutPrefix(err.Error(), "unexpected error: "); ok { // go-git's words
			s.conn.broke(fmt.Errorf("the server says: %s", printable(said)))
		}
	}
	return n, err
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

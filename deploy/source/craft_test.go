package source_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" // git's own
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The types of a pack's objects (gitformat-pack(5)).
const (
	packCommit   = 1
	packTree     = 2
	packBlob     = 3
	packTag      = 4
	packOfsDelta = 6
	packRefDelta = 7
)

// craft is a pack that is written byte by byte, as no git would.
type craft struct {
	body  bytes.Buffer
	count uint32
	zlib  *zlib.Writer
}

// packHeader is how long a pack's own header is: "PACK", version, number of objects.
const packHeader = 12

// header begins an object of a kind, and says a size, true or not.
func (c *craft) header(kind int, size uint64) (offset int) {
	offset = packHeader + c.body.Len()
	b := byte(kind)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		c.body.WriteByte(b | 0x80)
		b = byte(size & 0x7f)
	}
	c.body.WriteByte(b)
	c.count++
	return offset
}

func (c *craft) deflate(content []byte) {
	if c.zlib == nil {
		c.zlib, _ = zlib.NewWriterLevel(&c.body, zlib.BestSpeed)
	}
	c.zlib.Reset(&c.body)
	_, _ = c.zlib.Write(content) // into memory
	_ = c.zlib.Close()
}

// object adds a whole object, and gives its name.
func (c *craft) object(kind int, content []byte) (sha string) {
	c.header(kind, uint64(len(content)))
	c.deflate(content)
	return nameOf(kind, content)
}

func nameOf(kind int, content []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", []string{1: "commit", 2: "tree", 3: "blob", 4: "tag"}[kind], len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

func (c *craft) blob(content string) string { return c.object(packBlob, []byte(content)) }

func (c *craft) tree(items ...item) string { return c.object(packTree, treeOf(items...)) }

func (c *craft) commit(tree string) string {
	return c.object(packCommit, []byte("tree "+tree+"\nauthor T <t@example.com> 1 +0000\ncommitter T <t@example.com> 1 +0000\n\ncrafted\n"))
}

func treeOf(items ...item) []byte {
	var raw bytes.Buffer
	for _, i := range items {
		raw.WriteString(i.mode + " " + i.name + "\x00")
		name, _ := hex.AppendDecode(raw.AvailableBuffer(), []byte(i.hash))
		raw.Write(name)
	}
	return raw.Bytes()
}

// refDelta adds a delta on an object of that name.
func (c *craft) refDelta(base string, instructions []byte) {
	c.header(packRefDelta, uint64(len(instructions)))
	raw, _ := hex.DecodeString(base)
	c.body.Write(raw)
	c.deflate(instructions)
}

// ofsDelta adds a delta on the object at an offset.
func (c *craft) ofsDelta(base int, instructions []byte) (offset int) {
	offset = c.header(packOfsDelta, uint64(len(instructions)))
	distance := offset - base
	raw := []byte{byte(distance & 0x7f)}
	for distance >>= 7; distance > 0; distance >>= 7 {
		distance--
		raw = append([]byte{byte(distance&0x7f) | 0x80}, raw...)
	}
	c.body.Write(raw)
	c.deflate(instructions)
	return offset
}

// deltaOf begins a delta: from a base of one size to a result of another.
func deltaOf(from, to uint64, ops ...byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, from), to), ops...)
}

func (c *craft) pack() []byte { return sealed(c.count, c.body.Bytes()) }

// sealed gives a body its header, with any number of objects, and its trailer.
func sealed(count uint32, body []byte) []byte {
	p := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), count)
	p = append(p, body...)
	sum := sha1.Sum(p)
	return append(p, sum[:]...)
}

// pktLine is one line of git's protocol.
func pktLine(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// banded wraps a pack as side-band-64k does.
func banded(pack []byte) []byte {
	var out bytes.Buffer
	for len(pack) > 0 {
		n := min(len(pack), 65_515)
		out.WriteString(pktLine("\x01" + string(pack[:n])))
		pack = pack[n:]
	}
	out.WriteString("0000")
	return out.Bytes()
}

const ordinaryCapabilities = "side-band-64k shallow ofs-delta no-progress allow-reachable-sha1-in-want"

// advertised is a list of refs: the lines are "sha name".
func advertised(capabilities string, lines ...string) string {
	var out strings.Builder
	out.WriteString(pktLine("# service=git-upload-pack\n") + "0000")
	for i, l := range lines {
		if i == 0 {
			l += "\x00" + capabilities
		}
		out.WriteString(pktLine(l + "\n"))
	}
	return out.String() + "0000"
}

// liar is a server that answers with what it is given, whatever it is asked.
func liar(t testing.TB, list, answer []byte) (url string) {
	t.Helper()
	return liarWith(t, func(w http.ResponseWriter) { _, _ = w.Write(list) }, func(w http.ResponseWriter) { _, _ = w.Write(answer) })
}

// liarWith is liar with answers that need not end by themselves. Clients that break off are what tests are about.
func liarWith(t testing.TB, list, answer func(http.ResponseWriter)) (url string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			answer(w)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		list(w)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL + "/app.git"
}

// offering serves a crafted pack as the answer to a wish for sha.
func offering(t testing.TB, sha string, pack []byte) (url string) {
	t.Helper()
	list := advertised(ordinaryCapabilities, sha+" HEAD", sha+" refs/heads/main")
	answer := pktLine("shallow "+sha) + "0000" + pktLine("NAK\n")
	return liar(t, []byte(list), append([]byte(answer), banded(pack)...))
}

package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bootagent/bootagent/deploy/artifact"
)

// entry is one of a crafted archive.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}, body}
}

func link(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}

func directory(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, ""}
}

// crafted is an archive of these entries, with a manifest that is true of it.
func crafted(t testing.TB, entries ...entry) ([]byte, artifact.Manifest) {
	t.Helper()
	var plain bytes.Buffer
	writeTar(t, &plain, entries)
	var c artifact.Content
	for _, e := range entries {
		switch e.Typeflag {
		case tar.TypeDir:
			c.Directories++
		case tar.TypeSymlink:
			c.Links++
		case tar.TypeReg:
			c.Files++
			c.FileBytes += e.Size
		}
	}
	return compressed(t, plain.Bytes(), c)
}

func writeTar(t testing.TB, to io.Writer, entries []entry) {
	t.Helper()
	w := tar.NewWriter(to)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func compressed(t testing.TB, plain []byte, c artifact.Content) ([]byte, artifact.Manifest) {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := e.EncodeAll(plain, nil)
	sum := sha256.Sum256(plain)
	c.Bytes, c.SHA256 = int64(len(plain)), hex.EncodeToString(sum[:])
	return data, manifestOf(data, c)
}

func manifestOf(data []byte, c artifact.Content) artifact.Manifest {
	a := artifact.Archive{Bytes: int64(len(data)), SHA256: artifact.Digest(data), PieceBytes: 64 << 10}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		a.Pieces = append(a.Pieces, artifact.Digest(rest[:n]))
		rest = rest[n:]
	}
	return artifact.Manifest{Schema: artifact.Schema, Key: "key", Archive: a, Content: c}
}

func TestCraftedArchivesAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", 300)
	long := strings.Repeat("n", 256)
	cases := map[string]struct {
		entries []entry
		says    string
	}{
		"a step out":             {[]entry{file("../x", "x")}, "must not be . or .."},
		"a step out in between":  {[]entry{directory("a"), file("a/../../x", "x")}, "must not be . or .."},
		"an absolute name":       {[]entry{file("/tmp/bootagent-crafted", "x")}, "must not be absolute"},
		"an empty name":          {[]entry{directory("")}, "must not be empty"},
		"a link out":             {[]entry{link("x", "../../etc/passwd")}, "leads out of the tree"},
		"an absolute link out":   {[]entry{link("x", "/etc/passwd")}, "links must stay inside"},
		"a link out by a system": {[]entry{link("x", "/usr/../etc/passwd")}, "links must stay inside"},
		"a link out by two":      {[]entry{link("u", "/usr/lib"), link("x", "u/../../etc/passwd")}, "leads out of the tree"},
		"a name that begins so":  {[]entry{link("x", "/usrx/passwd")}, "links must stay inside"},
		"through a link":         {[]entry{link("a", "b"), file("a/x", "x")}, "link and a directory at once"},
		"a link over a file":     {[]entry{file("a", "x"), link("a", "b")}, "stands there twice"},
		"a file twice":           {[]entry{file("a", "x"), file("a", "y")}, "stands there twice"},
		"a directory over one":   {[]entry{file("a", "x"), directory("a")}, "file and a directory"},
		"a link twice":           {[]entry{link("a", "b"), link("a", "c")}, "stands there twice"},
		"a repository's own":     {[]entry{file(".git/hooks/post-checkout", "x")}, ".git"},
		"the same in disguise":   {[]entry{file("GIT~1/config", "x")}, ".git"},
		"control characters":     {[]entry{file("a\nb", "x")}, "control"},
		"a name too long":        {[]entry{file(long, "x")}, "longer than 255"},
		"too deep":               {[]entry{file(deep+"x", "x")}, "directories above a file"},
		"a hard link":            {[]entry{file("a", "x"), {tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}, ""}}, "hard link"},
		"a hard link out":        {[]entry{{tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "/etc/passwd"}, ""}}, "hard link"},
		"a device":               {[]entry{{tar.Header{Typeflag: tar.TypeBlock, Name: "sda", Devmajor: 8}, ""}}, "of the kind"},
		"a terminal":             {[]entry{{tar.Header{Typeflag: tar.TypeChar, Name: "tty", Devmajor: 5}, ""}}, "of the kind"},
		"a FIFO":                 {[]entry{{tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"}, ""}}, "of the kind"},
		"a set-id bit":           {[]entry{{tar.Header{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755}, ""}}, "its mode is"},
		"a file for all":         {[]entry{{tar.Header{Typeflag: tar.TypeReg, Name: "all", Mode: 0o666}, ""}}, "its mode is"},
		"a directory for all":    {[]entry{{tar.Header{Typeflag: tar.TypeDir, Name: "all/", Mode: 0o1777}, ""}}, "its mode is"},
		"attributes":             {[]entry{{tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}, ""}}, "SCHILY.xattr"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			dir := filepath.Join(above, "x", "app")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			data, m := crafted(t, append([]entry{file("before", "x")}, c.entries...)...)
			err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data)), m, dir, artifact.Limits{})
			var bad *artifact.BadError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v", err)
			}
			nothingIn(t, dir)
			if got := len(inventory(t, above)); got != 2 {
				t.Errorf("something was written outside: %v", inventory(t, above))
			}
		})
	}
}

func TestBombsOfSizeAndOfCountAreRefused(t *testing.T) {
	t.Parallel()
	limits := artifact.Limits{Bytes: 1 << 20, FileBytes: 512 << 10, Files: 100}
	zeros := string(make([]byte, 1<<20))
	many := make([]entry, 0, 200)
	for i := range 200 {
		many = append(many, directory("d"+strings.Repeat("x", i)))
	}
	big, small := []entry{file("a", zeros[:600<<10])}, []entry{file("a", zeros[:400<<10])}
	for name, c := range map[string]struct {
		entries []entry
		lie     func(*artifact.Manifest)
		says    string
	}{
		"one file":              {big, nil, "bytes in one file"},
		"all files":             {[]entry{file("a", zeros[:500<<10]), file("b", zeros[:500<<10]), file("c", zeros[:500<<10])}, nil, "bytes in all"},
		"count":                 {many, nil, "files, links and directories"},
		"more than it says":     {small, func(m *artifact.Manifest) { m.Content.Bytes = 100 << 10 }, "goes on beyond"},
		"less than it says":     {small, func(m *artifact.Manifest) { m.Content.Bytes += 512 }, "ends 512 bytes before"},
		"more files":            {small, func(m *artifact.Manifest) { m.Content.Files = 0 }, "other files"},
		"more bytes of files":   {small, func(m *artifact.Manifest) { m.Content.FileBytes = 10 }, "more bytes of files"},
		"a file that never was": {[]entry{file("a", "x")}, func(m *artifact.Manifest) { m.Content.Files = 2 }, "other files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, m := crafted(t, c.entries...)
			if c.lie != nil {
				c.lie(&m)
			}
			dir := t.TempDir()
			err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data)), m, dir, limits)
			var bad *artifact.BadError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v", err)
			}
			nothingIn(t, dir)
		})
	}
}

func TestATarWithSomethingBehindItIsUnpackedToItsEndAlone(t *testing.T) {
	t.Parallel()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	plain.Write(make([]byte, 64<<20)) // a bomb behind the end, which the manifest owns up to
	data, m := compressed(t, plain.Bytes(), artifact.Content{})
	if _, err := artifact.ParseManifest(encoded(t, m), artifact.Limits{Bytes: 1 << 20, Files: 10}); err == nil {
		t.Error("the manifest of a bomb was taken")
	}
	dir := t.TempDir()
	if err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data)), m, dir, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	nothingIn(t, dir)
}

func TestManifestsThatDoNotHoldTogetherAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie  func(*artifact.Manifest)
		says string
	}{
		"a later schema":      {func(m *artifact.Manifest) { m.Schema = 2 }, "schema 2"},
		"too many files":      {func(m *artifact.Manifest) { m.Content.Files = 150; m.Content.Links = 51 }, "201 files, links and directories"},
		"more than a number":  {func(m *artifact.Manifest) { m.Content.Files, m.Content.Links = 1<<62, 1<<62 }, "files, links and directories"},
		"less than nothing":   {func(m *artifact.Manifest) { m.Content.Links = -1 }, "does not hold together"},
		"too many bytes":      {func(m *artifact.Manifest) { m.Content.FileBytes, m.Content.Bytes = 2<<20, 3<<20 }, "are the most that is unpacked"},
		"a tar without files": {func(m *artifact.Manifest) { m.Content.Bytes = 1 << 40 }, "are the most that is unpacked"},
		"no archive":          {func(m *artifact.Manifest) { m.Archive.Bytes, m.Archive.Pieces = 0, nil }, "an archive of 0 bytes"},
		"tiny pieces":         {func(m *artifact.Manifest) { m.Archive.PieceBytes = 1 }, "pieces of 1 bytes"},
		"huge pieces":         {func(m *artifact.Manifest) { m.Archive.PieceBytes = 1 << 40 }, "pieces of"},
		"a piece too few":     {func(m *artifact.Manifest) { m.Archive.Bytes += 64 << 10 }, "are not 1 pieces"},
		"a digest that isn't": {func(m *artifact.Manifest) { m.Archive.Pieces[0] = "../x" }, "is no SHA-256"},
		"a home that isn't":   {func(m *artifact.Manifest) { m.Home = "/a/../b" }, "is no directory's name"},
	} {
		_, m := crafted(t, file("a", "x"))
		c.lie(&m)
		_, err := artifact.ParseManifest(encoded(t, m), small())
		var bad *artifact.BadError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func encoded(t testing.TB, m artifact.Manifest) []byte {
	t.Helper()
	data, _, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestACutOrDamagedArchiveIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	data, m := packed(t, built(t))
	for _, at := range []int{0, 1, len(data) / 3, len(data) / 2, len(data) - 1} {
		dir := t.TempDir()
		if err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data[:at])), m, dir, artifact.Limits{}); err == nil {
			t.Errorf("an archive that is cut at %d was taken", at)
		}
		nothingIn(t, dir)
		flipped := bytes.Clone(data)
		flipped[at] ^= 0x20
		if err := artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(flipped)), m, dir, artifact.Limits{}); err == nil {
			t.Errorf("an archive with byte %d flipped was taken", at)
		}
		nothingIn(t, dir)
	}
}

// silent is a reader that gives a part and then waits for its end.
type silent struct {
	io.Reader
	closed chan struct{}
}

func (s *silent) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, errors.New("it was closed")
}

func (s *silent) Close() error {
	close(s.closed)
	return nil
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	entries := make([]entry, 0, 2000)
	for i := range 2000 {
		entries = append(entries, file("f"+strings.Repeat("x", i%200)+string(rune('a'+i/200)), "content"))
	}
	data, m := crafted(t, entries...)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	dir := t.TempDir()
	err := artifact.Unpack(ctx, &silent{bytes.NewReader(data), make(chan struct{})}, m, dir, artifact.Limits{})
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("the error is %v", err)
	}
	var bad *artifact.BadError
	if errors.As(err, &bad) {
		t.Error("the artifact is to blame")
	}
	nothingIn(t, dir)
}

func TestTreesThatNoReleaseMayHoldAreNotPacked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(dir string) error
		says string
	}{
		"a link out":       {func(dir string) error { return os.Symlink("../../secret", filepath.Join(dir, "x")) }, "leads out of the tree"},
		"an absolute link": {func(dir string) error { return os.Symlink("/etc/shadow", filepath.Join(dir, "x")) }, "links must stay inside"},
		"a repository":     {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "src/dep/.git"), 0o755) }, ".git"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := built(t)
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := artifact.Pack(t.Context(), artifact.Packing{Dir: dir}, io.Discard)
			var unfit *artifact.UnfitError
			if !errors.As(err, &unfit) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestWhatShowsThePlaceItWasBuiltInIsFound(t *testing.T) {
	t.Parallel()
	dir := built(t)
	big := make([]byte, 256<<10-5, 300<<10) // the text lies over two reads
	big = append(big, "the place"...)
	if err := os.WriteFile(filepath.Join(dir, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/elsewhere", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	p, err := artifact.Pack(t.Context(), artifact.Packing{Dir: dir, Foreign: map[string]string{"place": "the place", "link": "elsewhere", "other": "not there", "across": "serverthis"}}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Met["place"] || !p.Met["link"] || p.Met["other"] || p.Met["across"] {
		t.Errorf("met: %v", p.Met)
	}
}

func TestSharedDirectoriesAreLeftOutAndTheirPlacesKept(t *testing.T) {
	t.Parallel()
	dir := built(t)
	if err := os.Symlink("/var/lib/bootagent/shared/uploads", filepath.Join(dir, "uploads")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p, err := artifact.Pack(t.Context(), artifact.Packing{Dir: dir, Links: []string{"uploads"}, Directories: []string{"uploads/in", "uploads"}}, &out)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	m := artifact.Manifest{Schema: artifact.Schema, Key: "key", Archive: p.Archive, Content: p.Content}
	if err := artifact.Unpack(t.Context(), io.NopCloser(&out), m, to, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	got := inventory(t, to)
	if got["uploads"] != "drwxr-xr-x" || got["uploads/in"] != "drwxr-xr-x" {
		t.Errorf("uploads is %q, in it is %q", got["uploads"], got["uploads/in"])
	}
	if err := os.Chmod(filepath.Join(to, "lib/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestTheSameTreeIsTheSameArchiveWheneverItIsPacked(t *testing.T) {
	t.Parallel()
	dir := built(t)
	one, _ := packed(t, dir)
	if err := os.Chtimes(filepath.Join(dir, "lib"), time.Now(), time.Now()); err != nil { // a directory's time is nobody's business
		t.Fatal(err)
	}
	if two, _ := packed(t, dir); !bytes.Equal(one, two) {
		t.Error("the archives differ")
	}
}

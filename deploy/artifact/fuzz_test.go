package artifact_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootagent/bootagent/deploy/artifact"
)

func small() artifact.Limits {
	return artifact.Limits{Bytes: 1 << 20, FileBytes: 256 << 10, Files: 200, Depth: 20}
}

// FuzzArchive unpacks plain tars, compressed as they should be, so that what is tried is what is in them.
func FuzzArchive(f *testing.F) {
	for _, entries := range [][]entry{
		{file("a", "x"), directory("d"), link("d/l", "../a")},
		{file("../a", "x")}, {link("l", "/etc"), file("l/x", "y")}, {directory("d"), file("d", "x")},
	} {
		var plain bytes.Buffer
		writeTar(f, &plain, entries)
		f.Add(plain.Bytes(), 1, 1, 1, int64(1))
	}
	f.Fuzz(func(t *testing.T, plain []byte, files, dirs, links int, bytesOf int64) {
		if len(plain) > 1<<20 {
			return
		}
		data, m := compressed(t, plain, artifact.Content{Files: files, Directories: dirs, Links: links, FileBytes: bytesOf})
		unpackSafely(t, data, m)
	})
}

// FuzzCompressed unpacks what may be no zstd at all.
func FuzzCompressed(f *testing.F) {
	data, m := crafted(f, file("a", "x"), directory("d"))
	f.Add(data, m.Content.Bytes)
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		unpackSafely(t, data, manifestOf(data, artifact.Content{Bytes: size, Files: 1, Directories: 1, FileBytes: 1}))
	})
}

// unpackSafely unpacks below a directory in which nothing else may appear.
func unpackSafely(t *testing.T, data []byte, m artifact.Manifest) {
	above, err := os.MkdirTemp("", "fuzz-artifact-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(above) }()
	dir := filepath.Join(above, "app")
	err = artifact.Unpack(t.Context(), io.NopCloser(bytes.NewReader(data)), m, dir, small())
	entries, readErr := os.ReadDir(above)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil && len(entries) != 0 || err == nil && (len(entries) != 1 || entries[0].Name() != "app") {
		t.Errorf("after %v there is %v", err, entries)
	}
}

func FuzzManifest(f *testing.F) {
	_, m := crafted(f, file("a", "x"))
	f.Add(encoded(f, m))
	f.Add([]byte(`{"schema":1,"archive":{"bytes":9223372036854775807,"piece_bytes":65536}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := artifact.ParseManifest(data, small())
		if err != nil {
			return
		}
		if a := m.Archive; a.PieceBytes < 1 || a.PieceBytes > 16<<20 || int64(len(a.Pieces)) != (a.Bytes+a.PieceBytes-1)/a.PieceBytes || m.Content.FileBytes > 1<<20 {
			t.Errorf("taken: %+v", m)
		}
	})
}

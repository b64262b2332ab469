package source

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/signature"
	"github.com/bootagent/bootagent/deploy/tree"
)

type refusing struct{}

func (refusing) Check(signature.Object) (string, error) { return "", errors.New("nobody may") }

func TestBehindAClosedGateNothingReachesAFile(t *testing.T) {
	t.Parallel()
	stream, err := hex.DecodeString(seedPack)
	if err != nil {
		t.Fatal(err)
	}
	read := func(stream []byte, g *gate) (left []os.DirEntry, err error) {
		dir := filepath.Join(t.TempDir(), "tree")
		w, err := tree.New(dir, tree.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		var s spent
		_, err = readPack(context.Background(), bytes.NewReader(stream), w, false, &s, g)
		left, dirErr := os.ReadDir(dir)
		if dirErr != nil {
			t.Fatal(dirErr)
		}
		return left, err
	}
	left, err := read(stream, nil)
	if err != nil || len(left) == 0 {
		t.Fatalf("without a gate: %v, %v: this test proves nothing", left, err)
	}
	var p *pack
	w, err := tree.New(filepath.Join(t.TempDir(), "tree"), tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var s spent
	if p, err = readPack(context.Background(), bytes.NewReader(stream), w, false, &s, nil); err != nil {
		t.Fatal(err)
	}
	verification := &Verification{Trust: refusing{}}
	for hash, o := range p.objects {
		g := &gate{verification: verification, sha: hash.String(), log: zap.NewNop()}
		left, err := read(stream, g)
		if len(left) > 0 {
			t.Errorf("%s %s: left %v", o.kind, hash, left)
		}
		if !errors.Is(err, errUnverified) { // a blob is the first in this pack
			t.Errorf("%s %s: %v", o.kind, hash, err)
		}
	}
	// A delta whose base comes later, or never.
	var delta bytes.Buffer
	delta.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x74" + strings.Repeat("b", 20))
	z := zlib.NewWriter(&delta)
	_, _ = z.Write([]byte("\x01\x01\x01x")) // into memory
	_ = z.Close()
	if left, _ := read(delta.Bytes(), nil); len(left) == 0 {
		t.Fatal("without a gate a delta is written nowhere: this test proves nothing")
	}
	g := &gate{verification: verification, sha: strings.Repeat("0", 40), log: zap.NewNop()}
	if left, err := read(delta.Bytes(), g); !errors.Is(err, errUnverified) || len(left) > 0 {
		t.Errorf("a delta: %v, left %v", err, left)
	}
	g = &gate{verification: verification, sha: strings.Repeat("0", 40), log: zap.NewNop()}
	if left, err := read(stream, g); !errors.Is(err, errUnverified) || len(left) > 0 {
		t.Errorf("a commit that is not there: %v, left %v", err, left)
	}
}

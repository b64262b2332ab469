package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// counted hashes and counts what passes.
type counted struct {
	io.Writer
	hash hash.Hash
	n    int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// pieces hashes what passes, whole and in pieces.
type pieces struct {
	out     io.Writer
	size    int64
	whole   hash.Hash
	piece   hash.Hash
	in      int64 // bytes of the piece
	archive Archive
}

func newPieces(out io.Writer, size int64) *pieces {
	return &pieces{out: out, size: size, whole: sha256.New(), piece: sha256.New(), archive: Archive{PieceBytes: size}}
}

func (s *pieces) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	s.whole.Write(p[:n])
	s.archive.Bytes += int64(n)
	for rest := p[:n]; len(rest) > 0; {
		part := rest[:min(int64(len(rest)), s.size-s.in)]
		s.piece.Write(part)
		if s.in += int64(len(part)); s.in == s.size {
			s.cut()
		}
		rest = rest[len(part):]
	}
	return n, err
}

func (s *pieces) cut() {
	s.archive.Pieces = append(s.archive.Pieces, hex.EncodeToString(s.piece.Sum(nil)))
	s.piece.Reset()
	s.in = 0
}

func (s *pieces) end() Archive {
	if s.in > 0 {
		s.cut()
	}
	s.archive.SHA256 = hex.EncodeToString(s.whole.Sum(nil))
	return s.archive
}

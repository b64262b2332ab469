package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Survey goes through a tree as Pack does, and writes nothing: it says how much there is and which foreign texts stand in it. A tree that
// Pack would refuse is an *UnfitError here too.
func Survey(ctx context.Context, p Packing) (Packed, error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return Packed{}, fmt.Errorf("look through %s: %w", p.Dir, err)
	}
	defer func() { _ = root.Close() }()
	k := newPacker(ctx, p, io.Discard)
	if err := k.all(root); err != nil {
		return Packed{}, fmt.Errorf("look through %s: %w", p.Dir, err)
	}
	return Packed{Content: k.content, Met: k.finder.met}, nil
}

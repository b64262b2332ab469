package disk

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SyncTree makes everything below dir last, and its own name: by syncfs(2), for an fsync of each of ten thousand files takes
// minutes on a slow disk. It reports write errors since Linux 5.8, waits for what others write to the same file
// system, and can't be interrupted.
func (d Disk) SyncTree(dir string) error {
	d.tell(Change{Op: SyncTree, Path: dir})
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush %s to disk: %w", dir, err)
	}
	return nil
}

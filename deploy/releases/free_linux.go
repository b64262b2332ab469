package releases

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free gives the bytes that an unprivileged user can still write to the store's file system.
func (s *Store) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.releases(), &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", s.releases(), err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

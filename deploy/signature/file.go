package signature

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// fileMax bounds a file of keys, in bytes: some hundred keys with all their certifications.
const fileMax = 4 << 20

// readTrusted reads a file that says whom to trust. It, and the directory that it is in, must belong to root or to the
// agent's own user, and nobody else may write to them: whoever may could sign everything.
func readTrusted(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		return nil, errors.New("it must be an absolute path")
	}
	name, err := filepath.EvalSymlinks(name) // what is read is what is judged
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	dir, err := os.Stat(filepath.Dir(name))
	if err == nil {
		err = guarded("the directory "+filepath.Dir(name), dir)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // a FIFO must not hang it
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	if err := guarded("it", info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	if len(data) > fileMax {
		return nil, fmt.Errorf("it is longer than %d bytes", fileMax)
	}
	return data, nil
}

func guarded(what string, info os.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("nobody says whose %s is", what)
	case owner.Uid != 0 && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to the user %d, who could let everybody sign: it must belong to root (chown root)", what, owner.Uid)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0:
		return fmt.Errorf("%s may be written by others than its owner, who could let everybody sign: take that away (chmod go-w)", what)
	}
	return nil
}

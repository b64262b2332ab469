//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

// The bounds of a unit's log. While no agent runs nobody keeps them.
const (
	logLimit    = 4 << 20 // a log that takes more of the disk is cut
	logKeep     = 1 << 20 // what is kept of it, in LOG.1
	logInterval = 200 * time.Millisecond
	tailLimit   = 1 << 20 // how far back Tail looks in each file
)

func (r *Runner) logPath(name string) string { return filepath.Join(r.opts.LogDir, name+".log") }

const oldSuffix = ".1"

// openLog opens the unit's log so that every write goes to its end, wherever that is after it was cut. The unit's user owns
// it, or the unit could not open /dev/stdout.
func (r *Runner) openLog(name string, owner *syscall.Credential) (*os.File, error) {
	file, err := os.OpenFile(r.logPath(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	if owner != nil {
		if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("hand its log to its user: %w", err)
		}
	}
	return file, nil
}

func (r *Runner) removeLog(name string) error {
	r.logs.Lock()
	defer r.logs.Unlock()
	for _, suffix := range []string{"", oldSuffix, oldSuffix + temporarySuffix} {
		if err := os.Remove(r.logPath(name) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the log of %s: %w", name, err)
		}
	}
	return nil
}

// boundLogs cuts the logs that grew too long, until the Runner is closed.
func (r *Runner) boundLogs() {
	failed := make(map[string]bool) // said once, not five times a second
	for sleep(r.ctx, logInterval) == nil {
		list, err := r.List(context.Background())
		if err != nil {
			return
		}
		for _, u := range list {
			err := r.boundLog(u.Name)
			if err != nil && !failed[u.Name] {
				r.log.Warn("the log of a unit can't be kept within its bound", zap.String("unit", u.Name), zap.Error(err))
			}
			failed[u.Name] = err != nil
		}
	}
}

// boundLog keeps the end of a log that is too long beside it, and empties it. Lines that are written in between are lost.
func (r *Runner) boundLog(name string) error {
	r.logs.Lock()
	defer r.logs.Unlock()
	if _, _, err := r.find(name); err != nil {
		return nil // removed meanwhile: make no file anew
	}
	path := r.logPath(name)
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || used(info) <= logLimit {
		return err
	}
	kept, err := lastBytes(file, logKeep)
	if err != nil {
		return errors.Join(err, file.Truncate(0))
	}
	if keep(path+oldSuffix, kept) == nil {
		return file.Truncate(0)
	}
	// Perhaps the disk is full, and this log is what fills it: emptied, there is room.
	err = file.Truncate(0)
	return errors.Join(err, keep(path+oldSuffix, kept))
}

// keep replaces what was kept of a log before.
func keep(path string, end []byte) error {
	err := os.WriteFile(path+temporarySuffix, end, 0o600)
	if err == nil {
		err = os.Rename(path+temporarySuffix, path)
	}
	if err != nil {
		_ = os.Remove(path + temporarySuffix) // the first error is the one to report
	}
	return err
}

// used is how much of the disk a file takes. A program that opened /dev/stdout for itself goes on writing where it was
// after the file was emptied: the file is long then, but most of it is a hole.
func used(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(info.Size(), stat.Blocks*512)
	}
	return info.Size()
}

// Tail is in unit.Runner.
func (r *Runner) Tail(_ context.Context, name string, n int) ([]string, error) {
	if _, _, err := r.find(name); err != nil {
		return nil, err
	}
	r.logs.Lock()
	defer r.logs.Unlock()
	path := r.logPath(name)
	lines, err := lastLines(path, n)
	if err == nil && len(lines) < n {
		var older []string
		older, err = lastLines(path+oldSuffix, n-len(lines))
		lines = append(older, lines...)
	}
	if err != nil {
		return nil, fmt.Errorf("read the output of %s: %w", name, err)
	}
	return lines, nil
}

// lastLines gives the last n lines of a file, none of one that is not there.
func lastLines(path string, n int) ([]string, error) {
	if n <= 0 {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text []byte
	for look := int64(64 << 10); ; look *= 4 {
		if text, err = lastBytes(file, look); err != nil {
			return nil, err
		}
		if bytes.Count(text, []byte{'\n'}) > n || int64(len(text)) < look || look >= tailLimit {
			break
		}
	}
	text = bytes.TrimLeft(text, "\x00") // the hole that a cut leaves, see used
	text = bytes.TrimSuffix(text, []byte{'\n'})
	if len(text) == 0 {
		return nil, nil
	}
	raw := strings.Split(string(text), "\n")
	if len(raw) > n {
		raw = raw[len(raw)-n:]
	}
	for i, line := range raw {
		raw[i] = unit.CleanLine(line, unit.MaxLine)
	}
	return raw, nil
}

// lastBytes gives the last limit bytes of a file, or all that it has.
func lastBytes(file *os.File, limit int64) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-limit)
	return io.ReadAll(io.NewSectionReader(file, from, limit))
}

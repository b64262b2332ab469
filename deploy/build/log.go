package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/unit"
)

const (
	// maxHead and maxTail bound a build's log: its first 8 MiB and its last 64 KiB. A build that floods fills neither
	// the disk nor the memory, and its end, where the failure is, is kept.
	maxHead = 8 << 20
	maxTail = 64 << 10
	// keepLogs is how many builds' logs are kept, failed ones included.
	keepLogs = 20
)

// output is a file that takes the first bytes that are written, and the last.
type output struct {
	file  *os.File
	total int64
	tail  []byte // up to twice maxTail of the last bytes
	err   error  // the first error of the file
}

// LogPath is where the log of a release's build is, in the directory of builds' logs.
func LogPath(dir string, number int64) string {
	return filepath.Join(dir, strconv.FormatInt(number, 10)+".log")
}

// create makes the file, and its directory, and removes the oldest logs beside it.
func create(path string) (*output, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := prune(dir, filepath.Base(path)); err != nil {
		return nil, err
	}
	// What a build prints is the operator's to read.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return &output{file: f}, nil
}

// prune leaves room for one more log.
func prune(dir, but string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var numbers []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.ParseInt(name, 10, 64); ok && err == nil && e.Name() != but {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for len(numbers) >= keepLogs {
		if err := os.Remove(LogPath(dir, numbers[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		numbers = numbers[1:]
	}
	return nil
}

// Write takes output. A disk that takes no more is an error, which ends the build.
func (o *output) Write(p []byte) (int, error) {
	o.tail = append(o.tail, p[max(0, len(p)-maxTail):]...)
	if len(o.tail) > 2*maxTail {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-maxTail:]...)
	}
	if room := maxHead - o.total; room > 0 && o.err == nil {
		_, o.err = o.file.Write(p[:min(int64(len(p)), room)])
	}
	o.total += int64(len(p))
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// end is the last bytes, at most maxTail.
func (o *output) end() []byte { return o.tail[max(0, len(o.tail)-maxTail):] }

// last gives the last lines, cleaned for a terminal and cut, blank ones left out.
func (o *output) last(n int) []string {
	var out []string
	for line := range strings.SplitSeq(string(o.end()), "\n") {
		// A progress bar writes over its line: what a person saw last of it is behind the last return.
		line = strings.TrimRight(line, "\r")
		if line = unit.CleanLine(line[strings.LastIndexByte(line, '\r')+1:], unit.MaxLine); line != "" {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-n):]
}

// close completes the file with the end of an output that was cut.
func (o *output) close() error {
	if over := o.total - maxHead; over > 0 && o.err == nil {
		end := o.end()
		end = end[max(0, int64(len(end))-over):]
		if cut := over - int64(len(end)); cut > 0 {
			_, o.err = fmt.Fprintf(o.file, "\n[bootagent: %d bytes of output are cut here]\n", cut)
		}
		if o.err == nil {
			_, o.err = o.file.Write(end)
		}
	}
	return errors.Join(o.err, o.file.Close())
}

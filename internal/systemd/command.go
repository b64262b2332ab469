package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/bootagent/bootagent/internal/unit"
)

// defaultPath is where commands are looked up when the environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// command is a Spec that was found fit to be executed.
type command struct {
	path        string
	environment []string // one entry a name
	unset       []string // what systemd would add to it
}

// prepare checks what can be checked before systemd is asked, so that the error says what is wrong.
func prepare(s unit.Spec) (command, error) {
	if err := checkName(s.Name); err != nil {
		return command{}, err
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return command{}, errors.New("it has no command")
	}
	if i := slices.IndexFunc(s.Command, unspeakable); i >= 0 {
		return command{}, fmt.Errorf("word %d of its command is not UTF-8, or holds a NUL, which systemd can't be told", i+1)
	}
	if err := checkDir(s.Dir); err != nil {
		return command{}, err
	}
	if err := checkWritable(s.Writable); err != nil {
		return command{}, err
	}
	environment, err := cleanEnvironment(s.Environment)
	if err != nil {
		return command{}, err
	}
	path, err := find(s.Command[0], s.Dir, environment)
	if err != nil {
		return command{}, &unit.CommandError{Err: err}
	}
	return command{path: path, environment: environment, unset: added(environment)}, nil
}

func unspeakable(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsRune(text, 0)
}

func checkDir(dir string) error {
	if !filepath.IsAbs(dir) || unspeakable(dir) {
		return fmt.Errorf("its working directory %q is not an absolute path in UTF-8", dir)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its working directory %s does not exist: %w", dir, err)
	case err != nil:
		return fmt.Errorf("its working directory: %w", err)
	case !info.IsDir():
		return fmt.Errorf("its working directory %s is not a directory", dir)
	}
	return nil
}

// find looks a command up as a shell in dir would; an empty element of PATH is left out. systemd has a PATH of its own,
// so it is given the result.
func find(name, dir string, environment []string) (string, error) {
	if strings.Contains(name, "/") {
		path := absolute(name, dir)
		if err := executable(path); err != nil {
			return "", fmt.Errorf("its command %s can't be executed: %w", name, err)
		}
		return path, nil
	}
	search := defaultPath
	for _, entry := range environment {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	var refused error
	for _, element := range filepath.SplitList(search) {
		if element == "" {
			continue
		}
		path := absolute(filepath.Join(element, name), dir)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return "", fmt.Errorf("its command %q can't be executed: %w", name, refused)
	}
	return "", fmt.Errorf("its command %q was not found in PATH=%s: is the package that has it installed on this machine? (%w)", name, search, fs.ErrNotExist)
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "execute", Path: path, Err: syscall.EISDIR}
	case info.Mode()&0o111 == 0:
		return &fs.PathError{Op: "execute", Path: path, Err: fs.ErrPermission}
	}
	return nil
}

// checkName keeps names to what is safe in a file name, in systemd's, and in the pattern that finds them.
func checkName(name string) error {
	if name == "" || len(name) > 200 || name[0] == '.' {
		return fmt.Errorf("%q can't be the name of a unit: it must have 1 to 200 characters and not begin with a dot", name)
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:", c) {
			return fmt.Errorf("%q can't be the name of a unit: letters, digits and -_.: are allowed", name)
		}
	}
	return nil
}

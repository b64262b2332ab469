package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// What an adapter checks before it starts anything, so that the error says what is wrong.

// defaultPath is where commands are looked up when the environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// CheckName keeps a unit's name to what is safe in a file name, in systemd's, and in the pattern that finds them.
func CheckName(name string) error {
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

// CheckDir says whether a unit can have that working directory.
func CheckDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("its working directory %q is not an absolute path", dir)
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

// CleanEnvironment lets the last of several values of a variable win, as os/exec does, and refuses what fit does: nil
// refuses nothing more. Its errors, and fit's, name a variable, never a value.
func CleanEnvironment(given []string, fit func(name, value string) error) ([]string, error) {
	last := make(map[string]int, len(given))
	for i, entry := range given {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("entry %d of its environment is not NAME=value", i+1)
		}
		if strings.ContainsRune(entry, 0) {
			return nil, fmt.Errorf("the variable %q of its environment holds a NUL, which no environment can", strings.ReplaceAll(name, "\x00", ""))
		}
		if fit != nil {
			if err := fit(name, value); err != nil {
				return nil, err
			}
		}
		last[name] = i
	}
	clean := make([]string, 0, len(last))
	for i, entry := range given {
		name, _, _ := strings.Cut(entry, "=")
		if last[name] == i {
			clean = append(clean, entry)
		}
	}
	return clean, nil
}

// FindCommand looks a command up as a shell in dir would, in the environment's PATH; an empty element of that is left
// out. What can't be executed is a *CommandError.
func FindCommand(name, dir string, environment []string) (string, error) {
	if strings.Contains(name, "/") {
		path := absolute(name, dir)
		if err := executable(path); err != nil {
			return "", &CommandError{fmt.Errorf("its command %s can't be executed: %w", name, err)}
		}
		return path, nil
	}
	search := defaultPath
	for _, entry := range environment {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	elements := slices.DeleteFunc(filepath.SplitList(search), func(element string) bool { return element == "" })
	var refused error
	for _, element := range elements {
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
		return "", &CommandError{fmt.Errorf("its command %q can't be executed: %w", name, refused)}
	}
	return "", &CommandError{fmt.Errorf("its command %q was not found in PATH=%s: is the package that has it installed on this machine? (%w)", name, search, fs.ErrNotExist)}
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

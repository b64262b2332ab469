//go:build linux

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// defaultPath is where commands are looked up when the environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// command is a Spec that was found fit to be executed.
type command struct {
	path        string
	argv        []string
	dir         string
	environment []string
	credential  *syscall.Credential // nil for the agent's own user
	background  bool
}

// prepare checks what can be checked before a process is made, so that the error says what is wrong.
func prepare(s unit.Spec) (command, error) {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return command{}, errors.New("it has no command")
	}
	if !filepath.IsAbs(s.Dir) {
		return command{}, fmt.Errorf("its working directory %q is not an absolute path", s.Dir)
	}
	if info, err := os.Stat(s.Dir); errors.Is(err, fs.ErrNotExist) {
		return command{}, fmt.Errorf("its working directory %s does not exist: %w", s.Dir, err)
	} else if err != nil {
		return command{}, fmt.Errorf("its working directory: %w", err)
	} else if !info.IsDir() {
		return command{}, fmt.Errorf("its working directory %s is not a directory", s.Dir)
	}
	environment, err := cleanEnvironment(s.Environment)
	if err != nil {
		return command{}, err
	}
	path, err := find(s.Command[0], s.Dir, environment)
	if err != nil {
		return command{}, &unit.CommandError{Err: err}
	}
	credential, err := credentialOf(s.User)
	if err != nil {
		return command{}, err
	}
	return command{path: path, argv: s.Command, dir: s.Dir, environment: environment, credential: credential, background: s.Background}, nil
}

// cleanEnvironment lets the last of several values of a variable win, as os/exec does, and takes out our own variable.
// Its errors name a variable, never a value.
func cleanEnvironment(given []string) ([]string, error) {
	last := make(map[string]int)
	for i, entry := range given {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("entry %d of its environment is not NAME=value", i+1)
		}
		if strings.ContainsRune(entry, 0) {
			return nil, fmt.Errorf("the variable %q of its environment holds a NUL, which no environment can", strings.ReplaceAll(name, "\x00", ""))
		}
		last[name] = i
	}
	delete(last, markerVariable)
	clean := make([]string, 0, len(last)+1)
	for i, entry := range given {
		name, _, _ := strings.Cut(entry, "=")
		if at, ok := last[name]; ok && at == i {
			clean = append(clean, entry)
		}
	}
	return clean, nil
}

// find looks a command up as a shell in dir would; an empty element of PATH is left out.
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
		return path
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

// explain says what the kernel meant when it refused to execute the command.
func (c command) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return &unit.CommandError{Err: fmt.Errorf("%s is neither a program for this machine nor a script with a #! line: %w", c.path, err)}
	case errors.Is(err, fs.ErrNotExist):
		return &unit.CommandError{Err: fmt.Errorf("%s is there, but the interpreter in its #! line, or its dynamic loader, is not: %w", c.path, err)}
	}
	return err
}

// credentialOf finds the user's ids; nil for the agent's own.
func credentialOf(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	who, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("its user %s: %w", name, err)
	}
	if who.Uid == strconv.Itoa(unix.Getuid()) {
		return nil, nil
	}
	if unix.Geteuid() != 0 {
		return nil, fmt.Errorf("only root can run a process as the user %s: run the agent as root, or as %s, or leave the user out", name, name)
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("its user %s has the id %q: %w", name, who.Uid, err)
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("its user %s has the group %q: %w", name, who.Gid, err)
	}
	credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := who.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("the groups of its user %s: %w", name, err)
	}
	for _, g := range groups {
		id, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("its user %s has the group %q: %w", name, g, err)
		}
		credential.Groups = append(credential.Groups, uint32(id))
	}
	return credential, nil
}

// checkName keeps names to what is safe in a file name, in a marker and as a systemd unit.
func checkName(name string) error {
	if name == "" || len(name) > 200 || name[0] == '.' {
		return fmt.Errorf("%q can't be the name of a unit: it must have 1 to 200 characters and not begin with a dot", name)
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:@", c) {
			return fmt.Errorf("%q can't be the name of a unit: letters, digits and -_.:@ are allowed", name)
		}
	}
	return nil
}

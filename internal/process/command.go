//go:build linux

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

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
	if err := unit.CheckDir(s.Dir); err != nil {
		return command{}, err
	}
	environment, err := cleanEnvironment(s.Environment)
	if err != nil {
		return command{}, err
	}
	path, err := unit.FindCommand(s.Command[0], s.Dir, environment)
	if err != nil {
		return command{}, err
	}
	credential, err := credentialOf(s.User)
	if err != nil {
		return command{}, err
	}
	return command{path: path, argv: s.Command, dir: s.Dir, environment: environment, credential: credential, background: s.Background}, nil
}

// cleanEnvironment takes out our own variable besides.
func cleanEnvironment(given []string) ([]string, error) {
	clean, err := unit.CleanEnvironment(given, nil)
	return slices.DeleteFunc(clean, func(entry string) bool { return strings.HasPrefix(entry, markerVariable+"=") }), err
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

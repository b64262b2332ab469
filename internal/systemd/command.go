package systemd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bootagent/bootagent/internal/unit"
)

// command is a Spec that was found fit to be executed.
type command struct {
	path        string
	environment []string // one entry a name
	unset       []string // what systemd would add to it
}

// prepare checks what can be checked before systemd is asked, so that the error says what is wrong.
func prepare(s unit.Spec) (command, error) {
	if err := unit.CheckName(s.Name); err != nil {
		return command{}, err
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return command{}, errors.New("it has no command")
	}
	if i := slices.IndexFunc(s.Command, unspeakable); i >= 0 {
		return command{}, fmt.Errorf("word %d of its command is not UTF-8, or holds a NUL, which systemd can't be told", i+1)
	}
	if unspeakable(s.Dir) {
		return command{}, fmt.Errorf("its working directory %q is not UTF-8, or holds a NUL, which systemd can't be told", s.Dir)
	}
	if err := unit.CheckDir(s.Dir); err != nil {
		return command{}, err
	}
	if err := checkWritable(s.Writable); err != nil {
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
	return command{path: path, environment: environment, unset: added(environment)}, nil
}

func unspeakable(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsRune(text, 0)
}

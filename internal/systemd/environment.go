package systemd

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/unit"
)

// cleanEnvironment refuses what systemd would leave out without a word (env_name_is_valid and env_value_is_valid in its
// env-util.c).
func cleanEnvironment(given []string) ([]string, error) {
	return unit.CleanEnvironment(given, func(name, value string) error {
		if !isVariable(name) {
			return fmt.Errorf("the variable %q of its environment has a name that systemd does not take: letters, digits and _ are allowed, and no digit first", name)
		}
		if !utf8.ValidString(value) {
			return fmt.Errorf("the variable %s of its environment holds bytes that are not UTF-8: encode it, in base64 for example", name)
		}
		return nil
	})
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// systemdAdds gives the variables that systemd gives every service (systemd.exec(5), "Environment variables in spawned
// processes"), and what it hands down from /etc/locale.conf.
func systemdAdds() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE",
		"LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES", "LC_PAPER", "LC_NAME", "LC_ADDRESS",
		"LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION",
		"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
	}
}

// added are those that the unit is not meant to see.
func added(environment []string) []string {
	return slices.DeleteFunc(systemdAdds(), func(name string) bool {
		return slices.ContainsFunc(environment, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
	})
}

// environmentFile writes the environment to a file that has no name, and so is gone with us whatever happens. systemd
// finds it among our open files, and reads it just before it makes the process; units are never started again by
// themselves. The file is closed when the unit has started.
func environmentFile(environment []string) (file *os.File, path string, err error) {
	fd, err := unix.MemfdCreate("environment", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, "", fmt.Errorf("make a file for its environment: %w", err)
	}
	file = os.NewFile(uintptr(fd), "environment")
	var text strings.Builder
	for _, entry := range environment {
		key, value, _ := strings.Cut(entry, "=")
		fmt.Fprintf(&text, "%s=%s\n", key, quote(value))
	}
	if _, err := file.WriteString(text.String()); err != nil {
		return nil, "", errors.Join(fmt.Errorf("write its environment for systemd: %w", err), file.Close())
	}
	return file, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), nil
}

// quote quotes a value for an EnvironmentFile. Between single quotes everything means itself, newlines included
// (parse_env_file_internal in systemd's env-file.c); a single quote stands between double ones.
func quote(value string) string {
	return "'" + strings.ReplaceAll(value, "'", `'"'"'`) + "'"
}

// nonce draws a number that no other start has.
func nonce() string {
	var b [6]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program rather than return an error
	return hex.EncodeToString(b[:])
}

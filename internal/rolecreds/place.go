package rolecreds

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/bootagent/bootagent/internal/state"
)

// record is what outlives the agent. The token is kept here too, because the app's user owns the other file
// and can change what is in it.
type record struct {
	Port  int    `json:"port"`
	Token string `json:"token"`
}

func recordFile(dir string) string { return filepath.Join(dir, "server.json") }
func tokenFile(dir string) string  { return filepath.Join(dir, "token") }

// makeDir makes the directory one that the app's user can pass through, and nobody else can write to.
func makeDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("the directory %q must be absolute: the app gets its name", dir)
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is no directory of this user's (uid %d): remove it", dir, os.Geteuid())
	}
	return os.Chmod(dir, 0o711) // whatever the umask was
}

// remembered is what an earlier server left, or nothing.
func remembered(dir string) (record, error) {
	known, err := state.At[record](recordFile(dir)).Load()
	if err != nil {
		return record{}, fmt.Errorf("%w: apps that run can't get keys before they are started anew", err)
	}
	if (known.Port != 0) != (known.Token != "") || known.Port < 0 || known.Port > 65535 {
		return record{}, fmt.Errorf("%s makes no sense: remove it, and restart the app, which will get another port and token", recordFile(dir))
	}
	return known, nil
}

func remember(dir string, r record) error { return state.At[record](recordFile(dir)).Save(r) }

// newToken is 256 random bits, as what may stand in a header.
func newToken() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // crypto/rand.Read never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// leaveToken writes the token for the app: without a line's end, which botocore and others refuse. It is written
// anew each time, for the user may be another one by now, or have changed it.
func leaveToken(dir, token string, uid, gid int) (err error) {
	f, err := os.CreateTemp(dir, ".token-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to report
			_ = os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(0o400); err != nil {
		return err
	}
	if err = f.Chown(uid, gid); err != nil {
		return fmt.Errorf("give the token to the app's user: %w", err)
	}
	if _, err = f.WriteString(token); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), tokenFile(dir))
}

// New ports are looked for in this range: above those that services are usually given, and below those that Linux
// gives to outgoing connections (32768 on, ip(7)), one of which could else hold the port when the agent comes back.
const (
	lowestPort  = 20000
	highestPort = 32767
)

// listen takes the port again, or with 0 any that is free.
func listen(port int, dir string) (net.Listener, error) {
	if port != 0 {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("port %d of 127.0.0.1, which apps that run have in their environment, is taken by another process "+
				"(ss -tanp 'sport = :%d' shows it): end that, or remove %s and restart the app, which will get another port (%w)",
				port, port, recordFile(dir), err)
		}
		return l, err
	}
	var last error
	for range 20 {
		n, err := rand.Int(rand.Reader, big.NewInt(highestPort-lowestPort+1))
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(lowestPort+int(n.Int64()))))
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port of 127.0.0.1 found between %d and %d: %w", lowestPort, highestPort, last)
}

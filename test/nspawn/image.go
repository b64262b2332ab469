// Package nspawn boots real machines for tests: a Debian with systemd as its
// first process, D-Bus and cloud-init, in a container with an overlay of one
// image as its disk and a network of its own, up in well under a second.
//
// It needs Linux, root, systemd-nspawn, debootstrap and ip. What it makes lies
// in slots below /run/bootagent-nspawn: whoever takes a slot first clears what
// a test that was killed left in it.
package nspawn

import (
	"context"
	"crypto/sha256"
	_ "embed" // image.sh
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed image.sh
var imageScript string

// Image is a file system to boot machines from. It is never written to.
type Image struct{ root string }

// tools gives the programs that are needed, and the Debian packages that have them.
func tools() map[string]string {
	return map[string]string{
		"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "ip": "iproute2", "nsenter": "util-linux",
	}
}

// Missing says what this machine lacks; nil where machines can be booted.
func Missing() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("only root can boot a machine"))
	}
	for tool, pkg := range tools() {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, fmt.Errorf("%s is not installed: apt-get install %s", tool, pkg))
		}
	}
	if _, err := cgroups(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Build makes the image in dir, where it is not there yet: about a minute, and 250 MB. Processes that build at the same time
// wait for each other.
func Build(ctx context.Context, dir string) (*Image, error) {
	sum := sha256.Sum256([]byte(imageScript))
	key := hex.EncodeToString(sum[:6])
	root := filepath.Join(dir, key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of images: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of images: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the directory of images: %w", err)
	}
	if _, err := os.Stat(root); err == nil {
		return &Image{root}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for the image: %w", err)
	}
	unfinished := root + ".tmp"
	if err := os.RemoveAll(unfinished); err != nil {
		return nil, fmt.Errorf("remove an image that was never finished: %w", err)
	}
	out, err := exec.CommandContext(ctx, "sh", "-c", imageScript, "image.sh", unfinished, mirror()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make the image: %w; its last words:\n%s", errors.Join(err, context.Cause(ctx)), lastLines(string(out), 20))
	}
	if err := os.Rename(unfinished, root); err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	return &Image{root}, nil
}

// mirror is the Debian mirror that this machine itself uses.
func mirror() string {
	files, _ := filepath.Glob("/etc/apt/sources.list*")
	more, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, path := range append(files, more...) {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			word = strings.TrimSuffix(word, "/")
			if strings.HasPrefix(word, "http") && strings.HasSuffix(word, "/debian") {
				return word
			}
		}
	}
	return "http://deb.debian.org/debian"
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

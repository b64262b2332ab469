package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The users of these tests: nobody has them.
const (
	builder  = 65534 // uid and gid
	appUser  = 64001
	appGroup = 64002
)

// separate opens a store that other users can get into, for a test that needs them.
func separate(t *testing.T) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: what separate users may do to a release is tried by root alone")
	}
	dir, err := os.MkdirTemp("", "releases-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as runs a script in a directory as another user, and gives what it printed.
func as(t *testing.T, uid, gid uint32, dir, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// built fetches a tree, gives it to the builder, and runs a build.
func built(t *testing.T, s *Store, script string) *Attempt {
	t.Helper()
	a, err := s.Begin(7)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.MkdirAll(filepath.Join(a.App(), "src", "deep"), 0o755),
		os.WriteFile(filepath.Join(a.App(), "src", "deep", "main"), []byte("#!/bin/sh\necho main\n"), 0o755),
		os.Symlink("/etc/hostname", filepath.Join(a.App(), "link")),
		a.Give(builder, builder),
	); err != nil {
		t.Fatal(err)
	}
	if out, err := as(t, builder, builder, a.App(), script); err != nil {
		t.Fatalf("the build: %v\n%s", err, out)
	}
	return a
}

// owner is uid:gid mode of a file itself.
func owner(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Sprintf("%d:%d link", st.Uid, st.Gid)
	}
	return fmt.Sprintf("%d:%d %04o", st.Uid, st.Gid, st.Mode&0o7777)
}

func TestABuildWritesItsTreeAndNothingBesideIt(t *testing.T) {
	t.Parallel()
	s := separate(t)
	before := owner(t, "/etc/hostname")
	a := built(t, s, "set -e; echo x >> src/deep/main; rm link; ln -s x link; touch ../home/x ../tmp/x new; rm -r src/deep; mkdir src/deep")
	for _, script := range []string{"touch ../x", "mv ../app ../y", "rmdir ../tmp", "ln -s / ../../8", "touch ../../../current"} {
		if out, err := as(t, builder, builder, a.App(), script); err == nil {
			t.Errorf("the build could %s\n%s", script, out)
		}
	}
	if after := owner(t, "/etc/hostname"); after != before {
		t.Errorf("what a link names was %s and is %s", before, after)
	}
}

func TestWhatWasBuiltIsTheAgentsAndTheAppsToReadAlone(t *testing.T) {
	t.Parallel()
	s := separate(t)
	a := built(t, s, `set -e
umask 0
mkdir open sticky private; chmod 2777 open; chmod 1777 sticky; chmod 0700 private
touch open/data; chmod 0666 open/data
cp /bin/true suid; chmod 6755 suid
printf '#!/bin/sh\necho private\n' > private/run; chmod 0700 private/run
touch secret; chmod 0600 secret
touch none; chmod 0 none
touch ../home/cache; ln ../home/cache cached
touch one; ln one two
ln -s /etc/hostname out`)
	hostname := owner(t, "/etc/hostname")
	if err := a.Take(appGroup); err != nil {
		t.Fatal(err)
	}
	if got := names(t, a.dir); len(got) != 1 {
		t.Errorf("home and tmp should be gone: %v", got)
	}
	for path, want := range map[string]string{
		"": "0755", "src/deep": "0755", "src/deep/main": "0755", "open": "0755", "sticky": "0755", "private": "0750", "open/data": "0644", "suid": "0755",
		"private/run": "0750", "secret": "0640", "none": "0040", "cached": "0644", "one": "0644", "two": "0644", "link": "link", "out": "link",
	} {
		if got, want := owner(t, filepath.Join(a.App(), path)), fmt.Sprintf("0:%d %s", appGroup, want); got != want {
			t.Errorf("%q is %s, want %s", path, got, want)
		}
	}
	if got := owner(t, "/etc/hostname"); got != hostname {
		t.Errorf("what a link names was %s and is %s", hostname, got)
	}
	if _, err := a.Commit(Release{}); err != nil {
		t.Fatal(err)
	}
	if out, err := as(t, appUser, appGroup, a.App(), "cat secret && private/run && src/deep/main"); err != nil || out != "private\nmain\n" {
		t.Errorf("the app's user runs it: %q, %v", out, err)
	}
	for _, script := range []string{"echo x >> src/deep/main", "echo x >> open/data", "touch new", "touch open/new", "rm one", "mv private x", "chmod 777 open", "touch ../promoted"} {
		for user, group := range map[uint32]uint32{appUser: appGroup, builder: builder} {
			if out, err := as(t, user, group, a.App(), script); err == nil {
				t.Errorf("user %d could %s\n%s", user, script, out)
			}
		}
	}
	if out, err := as(t, builder, builder, a.App(), "cat secret || private/run"); err == nil {
		t.Errorf("others got what they did not have: %s", out)
	}
}

func TestWhatNoReleaseMayHoldIsTheRevisionsFaultAndChangesNothing(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", maxDepth+1)
	for _, c := range []struct{ name, script, want string }{
		{"a hard link from outside", `touch "$OUTSIDE/file" && ln "$OUTSIDE/file" src/stolen && ln src/stolen src/again`, `the build left "src/again", which has 3 hard links, and 1 of them are outside of the release`},
		{"a FIFO", "mkfifo src/pipe", `the build left "src/pipe", which is a FIFO`},
		{"a socket", "", `the build left "src/socket", which is a socket`},
		{"a device", "", `the build left "src/device", which is a device`},
		{"a bottomless tree", "mkdir -p " + deep, "which is more than 500 directories deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := separate(t)
			outside := filepath.Join(s.state, "outside")
			if err := errors.Join(os.Mkdir(outside, 0o755), os.Chown(outside, builder, builder)); err != nil {
				t.Fatal(err)
			}
			a := built(t, s, "touch aa; OUTSIDE="+outside+"; "+c.script)
			switch c.name {
			case "a socket":
				fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				if err == nil {
					err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(a.App(), "src", "socket")}), unix.Close(fd))
				}
				if err != nil {
					t.Fatal(err)
				}
			case "a device":
				if err := unix.Mknod(filepath.Join(a.App(), "src", "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
					t.Skipf("LEFT OUT: this root may make no device: %v", err)
				}
			}
			err := a.Take(appGroup)
			var refused *TreeError
			if !errors.As(err, &refused) || !refused.Revision() || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			for _, path := range []string{"", "aa", "src", "src/deep/main"} {
				if got := owner(t, filepath.Join(a.App(), path)); !strings.HasPrefix(got, fmt.Sprintf("%d:%d", builder, builder)) {
					t.Errorf("%q was changed: %s", path, got)
				}
			}
			if err := a.Discard(); err != nil {
				t.Error(err)
			}
			if left := names(t, s.trees()); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

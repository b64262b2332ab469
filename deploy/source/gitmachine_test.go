package source_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/gittest"
)

// gitMachine makes the test binary a process on a machine of its own: what stands in this directory is its /etc. It runs its arguments
// there, or fetches as gitFetch says.
const gitMachine = "BOOTAGENT_GIT_MACHINE"

func onAnotherMachine(etc string) error {
	// The name space is this process's alone, and ends with it.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := syscall.Mount(etc, "/etc", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on /etc: %w", etc, err)
	}
	if len(os.Args) == 1 {
		return fetchByGit(os.Getenv(gitFetch))
	}
	out, err := exec.Command(os.Args[1], os.Args[2:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestNoConfigurationOfTheMachineReachesGit puts orders where git looks for some: the system's files, the user's, the environment. A git
// that anybody runs there follows them, and ours must not.
func TestNoConfigurationOfTheMachineReachesGit(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can give a process an /etc of its own: run this as root")
		}
		t.Skip("LEFT OUT: what a machine's configuration may do to git is tried by root alone")
	}
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1\n", "b/c": "2\n", "model.bin": "3\n"})
	want := snapshot(t, repo.Clone(sha))
	srv := gittest.NewServer(t, repo)

	for _, place := range []string{"the system", "the user", "the user's other place", "the environment"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			m := newOrders(t, place)
			if err := m.run(t, "git", "clone", "--quiet", srv.CloneURL(), filepath.Join(t.TempDir(), "clone")); err != nil {
				t.Fatal(err)
			}
			for _, order := range []string{"hook", "filter"} {
				if err := os.Remove(filepath.Join(m.obeyed, order)); err != nil {
					t.Fatalf("git does not look there, so that this test shows nothing: %v", err)
				}
			}
			dir := filepath.Join(t.TempDir(), "release")
			m.env = append(m.env, gitFetch+"="+srv.CloneURL()+" "+sha+" "+dir)
			if err := m.run(t); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, snapshot(t, dir)); diff != "" {
				t.Error(diff)
			}
			if obeyed, err := os.ReadDir(m.obeyed); err != nil || len(obeyed) > 0 {
				t.Errorf("git did what the machine says: %v, %v", obeyed, err)
			}
		})
	}
}

// orders is a machine that tells git to run things; each that runs leaves a file in obeyed.
type orders struct {
	etc, obeyed string
	env         []string
}

func newOrders(t *testing.T, place string) *orders {
	t.Helper()
	dir := t.TempDir()
	m := &orders{etc: filepath.Join(dir, "etc"), obeyed: filepath.Join(dir, "obeyed")}
	home, hooks := filepath.Join(dir, "home"), filepath.Join(dir, "hooks")
	write := func(path, text string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(m.obeyed, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"reference-transaction", "post-checkout", "post-index-change"} {
		write(filepath.Join(hooks, name), "#!/bin/sh\n: >"+m.obeyed+"/hook\n")
	}
	write(filepath.Join(dir, "filter"), "#!/bin/sh\n: >"+m.obeyed+"/filter\nsed s/^/changed/\n")
	attributes := filepath.Join(dir, "attributes")
	write(attributes, "* filter=changes\n")
	settings := [][2]string{{"core.hooksPath", hooks}, {"core.attributesFile", attributes}, {"filter.changes.smudge", filepath.Join(dir, "filter")}}
	if place == "the system" {
		settings = append(settings[:1:1], settings[2:]...) // its attributes have a file of their own
	}
	var file strings.Builder
	for _, s := range settings {
		section, name := s[0][:strings.LastIndex(s[0], ".")], s[0][strings.LastIndex(s[0], ".")+1:]
		if outer, inner, ok := strings.Cut(section, "."); ok {
			section = fmt.Sprintf("%s %q", outer, inner)
		}
		fmt.Fprintf(&file, "[%s]\n\t%s = %s\n", section, name, s[1])
	}
	write(filepath.Join(m.etc, "passwd"), "root:x:0:0:root:"+home+":/bin/sh\n")
	write(filepath.Join(m.etc, "hosts"), "127.0.0.1 localhost\n")
	write(filepath.Join(home, "nothing"), "")
	m.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, gitMachine + "=" + m.etc}
	switch place {
	case "the system":
		write(filepath.Join(m.etc, "gitconfig"), file.String())
		write(filepath.Join(m.etc, "gitattributes"), "* filter=changes\n")
	case "the user":
		write(filepath.Join(home, ".gitconfig"), file.String())
	case "the user's other place":
		write(filepath.Join(home, "xdg", "git", "config"), file.String())
		m.env = append(m.env, "XDG_CONFIG_HOME="+filepath.Join(home, "xdg"))
	case "the environment":
		m.env = append(m.env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(settings)))
		for i, s := range settings {
			m.env = append(m.env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
		}
	}
	return m
}

// run runs a command on that machine, or a fetch.
func (m *orders) run(t *testing.T, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = m.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends that started it
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

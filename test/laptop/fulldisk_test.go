package laptop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/trial"
)

// TestAFullDiskStopsNoServiceAndNoLaterRelease fills an instance's disk by what is fetched, by a build, by the log of a build,
// and from elsewhere.
func TestAFullDiskStopsNoServiceAndNoLaterRelease(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk: run this test as root")
	}
	disk := &smallDisk{mib: 64}
	l := newLab(t, func(o *trial.Options) {
		o.Disk = disk.mount
		o.Configuration = "limits: {free_space: 1MiB}\nkeep_releases: 2\n"
	})
	t.Cleanup(func() { disk.unmount(t) })
	l.put(l.sound("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before, traffic, last := l.theProcess(i), l.startLoad(), int64(1)

	big := appWith(patient)
	big["weight"] = strings.Repeat("x", 72<<20)
	filling := func(build string) map[string]string {
		texts := appWith(patient)
		texts["bootagent.yaml"] = strings.Replace(texts["bootagent.yaml"], "run: mkdir", "run: "+build+" && mkdir", 1)
		return texts
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		says  []string
	}{
		{"fetched", big, []string{"fetch ", "no space left on device"}},
		{"built", filling("head -c 200000000 /dev/zero 2>/dev/null > big"), []string{"exited with code 1"}},
		{"logged", filling("(head -c 54000000 /dev/zero > big) && yes | head -c 30000000"), []string{"write the build's log", "its last lines"}},
	} {
		l.put(l.branch(c.name, c.files))
		l.wait("told of what was "+c.name, inService(last), blameless, problem(append(c.says, "the disk of "+stateOf(i)+" was full, with ", "make room there")...))
		if now, err := l.processes(i); err != nil || !slices.Contains(now, before) { // a build may run beside it
			t.Errorf("the old release was restarted: %v, then %v (%v)", before, now, err)
		}
		l.until("room again", func() error { return disk.has(30) })
		last = l.put(l.sound("main"))
		l.until("settled on a later release", func() error { return l.settled(i, last) })
		before = l.theProcess(i)
	}

	// Somebody else fills it, to the last byte: nothing can be remembered.
	ballast := filepath.Join(stateOf(i), "ballast")
	if err := os.WriteFile(ballast, make([]byte, 100<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	next := l.put(l.sound("main"))
	l.wait("told that it is full", inService(last), blameless, problem("the disk is full", "what serves goes on serving", "make room there"))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.until("settled once there is room", func() error { return l.settled(i, next) })
	l.wait("untroubled", state("in_service"), untroubled)
	traffic.stop()
}

// blameless: no revision is marked as failed.
func blameless(s agent.Status) error {
	if len(s.Failed) > 0 {
		return fmt.Errorf("the disk's failure is a revision's: %v", s.Failed)
	}
	return nil
}

// smallDisk is the disk of a lab's only instance.
type smallDisk struct {
	mib int
	mu  sync.Mutex
	dir string
}

func (d *smallDisk) mount(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", d.mib)); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	d.dir = dir
	return nil
}

func (d *smallDisk) unmount(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == "" {
		return
	}
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

// has says whether that many MiB are free.
func (d *smallDisk) has(mib int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize >> 20; free < mib {
		return fmt.Errorf("%d MiB are free, not %d", free, mib)
	}
	return nil
}

package e2e_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/test/nspawn"
	"github.com/bootagent/bootagent/test/traffic"
)

func TestUserDataBringsABareInstanceIntoServiceAndPurgingThePackageLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"debian.sh", "debian.yaml"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "userdata", func(o *options) { o.userData, o.verbatim = form, true })
			release := f.release()
			f.launch()
			// What the instance would be without the package.
			bare := nspawn.Boot(t, nspawn.Options{UserData: "#!/bin/sh\nsystemctl daemon-reload\n", Files: f.files()})
			i := f.only()
			f.settled(i, release)
			if out, err := i.Exec(t.Context(), "cloud-init", "status", "--wait"); err != nil {
				t.Errorf("%v\n%s\n%s", err, out, i.do("tail", "-n30", "/var/log/cloud-init-output.log"))
			}
			i.do("systemctl", "is-enabled", "bootagent")

			i.do("apt-get", "-qq", "remove", "bootagent")
			if got := i.show("bootagent", "ActiveState"); got != "inactive" {
				t.Errorf("after the removal the agent is %s", got)
			}
			if err := traffic.Answers(f.url(), strconv.FormatInt(release, 10)); err != nil {
				t.Errorf("a removal is no reason to stop serving: %v", err)
			}
			i.do("apt-get", "-qq", "purge", "bootagent")
			if running, err := i.processes(t.Context()); err != nil || len(running) > 0 {
				t.Errorf("purging left processes: %v (%v)", running, err)
			}
			if units, err := i.units(t.Context()); err != nil || len(units) > 0 {
				t.Errorf("purging left units: %v (%v)", units, err)
			}
			if err := bare.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(users(t, bare), users(t, i.Machine)); diff != "" {
				t.Errorf("purging left users or groups:\n%s", diff)
			}
			before := append(names(t, bare), "/run/bootagent.deb") // which user-data downloads, into memory
			left := slices.DeleteFunc(names(t, i.Machine), func(name string) bool { return slices.Contains(before, name) })
			if len(left) > 0 {
				t.Errorf("purging left %s", strings.Join(left, "\n"))
			}
		})
	}
}

func users(t *testing.T, m *nspawn.Machine) string {
	t.Helper()
	out, err := m.Exec(t.Context(), "cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// names are all files and control groups of the machine but those that its own programs keep to themselves.
func names(t *testing.T, m *nspawn.Machine) []string {
	t.Helper()
	out, err := m.Exec(t.Context(), "sh", "-c", `find / -xdev \( -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
		-o -path /var/lib/cloud -o -path /var/lib/dpkg -o -path /var/lib/systemd/catalog -o -path /root -o -name __pycache__ \) -prune -o -print
		find /run /sys/fs/cgroup -path '*bootagent*'; true`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

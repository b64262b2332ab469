package packaging_test

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestScriptsAreGoodShell(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.sh", "deb/*", "rpm/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) != 8 {
		t.Errorf("found %v", files)
	}
	for _, file := range files {
		text := read(t, file)
		if !strings.HasPrefix(text, "#!/bin/sh\n") || !strings.Contains(text, "\nset -e") {
			t.Errorf("%s goes on after an error", file)
		}
		if out, err := exec.Command("sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if shellcheck, err := exec.LookPath("shellcheck"); err != nil {
		t.Log("not checked by shellcheck, which is not here")
	} else if out, err := exec.Command(shellcheck, files...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoScriptWaitsForTheAgentToStart(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"deb/postinst", "rpm/post"} {
		for line := range strings.Lines(read(t, file)) {
			if strings.Contains(line, "systemctl") && strings.Contains(line, "start") && !strings.Contains(line, "--no-block") {
				t.Errorf("%s waits, and user-data with it: %s", file, line)
			}
		}
	}
}

func TestVersionsOfPackagesSortAsTheCommitsDo(t *testing.T) {
	t.Parallel()
	dpkg := tool(t, "dpkg")
	described := []struct{ commit, version string }{ // oldest first
		{"abc1234", "0.0.0~abc1234"},
		{"v1.4.2", "1.4.2"},
		{"v1.4.2-3-gabc1234", "1.4.2+3.gabc1234"},
		{"v1.4.2-3-gabc1234-dirty", "1.4.2+3.gabc1234.dirty"},
		{"v1.4.2-12-gabc1234", "1.4.2+12.gabc1234"},
		{"v1.5.0-rc.1", "1.5.0~rc.1"},
		{"v1.5.0-rc.1-2-gabc1234", "1.5.0~rc.1+2.gabc1234"},
		{"v1.5.0-rc.2", "1.5.0~rc.2"},
		{"v1.5.0", "1.5.0"},
		{"v1.5.0-dirty", "1.5.0+dirty"},
	}
	var last string
	for _, d := range described {
		out, err := exec.Command("sh", "version.sh", d.commit).Output()
		version := strings.TrimSpace(string(out))
		if err != nil || version != d.version {
			t.Errorf("%s became %q, want %q: %v", d.commit, version, d.version, err)
		}
		if err := exec.Command(dpkg, "--compare-versions", version, "gt", last).Run(); err != nil {
			t.Errorf("%s does not sort after %s", version, last)
		}
		last = version
	}
}

// nfpm finds the packager that `make package` builds; where it was not built the test is left out, not in CI.
func nfpm(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("NFPM"); path != "" {
		return tool(t, path)
	}
	path, err := filepath.Abs("../.cache/tools/nfpm")
	if err != nil {
		t.Fatal(err)
	}
	return tool(t, path)
}

// makePackage makes a package with that program in it.
func makePackage(t *testing.T, packager, version, program string) string {
	t.Helper()
	nfpm := nfpm(t)
	dir := t.TempDir()
	binary := filepath.Join(dir, "bootagent")
	if err := os.WriteFile(binary, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bootagent."+packager)
	c := exec.Command(nfpm, "package", "--config", "packaging/nfpm.yaml", "--packager", packager, "--target", path)
	c.Dir = ".."
	c.Env = append(os.Environ(), "ARCH=amd64", "PACKAGE_VERSION="+version, "BINARY="+binary, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nfpm: %v\n%s", err, out)
	}
	return path
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

func TestTheDebianPackageHoldsWhatAnInstanceNeedsAndRootOwnsIt(t *testing.T) {
	t.Parallel()
	dpkg := tool(t, "dpkg-deb")
	file := makePackage(t, "deb", "1.4.2", "#!/bin/sh\n")
	var got []string
	for line := range strings.Lines(output(t, dpkg, "-c", file)) {
		if f := strings.Fields(line); !strings.HasSuffix(f[5], "/") || f[5] == "./etc/bootagent/" {
			got = append(got, f[0]+" "+f[1]+" "+f[5])
		}
	}
	slices.Sort(got)
	want := []string{
		"-rw-r--r-- root/root ./etc/bootagent/config.yaml.example",
		"-rw-r--r-- root/root ./usr/lib/systemd/system/bootagent.service",
		"-rw-r--r-- root/root ./usr/lib/sysusers.d/bootagent.conf",
		"-rw-r--r-- root/root ./usr/share/doc/bootagent/copyright",
		"-rwxr-xr-x root/root ./usr/bin/bootagent",
		"drwxr-xr-x root/root ./etc/bootagent/",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	control := output(t, dpkg, "-f", file)
	for _, line := range []string{"Package: bootagent", "Version: 1.4.2", "Architecture: amd64", "Depends: systemd (>= 247), ca-certificates"} {
		if !strings.Contains(control, line+"\n") {
			t.Errorf("its control file does not say %q:\n%s", line, control)
		}
	}
	dir := t.TempDir()
	output(t, dpkg, "-e", file, dir)
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if read(t, filepath.Join(dir, script)) != read(t, "deb/"+script) {
			t.Errorf("its %s is another", script)
		}
	}
	if conffiles := read(t, filepath.Join(dir, "conffiles")); strings.TrimSpace(conffiles) != "/etc/bootagent/config.yaml.example" {
		t.Errorf("its conffiles are %q", conffiles)
	}
}

func TestTheSameCommitGivesTheSamePackage(t *testing.T) {
	t.Parallel()
	for _, packager := range []string{"deb", "rpm"} {
		first, second := makePackage(t, packager, "1.4.2", "#!/bin/sh\n"), makePackage(t, packager, "1.4.2", "#!/bin/sh\n")
		if sha256.Sum256([]byte(read(t, first))) != sha256.Sum256([]byte(read(t, second))) {
			t.Errorf("two %s packages of the same files differ", packager)
		}
	}
}

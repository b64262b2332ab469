package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/bootagent/bootagent/internal/config"
)

const unitFile = "systemd/bootagent.service"

// unitSettings reads a unit file: section.key, with the values in order. No setting here is continued on a second line.
func unitSettings(t *testing.T) map[string][]string {
	t.Helper()
	settings := make(map[string][]string)
	section := ""
	for line := range strings.Lines(read(t, unitFile)) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case !ok || strings.HasSuffix(line, "\\"):
			t.Fatalf("%s: %q is no setting", unitFile, line)
		default:
			settings[section+"."+key] = append(settings[section+"."+key], value)
		}
	}
	return settings
}

// tool gives the path of a program that a test needs. Where there is none the test is left out; not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed: %v", name, err)
	}
	t.Skipf("left out: %v", err)
	return ""
}

func TestTheUnitKeepsWhatTheDesignPromises(t *testing.T) {
	t.Parallel()
	s := unitSettings(t)
	directories := config.DirectoriesFrom(func(string) string { return "" })
	for key, want := range map[string]string{
		"Unit.ConditionPathExists":         config.DefaultPath,
		"Unit.StartLimitIntervalSec":       "0",
		"Unit.Wants":                       "network-online.target",
		"Install.WantedBy":                 "multi-user.target",
		"Service.Type":                     "notify",
		"Service.Restart":                  "always",
		"Service.RestartPreventExitStatus": "5",
		"Service.KillMode":                 "process",
		"Service.OOMScoreAdjust":           "-900",
		"Service.StateDirectory":           strings.TrimPrefix(directories.State, "/var/lib/"),
		"Service.RuntimeDirectory":         strings.TrimPrefix(directories.Runtime, "/run/"),
		"Service.RuntimeDirectoryPreserve": "yes",
		"Service.NoNewPrivileges":          "yes",
		"Service.ProtectSystem":            "strict",
	} {
		if got := s[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if len(s["Service.WatchdogSec"]) != 1 {
		t.Error("nothing watches the agent")
	}
	for _, order := range slices.Concat(s["Unit.After"], s["Unit.Requires"], s["Unit.Wants"], s["Unit.BindsTo"]) {
		if strings.Contains(order, "cloud-") {
			t.Errorf("it is ordered by %q: user-data that starts it would wait for itself", order)
		}
	}
	for _, capability := range strings.Fields(strings.Join(s["Service.CapabilityBoundingSet"], " ")) {
		if !strings.Contains(read(t, unitFile), "\n#   "+capability+" ") {
			t.Errorf("no comment says what %s is for", capability)
		}
	}
}

func TestTheUnitStartsWhatThePackageInstalls(t *testing.T) {
	t.Parallel()
	var p struct {
		Contents []struct{ Src, Dst string } `yaml:"contents"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "nfpm.yaml")), &p); err != nil {
		t.Fatal(err)
	}
	program, _, _ := strings.Cut(unitSettings(t)["Service.ExecStart"][0], " ")
	found := false
	for _, c := range p.Contents {
		found = found || c.Dst == program
		if c.Src == "" || strings.HasPrefix(c.Src, "$") {
			continue
		}
		if _, err := os.Stat(filepath.Join("..", c.Src)); err != nil {
			t.Errorf("nfpm.yaml: %v", err)
		}
	}
	if !found {
		t.Errorf("the unit starts %s, which the package does not hold", program)
	}
}

// most is the exposure, times ten, that systemd-analyze may find: 2.6 was seen with systemd 252; other versions count a little differently.
const most = "30"

func TestSystemdUnderstandsTheUnitAndFindsItHardened(t *testing.T) {
	t.Parallel()
	analyze := tool(t, "systemd-analyze")
	// The program is not installed where this runs.
	text := strings.Replace(read(t, unitFile), "/usr/bin/bootagent", "/bin/true", 1)
	file := filepath.Join(t.TempDir(), "bootagent.service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// What it doesn't know it only warns of.
	if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "bootagent.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold="+most, file).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

func TestTheUsersAreTwoThatNobodyCanLogInAs(t *testing.T) {
	t.Parallel()
	// sysusers.d(5): no colon in the description, no shell means nologin.
	users := regexp.MustCompile(`(?m)^u (\S+) +- "([^":]+)" +/nonexistent$`).FindAllStringSubmatch(read(t, "systemd/bootagent.sysusers"), -1)
	if len(users) != 2 || users[0][1] != "bootagent-build" || users[1][1] != "bootagent-app" {
		t.Errorf("got %q", users)
	}
	for _, user := range users {
		if !strings.Contains(read(t, "deb/postrm"), user[1]) {
			t.Errorf("purging leaves the user %s", user[1])
		}
	}
}

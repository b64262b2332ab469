package packaging_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/bootagent/bootagent/internal/aws/dynamodb"
)

// noDigest is what stands for a digest: no file has it, so that a user who forgets to replace it installs nothing.
var noDigest = strings.Repeat("0", 64)

func userData(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("user-data/*.*")
	if err != nil || len(files) != 4 {
		t.Fatalf("got %v, %v; want both forms for both kinds of distribution", files, err)
	}
	texts := make(map[string]string)
	for _, file := range files {
		texts[file] = read(t, file)
	}
	return texts
}

func TestUserDataIsTenLinesAtMostAndSaysTheSameInBothForms(t *testing.T) {
	t.Parallel()
	steps := map[string][]string{} // by distribution, what it runs
	for file, text := range userData(t) {
		if lines := strings.Count(text, "\n"); lines > 10 {
			t.Errorf("%s has %d lines; ten are the most that anybody wants to paste", file, lines)
		}
		name, form, _ := strings.Cut(filepath.Base(file), ".")
		script, configuration := bashForm, bashConfig
		if form == "yaml" {
			script, configuration = cloudForm, cloudConfig
		}
		c := parseConfig(t, file, configuration(t, file, text))
		if c.App != "shop" || c.Env != "prod" || len(c.Balancer.TargetGroups) != 1 {
			t.Errorf("%s configures %+v", file, c)
		}
		got := strings.Join(script(t, file, text), "\n")
		if len(steps[name]) > 0 && steps[name][0] != got {
			t.Errorf("the two forms for %s differ:\n%s\n\n%s", name, steps[name][0], got)
		}
		steps[name] = append(steps[name], got)
		checkSteps(t, file, got)
	}
	for name, forms := range steps {
		if len(forms) != 2 {
			t.Errorf("%s has %d forms", name, len(forms))
		}
	}
}

// checkSteps checks that nothing is installed that was not verified, that a failed step ends it, and that nothing waits.
func checkSteps(t *testing.T, file, script string) {
	t.Helper()
	inOrder := regexp.MustCompile(`(?s)^set -eu.*\ncurl -f\S* [^\n]*-o (\S+) https://[^\n]*\necho "` + noDigest + `  (\S+)" \| sha256sum -c -\n(apt-get|dnf) [^\n]*install[^\n]* (\S+)\n.*systemctl start --no-block bootagent$`)
	m := inOrder.FindStringSubmatch(script)
	if m == nil {
		t.Fatalf("%s does not stop at errors, download, verify, install and start without waiting, in this order:\n%s", file, script)
	}
	if m[1] != m[2] || m[1] != m[4] {
		t.Errorf("%s downloads %s, verifies %s and installs %s", file, m[1], m[2], m[4])
	}
	if want := map[string]string{"apt-get": ".deb", "dnf": ".rpm"}[m[3]]; filepath.Ext(m[1]) != want {
		t.Errorf("%s installs %s with %s", file, m[1], m[3])
	}
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", file, err, out)
	}
}

var heredoc = regexp.MustCompile(`(?s)cat >(\S+) <<'END'\n(.*)\nEND\n`)

func bashForm(t *testing.T, file, text string) []string {
	t.Helper()
	text, ok := strings.CutPrefix(text, "#!/bin/bash\n")
	if !ok {
		t.Fatalf("%s: cloud-init runs only what begins with #!", file)
	}
	text = strings.Replace(heredoc.ReplaceAllString(text, ""), "set -euo pipefail", "set -eu", 1)
	return strings.Split(strings.TrimSpace(text), "\n")
}

func bashConfig(t *testing.T, file, text string) string {
	t.Helper()
	m := heredoc.FindStringSubmatch(text)
	if m == nil || m[1] != "/etc/bootagent/config.yaml" {
		t.Fatalf("%s writes no configuration", file)
	}
	return m[2]
}

type cloudInit struct {
	WriteFiles []struct{ Path, Content string } `yaml:"write_files"`
	RunCmd     []string                         `yaml:"runcmd"`
}

func decodeCloudInit(t *testing.T, file, text string) cloudInit {
	t.Helper()
	if !strings.HasPrefix(text, "#cloud-config\n") {
		t.Fatalf("%s: cloud-init takes it for something else without #cloud-config in its first line", file)
	}
	var c cloudInit
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return c
}

func cloudForm(t *testing.T, file, text string) []string {
	t.Helper()
	return decodeCloudInit(t, file, text).RunCmd
}

func cloudConfig(t *testing.T, file, text string) string {
	t.Helper()
	c := decodeCloudInit(t, file, text)
	if len(c.WriteFiles) != 1 || c.WriteFiles[0].Path != "/etc/bootagent/config.yaml" {
		t.Fatalf("%s writes %+v", file, c.WriteFiles)
	}
	return c.WriteFiles[0].Content
}

func TestTheInstallPageMakesTheTableThatTheUserDataNames(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/install.md")
	for file, text := range userData(t) {
		configuration := bashConfig
		if strings.HasSuffix(file, ".yaml") {
			configuration = cloudConfig
		}
		table := parseConfig(t, file, configuration(t, file, text)).Table
		for _, want := range []string{
			"dynamodb create-table --table-name " + table + " ",
			"--attribute-definitions AttributeName=" + dynamodb.PartitionKey + ",AttributeType=S AttributeName=" + dynamodb.SortKey + ",AttributeType=S",
			"--key-schema AttributeName=" + dynamodb.PartitionKey + ",KeyType=HASH AttributeName=" + dynamodb.SortKey + ",KeyType=RANGE",
			"dynamodb update-time-to-live --table-name " + table + " --time-to-live-specification Enabled=true,AttributeName=" + dynamodb.Expiry,
		} {
			if table == "" || !strings.Contains(page, want) {
				t.Errorf("%s names the table %q, and docs/install.md does not say %q", file, table, want)
			}
		}
	}
}

func TestTheReadmeAndTheInstallPageShowTheUserDataWordForWord(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/install.md")
	for file, text := range userData(t) {
		if !strings.Contains(page, "\n"+text+"```") {
			t.Errorf("docs/install.md does not show %s as it is", file)
		}
	}
	if !strings.Contains(read(t, "../README.md"), "\n"+read(t, "user-data/debian.sh")+"```") {
		t.Error("README.md does not show user-data/debian.sh as it is")
	}
}

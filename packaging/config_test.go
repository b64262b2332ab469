// Package packaging_test holds what is packaged to the code that it is for.
package packaging_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parseConfig(t *testing.T, name, text string) config.Config {
	t.Helper()
	c, err := config.Parse(name, []byte(text))
	if err != nil {
		t.Fatalf("%v\nof:\n%s", err, text)
	}
	return c
}

const exampleFile = "config/config.yaml.example"

// commented is a key, or a line of text below one, that is commented out; prose has one blank after the #.
var commented = regexp.MustCompile(`(?m)^( *)#((?:  +)?[^ #\n])`)

// forms gives the example with everything uncommented: with its source over https, and with the one over SSH, which
// stands in a paragraph of its own.
func forms(t *testing.T) (overHTTPS, overSSH string) {
	t.Helper()
	var https, ssh []string
	for paragraph := range strings.SplitSeq(read(t, exampleFile), "\n\n") {
		text := commented.ReplaceAllString(paragraph, "$1$2")
		switch {
		case strings.Contains(paragraph, "\n#source:"):
			ssh = append(ssh, text)
		case strings.HasPrefix(paragraph, "source:"):
			https = append(https, text)
		default:
			https, ssh = append(https, text), append(ssh, text)
		}
	}
	return strings.Join(https, "\n\n"), strings.Join(ssh, "\n\n")
}

func TestTheExampleConfigurationIsGoodAsItIs(t *testing.T) {
	t.Parallel()
	c := parseConfig(t, exampleFile, read(t, exampleFile))
	if c.App != "shop" || c.Source.Auth.Parameter != "" || c.Recipe != nil {
		t.Errorf("got %+v", c)
	}
}

func TestTheExampleConfigurationIsGoodWithEveryKeyAndShowsTheDefaults(t *testing.T) {
	t.Parallel()
	least := parseConfig(t, exampleFile, read(t, exampleFile))
	overHTTPS, overSSH := forms(t)
	every := parseConfig(t, "the example, uncommented", overHTTPS)
	if c := parseConfig(t, "the example over SSH", overSSH); c.Source.Auth.Key == "" || c.Source.KnownHosts == "" {
		t.Errorf("over SSH its source is %+v", c.Source)
	}
	if every.Recipe == nil || every.Source.Auth.Parameter == "" || every.Source.Subdirectory == "" || every.Region == "" || every.Table == "" {
		t.Fatalf("not everything was uncommented: %+v", every)
	}
	// What has no default, and shows an example instead.
	every.Recipe, every.Source, every.Region, every.Table = least.Recipe, least.Source, least.Region, least.Table
	if diff := cmp.Diff(least, every); diff != "" {
		t.Errorf("the example says that these are the defaults, and they aren't (-default +example):\n%s", diff)
	}
}

// documented finds the keys that docs/configuration.md has a row for.
var documented = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")

func TestTheExampleConfigurationHasEveryDocumentedKey(t *testing.T) {
	t.Parallel()
	overHTTPS, overSSH := forms(t)
	text := overHTTPS + overSSH
	rows := documented.FindAllStringSubmatch(read(t, "../docs/configuration.md"), -1)
	if len(rows) < 20 {
		t.Fatalf("only %d keys found in docs/configuration.md", len(rows))
	}
	for _, row := range rows {
		path := strings.Split(row[1], ".")
		key := strings.Repeat("  ", len(path)-1) + path[len(path)-1] + ":"
		if !strings.Contains("\n"+text, "\n"+key) {
			t.Errorf("%s has no %s", exampleFile, row[1])
		}
	}
}

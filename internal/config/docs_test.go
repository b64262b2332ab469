package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/config"
)

func TestTheConfigurationsInTheDocumentationParse(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("there are %d configurations", len(blocks))
	}
	var got []config.Config
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		c, err := config.Parse("docs/configuration.md", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	// The long one spells the defaults out, so the two differ in what has no default alone.
	least, every := got[0], got[1]
	if least.Balancer.Mode != every.Balancer.Mode || least.Balancer.FirstPort != every.Balancer.FirstPort || least.Balancer.LastPort != every.Balancer.LastPort ||
		least.DrainMin != every.DrainMin || least.UnhealthyGrace != every.UnhealthyGrace || least.HoldOnFailure != every.HoldOnFailure ||
		least.Limits != every.Limits || least.Source.Verify.Mode != every.Source.Verify.Mode || least.Source.Engine != every.Source.Engine || least.KeepReleases != every.KeepReleases || least.Log != every.Log ||
		least.AppUser != every.AppUser || least.BuildUser != every.BuildUser || least.Credentials != every.Credentials ||
		least.Parameter != every.Parameter || least.SecretsPath != every.SecretsPath || least.Policy != every.Policy {
		t.Errorf("the defaults are\n%+v\nand the page says\n%+v", least, every)
	}
}

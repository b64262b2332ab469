package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const goodConfig = `version: 1
app: shop
env: prod
source: {url: https://github.com/you/shop.git}
balancer: {target_groups: [shop]}
`

func TestValidateAConfiguration(t *testing.T) {
	t.Parallel()
	good := file(t, "config.yaml", goodConfig)
	command(t, "validate", "--config", good).expect(t, exitDone, []string{good, "good"}, nil)

	typo := file(t, "config.yaml", goodConfig+"drain_mim: 30s\nlog:\n  formt: json\n")
	command(t, "validate", "--config", typo).expect(t, exitUsage, nil, []string{
		typo + `:6:1: unknown key "drain_mim"; did you mean "drain_min"?`,
		typo + `:8:3: unknown key "formt" in log; did you mean "format"?`,
	})
	missing := filepath.Join(t.TempDir(), "none.yaml")
	command(t, "validate", "--config", missing).expect(t, exitUsage, nil, []string{missing, "there is no configuration", "--config"})
}

func TestValidateARecipe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		code  int
		says  []string // %[1]s is the directory
	}{
		"a recipe": {
			map[string]string{"bootagent.yaml": "version: 1\nbuild: {run: make}\nprocesses: {web: ./shop, mail: ./mail}\nhealth: {path: /up}\n"},
			exitDone, []string{"%[1]s/bootagent.yaml is good", "make", "./shop", "./mail", "GET /up"},
		},
		"a Procfile alone": {
			map[string]string{"Procfile": "web: ./shop\n"},
			exitDone, []string{"%[1]s/Procfile is good", "./shop", "TCP"},
		},
		"a release task": {
			map[string]string{"Procfile": "web: ./shop\nrelease: bin/migrate\n"},
			exitDone, []string{"%[1]s/Procfile is good", `task     ["sh" "-c" "bin/migrate"] once a rollout, within 10m0s`},
		},
		"two keys that are none": {
			map[string]string{"bootagent.yaml": "version: 1\nprocesses:\n  web: {run: ./shop, prot: true}\nhelth: {path: /up}\n"},
			exitUsage, []string{
				`%[1]s/bootagent.yaml:3:22: unknown key "prot" in processes.web; did you mean "port"?`,
				`%[1]s/bootagent.yaml:4:1: unknown key "helth"; did you mean "health"?`,
			},
		},
		"one key that is none": {
			map[string]string{"bootagent.yaml": "version: 1\nprocesses: {web: ./shop}\nbiuld: {run: make}\n"},
			exitUsage, []string{`%[1]s/bootagent.yaml:3:1: unknown key "biuld"; did you mean "build"?`},
		},
		"a Procfile's line that is none": {
			map[string]string{"Procfile": "web ./shop\n"},
			exitUsage, []string{`%[1]s/Procfile:1:1: "web ./shop" is not "name: command"`},
		},
		"nothing": {nil, exitUsage, []string{"%[1]s", "neither a bootagent.yaml nor a Procfile", "commit one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			words := make([]string, 0, len(c.says))
			for _, format := range c.says {
				words = append(words, fmt.Sprintf(format+"%[2]s", dir, ""))
			}
			r := command(t, "validate", dir)
			if c.code == exitDone {
				r.expect(t, c.code, words, nil)
			} else {
				r.expect(t, c.code, nil, words)
			}
		})
	}
	none := filepath.Join(t.TempDir(), "none")
	command(t, "validate", none).expect(t, exitUsage, nil, []string{none, "no such file or directory"})
}

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/rollout"
)

const least = `version: 1
app: shop
env: prod
source:
  url: https://git.example.org/shop.git
balancer:
  target_groups: [shop]
`

func TestTheLeastConfigurationHasADefaultForEverythingElse(t *testing.T) {
	t.Parallel()
	got, err := config.Parse("config.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		App: "shop", Env: "prod",
		Source:    config.Source{URL: "https://git.example.org/shop.git"},
		Parameter: "/bootagent/shop/prod/release",
		Balancer:  config.Balancer{Mode: "self", TargetGroups: []string{"shop"}, FirstPort: 8080, LastPort: 8083},
		Policy:    rollout.DefaultPolicy(),
		DrainMin:  30 * time.Second, UnhealthyGrace: 30 * time.Second, HoldOnFailure: 5 * time.Minute,
		SecretsPath: "/bootagent/shop/prod/env", KeepReleases: 5, AppUser: "bootagent-app", BuildUser: "bootagent-build",
		Limits: config.Limits{FreeSpace: 256 << 20, Memory: 64 << 20, Bytes: 2 << 30, File: 512 << 20, Files: 200_000},
		Log:    config.Log{Level: "info"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARepositoryOverSSHHasAKeyAndAPinnedHost(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"git@git.example.org:shop.git", "ssh://git@git.example.org:2222/shop.git"} {
		got, err := config.Parse("config.yaml", []byte(strings.Replace(least, "https://git.example.org/shop.git",
			url+"\n  auth: {key: /shop/deploy-key}\n  known_hosts: git.example.org ssh-ed25519 AAAA\n  submodule_hosts: [lib.example.org]", 1)))
		if err != nil || got.Source.URL != url || got.Source.Auth.Key != "/shop/deploy-key" || got.Source.KnownHosts == "" || len(got.Source.SubmoduleHosts) != 1 {
			t.Errorf("%s: got %+v, %v", url, got.Source, err)
		}
	}
}

func TestTheAppGetsNoCredentialsUnlessTheyAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Credentials{
		"":                        {},
		"credentials: none\n":     {},
		"credentials: instance\n": {Instance: true},
		"credentials: arn:aws-us-gov:iam::123456789012:role/apps/shop\n": {Role: "arn:aws-us-gov:iam::123456789012:role/apps/shop"},
	} {
		got, err := config.Parse("config.yaml", []byte(least+text))
		if err != nil || got.Credentials != want {
			t.Errorf("%q: got %+v, %v", text, got.Credentials, err)
		}
	}
}

func TestTheExampleParsesAndSaysEveryKey(t *testing.T) {
	t.Parallel()
	c, err := config.Load("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Balancer.LastPort != 9003 || c.Source.Auth.User != "x-access-token" || !c.Log.JSON || c.Recipe == nil || c.Limits.Memory != 128<<20 {
		t.Errorf("got %+v", c)
	}
}

func TestBadConfigurationsSayWhatIsWrongWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, text, want string }{
		{"unknown key", least + "drain_mim: 5s\n", `config.yaml:8:1: unknown key "drain_mim"; did you mean "drain_min"?`},
		{"unknown key inside", strings.Replace(least, "url:", "ulr:", 1), `config.yaml:5:3: unknown key "ulr" in source; did you mean "url"?`},
		{"a key of a later version", least + "cache: {url: s3://b}\n", "not supported by this version"},
		{"root for the app", least + "app_user: root\n", "can't be root"},
		{"no user's name", least + "build_user: \"Build User\"\n", "must be the name of a user"},
		{"one user for both", least + "app_user: shop\nbuild_user: shop\n", "different users"},
		{"the builds' user for the app", least + "app_user: bootagent-build\n", "different users"},
		{"credentials of somebody", least + "credentials: admin\n", "must be none, instance (the instance's own role), or the ARN of a role"},
		{"credentials of a user", least + "credentials: arn:aws:iam::123456789012:user/shop\n", "the ARN of a role"},
		{"ports in mode asg", strings.Replace(least, "balancer:\n", "balancer:\n  mode: asg\n  ports: 8080-8083\n", 1), "the target groups' own port"},
		{"an overlap in mode asg", strings.Replace(least, "balancer:\n", "balancer:\n  mode: asg\n", 1) + "switch: overlap\n", "an instance has one port"},
		{"no target groups in mode asg", strings.Replace(least, "target_groups: [shop]", "mode: asg", 1), "balancer.target_groups is missing"},
		{"a mode that there is not", strings.Replace(least, "balancer:\n", "balancer:\n  mode: elb\n", 1), "mode"},
		{"no version", strings.Replace(least, "version: 1\n", "", 1), `write "version: 1"`},
		{"a newer version", strings.Replace(least, "version: 1", "version: 2", 1), "upgrade it"},
		{"no app", strings.Replace(least, "app: shop\n", "", 1), "app"},
		{"no target groups", strings.Replace(least, "balancer:\n  target_groups: [shop]\n", "", 1), "balancer"},
		{"an empty balancer", strings.Replace(least, "target_groups: [shop]", "ports: 8080-8083", 1), "balancer.target_groups is missing"},
		{"groups without a balancer", strings.Replace(least, "balancer:\n", "balancer:\n  mode: none\n", 1), "leave one of them out"},
		{"one port", least + "# \n", ""},
		{"a range that ends before it begins", strings.Replace(least, "balancer:\n", "balancer:\n  ports: \"8083-8080\"\n", 1), "the lower port first"},
		{"one port for a handover", strings.Replace(least, "balancer:\n", "balancer:\n  ports: \"8080\"\n", 1), "is not a range of ports"},
		{"a switch that there is not", least + "switch: stop\n", "switch"},
		{"a range of one", strings.Replace(least, "balancer:\n", "balancer:\n  ports: \"8080-8080\"\n", 1), "a handover needs two"},
		{"a secret in the URL", strings.Replace(least, "https://", "https://me:hunter2@", 1), "put the secret into Parameter Store"},
		{"a secret over plain http", strings.Replace(least, "https://git.example.org/shop.git", "http://git.example.org/shop.git\n  auth: {parameter: /t}", 1), "use https"},
		{"ssh without its host's key", strings.Replace(least, "https://git.example.org/shop.git", "git@git.example.org:shop.git\n  auth: {key: /k}", 1), "ssh-keyscan"},
		{"ssh without a key", strings.Replace(least, "https://git.example.org/shop.git", "ssh://git@git.example.org/shop.git\n  known_hosts: x", 1), "source.auth.key is missing"},
		{"ssh with a token", strings.Replace(least, "https://git.example.org/shop.git", "git@git.example.org:shop.git\n  known_hosts: x\n  auth: {parameter: /t}", 1), "a token is for https"},
		{"ssh with a password", strings.Replace(least, "https://git.example.org/shop.git", "ssh://git:hunter2@git.example.org/shop.git", 1), "put a key into Parameter Store"},
		{"https with a key", strings.Replace(least, "shop.git\n", "shop.git\n  auth: {key: /k}\n", 1), "source.auth.key is for SSH"},
		{"https with known hosts", strings.Replace(least, "shop.git\n", "shop.git\n  known_hosts: x\n", 1), "leave it out"},
		{"a path", strings.Replace(least, "https://git.example.org/shop.git", "/srv/shop.git", 1), "instances fetch over the network"},
		{"a way out of the repository", strings.Replace(least, "source:\n", "source:\n  subdirectory: ../x\n", 1), "inside the repository"},
		{"a number without a unit", least + "drain_min: 30\n", `write "30s"`},
		{"not YAML", "version: [", "config.yaml"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("config.yaml", []byte(c.text))
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "config.yaml") {
				t.Fatalf("got %v\nwant it to say %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestAnAppThatCannotRunTwiceNeedsOnePort(t *testing.T) {
	t.Parallel()
	for _, ports := range []string{"8080", "8080-8080", "8080-8081"} {
		c, err := config.Parse("config.yaml", []byte(strings.Replace(least, "balancer:\n", "balancer:\n  ports: \""+ports+"\"\n", 1)+"switch: restart\n"))
		if err != nil || !c.Restart || c.Balancer.FirstPort != 8080 {
			t.Errorf("%s: got %+v, %v", ports, c.Balancer, err)
		}
	}
}

func TestInModeASGThePortIsTheTargetGroups(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "switch: restart\n"} {
		c, err := config.Parse("config.yaml", []byte(strings.Replace(least, "balancer:\n", "balancer:\n  mode: asg\n", 1)+word))
		if err != nil || !c.Restart || c.Balancer.FirstPort != 0 || c.Balancer.LastPort != 0 || c.Balancer.Mode != config.ModeASG {
			t.Errorf("%q: got %+v, %v", word, c, err)
		}
	}
}

func TestAMissingFileIsAnErrorNotAGuess(t *testing.T) {
	t.Parallel()
	_, err := config.Load(filepath.Join(t.TempDir(), "config.yaml"))
	if err == nil || !strings.Contains(err.Error(), "--config") {
		t.Fatalf("got %v", err)
	}
}

func TestDirectoriesAreThoseThatSystemdMade(t *testing.T) {
	t.Parallel()
	env := map[string]string{"STATE_DIRECTORY": "/a", "RUNTIME_DIRECTORY": "/b"}
	if d := config.DirectoriesFrom(func(k string) string { return env[k] }); d.State != "/a" || d.Socket() != "/b/agent.sock" {
		t.Errorf("got %+v", d)
	}
	if d := config.DirectoriesFrom(func(string) string { return "" }); d.State != "/var/lib/bootagent" || d.Runtime != "/run/bootagent" {
		t.Errorf("got %+v", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	if example, err := os.ReadFile("testdata/example.yaml"); err == nil {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("config.yaml", data)
		if err == nil && (c.App == "" || c.Env == "" || c.Source.URL == "") {
			t.Errorf("taken without the keys that have no default: %q", data)
		}
	})
}

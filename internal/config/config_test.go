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
		Source:    config.Source{URL: "https://git.example.org/shop.git", Engine: config.EngineAuto, Verify: config.Verify{Mode: config.VerifyOff}},
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

func TestThePolicyOfTheConfigurationIsTheFleets(t *testing.T) {
	t.Parallel()
	every := rollout.Policy{
		Canary: 2, Bake: rollout.Duration(5 * time.Minute), Batch: rollout.Amount{N: 3}, MinHealthy: rollout.Percent(80), MaxFailures: 1,
		MinHealthyTime: rollout.Duration(30 * time.Second), ProgressDeadline: rollout.Duration(20 * time.Minute),
		OnFailure: rollout.Stop, Promote: rollout.Manual,
	}
	for text, want := range map[string]rollout.Policy{
		"policy: {canary: 2, bake: 5m, batch: 3, min_healthy: 80%, max_failures: 1, min_healthy_time: 30s, progress_deadline: 20m, on_failure: stop, promote: manual}\n": every,
		"policy: {}\n": rollout.DefaultPolicy(),
		"policy: {canary: 0, batch: \"3\"}\nswitch: restart\n": func() rollout.Policy {
			p := rollout.DefaultPolicy()
			p.Canary, p.Batch, p.Restart = 0, rollout.Amount{N: 3}, true
			return p
		}(),
	} {
		got, err := config.Parse("config.yaml", []byte(least+text+"fleet: {table: shop.fleet-1}\n"))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got.Policy); diff != "" || got.Table != "shop.fleet-1" {
			t.Errorf("%q: the table is %q, and the policy\n%s", text, got.Table, diff)
		}
	}
}

func TestTheExampleParsesAndSaysEveryKey(t *testing.T) {
	t.Parallel()
	c, err := config.Load("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Balancer.LastPort != 9003 || c.Source.Auth.User != "x-access-token" || c.Source.Engine != config.EngineGit || !c.Log.JSON || c.Recipe == nil || c.Limits.Memory != 128<<20 ||
		c.Table != "shop-prod" || c.Policy.Promote != rollout.Manual {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff(config.Verify{Mode: config.VerifyTag, Keys: "/etc/bootagent/keys.asc", AllowedSigners: "/etc/bootagent/allowed_signers",
		Principals: []string{"releases@example.com"}}, c.Source.Verify); diff != "" {
		t.Error(diff)
	}
}

func TestBadConfigurationsSayWhatIsWrongWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, text, want string }{
		{"unknown key", least + "drain_mim: 5s\n", `config.yaml:8:1: unknown key "drain_mim"; did you mean "drain_min"?`},
		{"unknown key inside", strings.Replace(least, "url:", "ulr:", 1), `config.yaml:5:3: unknown key "ulr" in source; did you mean "url"?`},
		{"a share of more than all", least + "policy:\n  batch: 120%\n", "config.yaml:9:3: policy.batch is 120%: give 1 or more instances, or 1% to 100%"},
		{"no amount", least + "policy: {batch: a few}\n", `config.yaml:8:17: policy.batch: "a few" is no amount: give a number such as 3, or a share such as 25%`},
		{"a list for an amount", least + "policy: {min_healthy: [2]}\n", "config.yaml:8:23: policy.min_healthy must be a number of instances such as 3, or a share of them such as 25%, not a list"},
		{"a batch of none", least + "policy: {batch: 0}\n", "config.yaml:8:9: policy.batch is 0: give 1 or more"},
		{"an unknown key of the policy", least + "policy:\n  bake: 1m\n  canery: 1\n", `config.yaml:10:3: unknown key "canery" in policy; did you mean "canary"?`},
		{"a policy that is the app's", least + "policy: {restart: true}\n", `config.yaml:8:10: unknown key "restart" in policy; the keys here are canary, bake, batch`},
		{"a deadline before an instance could be done", least + "policy:\n  min_healthy_time: 11m\n", "config.yaml:9:3: policy.min_healthy_time (11m0s) must be shorter than progress_deadline (10m0s)"},
		{"a deadline before anybody notices", least + "policy: {progress_deadline: 30s}\n", "config.yaml:8:9: policy.progress_deadline is 30s: give 1m0s or more"},
		{"all healthy, and one out", least + "policy: {min_healthy: 100%}\nswitch: restart\n", "config.yaml:8:9: policy.min_healthy is 100% and switch is restart"},
		{"a bake without an end", least + "policy: {bake: 25h}\n", `config.yaml:8:16: policy.bake must be between 0s and 24h, not "25h"`},
		{"a way back that there is not", least + "policy: {on_failure: revert}\n", `config.yaml:8:22: policy.on_failure must be rollback or stop or pause, not "revert"`},
		{"a promotion that there is not", least + "policy: {promote: manuel}\n", `config.yaml:8:19: policy.promote can't be "manuel"; did you mean "manual"?`},
		{"a fleet without its table", least + "fleet: {}\n", "config.yaml:8:8: fleet.table is missing: it names the DynamoDB table"},
		{"the ARN of a table", least + "fleet:\n  table: arn:aws:dynamodb:eu-central-1:123456789012:table/bootagent\n", "config.yaml:9:10: fleet.table: must be the name of a DynamoDB table"},
		{"a key of a later version", least + "packages: [nginx]\n", "not supported by this version"},
		{"a cache nowhere", least + "cache: {}\n", "cache.url"},
		{"a cache over the web", least + "cache: {url: https://bucket}\n", "s3:// or file://"},
		{"a cache without a bucket", least + "cache: {url: s3:///prefix}\n", "must name a bucket"},
		{"a cache with a slash behind", least + "cache: {url: s3://bucket/prefix/}\n", "no slash at its end"},
		{"a cache in some directory", least + "cache: {url: file://srv/cache}\n", "by its full path"},
		{"a cache with a step back", least + "cache: {url: file:///srv/../cache}\n", "by its full path"},
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
		{"an engine that there is not", strings.Replace(least, "shop.git\n", "shop.git\n  engine: libgit2\n", 1), "source.engine must be auto or go-git or git"},
		{"a signature of nobody", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {mode: commit}\n", 1), "says nobody whose signature counts"},
		{"a signature of an unknown kind", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {mode: tags}\n", 1), `did you mean "tag"?`},
		{"signers, and no mode", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {keys: /k}\n", 1), "source.verify.mode is missing"},
		{"keys from a relative path", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {mode: tag, keys: keys.asc}\n", 1), "the absolute path of a file"},
		{"principals of a keyring", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {mode: tag, keys: /k, principals: [me]}\n", 1), "names in the file of source.verify.allowed_signers"},
		{"a principal that is a pattern", strings.Replace(least, "shop.git\n", "shop.git\n  verify: {mode: tag, allowed_signers: /a, principals: [\"*\"]}\n", 1), "must be a name as it stands"},
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

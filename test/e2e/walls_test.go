package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

func TestAMachineWithoutAWallRunsNothingAndGivesItselfUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "walls", func(o *options) { o.noWalls = true })
	f.release()
	f.launch()
	i := f.only()
	f.until("ended for good", func(ctx context.Context) error {
		out, err := i.Exec(ctx, "systemctl", "show", "--property=ActiveState,ExecMainStatus", "bootagent")
		if err == nil && out != "ExecMainStatus=5\nActiveState=failed\n" {
			err = fmt.Errorf("the agent is %q", out)
		}
		return err
	})
	said, err := i.Journal(t.Context(), "--unit=bootagent")
	if err != nil || !strings.Contains(said, "a build would reach the instance's credentials") || !strings.Contains(said, "was completed with ABANDON") {
		t.Errorf("%v\n%s", err, said)
	}
	if lifecycle, _, _ := f.groups.Lifecycle(i.id); lifecycle != model.LifecycleTerminatingWait { // where nobody answers any more
		t.Errorf("the group has it as %s", lifecycle)
	}
	if units, err := i.units(t.Context()); err != nil || len(units) > 0 {
		t.Errorf("units were started: %v (%v)", units, err)
	}
	if ran, err := i.Exec(t.Context(), "ls", "/var/lib/bootagent/builds"); err == nil && ran != "" {
		// A build's log is made before the build is asked for; nothing may have written to it.
		if size := i.do("sh", "-c", "cat /var/lib/bootagent/builds/* | wc -c"); size != "0" {
			t.Errorf("a build has run and printed %s bytes", size)
		}
	}
}

// attempts are what a build or the app could do of what it tried: see app/walls.py.
type attempts map[string]struct {
	Got   any
	Error string
}

func TestBuildsAndTheAppAreKeptToWhatIsTheirs(t *testing.T) {
	t.Parallel()
	const password = "c4n4ry-of-the-database"
	f := newFleet(t, "walls")
	f.put("/bootagent/shop/prod/env/DATABASE_PASSWORD", password, ssmtypes.ParameterTypeSecureString)
	f.release()
	f.launch()
	i := f.only()
	f.stable(i, 1)
	var kept struct{ Kept string }
	if err := i.ask(i.web().port, "/keep", &kept); err != nil {
		t.Errorf("the app can't write its own directory: %v", err)
	}
	f.release() // whose build finds the app's file
	f.settled(i, 2)

	var found struct{ Build, App attempts }
	if err := i.ask(i.web().port, "/walls", &found); err != nil {
		t.Fatal(err)
	}
	forBoth := []string{
		"credentials by ipv4", "credentials by ipv6", "token by curl and ipv4", "token by curl and ipv6",
		"read /etc/shadow", "read /srv/somebody-elses", "write /etc/new", "write /var/lib/bootagent/new", "write /run/bootagent/new", "write release/new",
	}
	found.Build.check(t, "build", "bootagent-build", forBoth, []string{"read /var/lib/bootagent/home/secret"}, []string{"write app/new", "write app/app.py"})
	found.App.check(t, "app", "bootagent-app", forBoth, []string{"write app/new", "write app/app.py"}, []string{"read /var/lib/bootagent/home/secret"})
	if got := fmt.Sprint(found.Build["secrets"].Got); got != "[]" {
		t.Errorf("the build sees secrets: %s", got)
	}
	// The agent alone has asked for the instance's credentials.
	for _, call := range f.region.Calls(wire.Filter{Service: "imds"}) {
		if call.Status == http.StatusUnauthorized {
			t.Errorf("somebody without a token reached the metadata: %s at %s", call.Operation, call.Time)
		}
	}
	i.noDaemon(t)
	i.keepsTheSecret(t, password)
}

// check holds what was tried to what must fail and what must not.
func (a attempts) check(t *testing.T, who, user string, fail, failToo, succeed []string) {
	t.Helper()
	if got := a["user"].Got; got != user {
		t.Errorf("the %s runs as %v", who, got)
	}
	for _, what := range append(fail[:len(fail):len(fail)], failToo...) {
		if tried, ok := a[what]; !ok || tried.Error == "" {
			t.Errorf("the %s could %s: %v (tried: %v)", who, what, tried.Got, ok)
		}
	}
	for _, what := range succeed {
		if tried, ok := a[what]; !ok || tried.Error != "" {
			t.Errorf("the %s could not %s: %s (tried: %v)", who, what, tried.Error, ok)
		}
	}
}

// noDaemon says that nothing is left of what a build started.
func (i *instance) noDaemon(t *testing.T) {
	t.Helper()
	i.do("test", "-e", "/var/lib/bootagent/current/daemon-was-there")
	if left, err := i.Exec(t.Context(), "pgrep", "-af", "47114711"); err == nil {
		t.Errorf("a daemon of a build runs: %s", left)
	}
	if left, err := i.Exec(t.Context(), "pgrep", "-au", "bootagent-build"); err == nil {
		t.Errorf("processes of builds run: %s", left)
	}
}

// keepsTheSecret says that the app has the secret, and that it shows nowhere else.
func (i *instance) keepsTheSecret(t *testing.T, secret string) {
	t.Helper()
	var said struct{ Password string }
	if err := i.ask(i.web().port, "/password", &said); err != nil || said.Password != secret {
		t.Errorf("the app has %q (%v)", said.Password, err)
	}
	for _, look := range [][]string{
		{"systemctl", "show", "*"},
		{"ps", "-efww"},
		{"journalctl", "--no-pager", "--output=export"},
		{"bootagent", "status", "--json"},
	} {
		if out := i.do(look...); strings.Contains(out, secret) {
			t.Errorf("%s shows the secret", strings.Join(look, " "))
		}
	}
	const everywhere = `grep -rlaF "$1" /var/lib /run /etc /tmp /var/tmp /var/log /root /srv 2>/dev/null; true`
	if files := i.do("sh", "-c", everywhere, "look", secret); files != "" {
		t.Errorf("the secret is in %s", files)
	}
}

func TestAnAppWithARoleOfItsOwnGetsItsKeysAndNobodyElseDoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "role")
	f.release()
	f.launch()
	i := f.only()
	f.settled(i, 1)
	var keys struct{ AccessKeyID, SecretAccessKey, Token, RoleArn string }
	if err := i.ask(i.web().port, "/role", &keys); err != nil {
		t.Fatal(err)
	}
	client := sts.New(sts.Options{
		BaseEndpoint: aws.String(f.region.Endpoint()), Region: f.region.Name(),
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.Token),
	})
	who, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::123456789012:assumed-role/shop/" + i.id; aws.ToString(who.Arn) != want {
		t.Errorf("the app's keys are those of %s, not of %s", aws.ToString(who.Arn), want)
	}
	var found struct{ Build, App attempts }
	if err := i.ask(i.web().port, "/walls", &found); err != nil {
		t.Fatal(err)
	}
	found.App.check(t, "app", "bootagent-app", []string{"credentials by ipv4", "credentials by ipv6"}, nil, nil)

	// The agent may be restarted: the app goes on with what it was told.
	i.do("systemctl", "restart", "bootagent")
	f.until("in service again", func(ctx context.Context) error { return i.settled(ctx, 1) })
	if err := i.ask(i.web().port, "/role", &keys); err != nil {
		t.Errorf("after a restart of the agent: %v", err)
	}
	pid := fmt.Sprint(i.web().pid)
	file := i.do("sh", "-c", `tr '\0' '\n' </proc/"$1"/environ | sed -n s/^AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=//p`, "token", pid)
	for _, user := range []string{"bootagent-build", "nobody"} {
		if out, err := i.Exec(t.Context(), "setpriv", "--reuid="+user, "--clear-groups", "cat", file); err == nil {
			t.Errorf("%s can read the token in %s: %s", user, file, out)
		}
	}
}

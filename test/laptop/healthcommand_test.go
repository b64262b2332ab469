package laptop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/trial"
)

// variable gives the app a variable in Parameter Store, as somebody who runs it does.
func (l *lab) variable(name, value string) {
	l.t.Helper()
	client := ssm.New(ssm.Options{BaseEndpoint: aws.String(l.Region.Endpoint()), Region: l.Region.Name(), Credentials: person})
	_, err := client.PutParameter(l.t.Context(), &ssm.PutParameterInput{
		Name: aws.String("/bootagent/" + l.App + "/" + trial.Env + "/env/" + name), Value: &value, Type: types.ParameterTypeSecureString, Overwrite: aws.Bool(true),
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// checkedBy is the repository of the test's app with a health command.
func checkedBy(command string, flags ...string) map[string]string {
	return appWith(fmt.Sprintf("command: %q, deadline: 30s", command), flags...)
}

func TestAnAppIsCheckedByItsOwnCommandForAllItsLife(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *trial.Options) {
		o.UnhealthyGrace = time.Second
		o.Check = elbv2.HealthCheck{Path: "/"} // what is seen is the agent's doing
	})
	sick := filepath.Join(t.TempDir(), "sick")
	l.variable("TOKEN", "hunter2-hunter2")
	// It sees what the app sees, the secret and the port included, in the release's directory.
	l.put(l.branch("first", checkedBy(fmt.Sprintf(
		`test "$TOKEN" = hunter2-hunter2 && test "$BOOTAGENT_RELEASE" = 1 && test -x bin/app && test "$PORT" -gt 0 || exit 9; `+
			`test ! -e %s || { echo "the queue of $TOKEN is stuck"; exit 4; }`, sick))))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)

	for _, c := range []struct {
		command string
		says    []string
	}{
		{"echo no table carts for $TOKEN; exit 3", []string{"not healthy after", `the health command exited with code 3: "no table carts for [TOKEN]"`}},
		{"echo waiting; sleep 3600", []string{`the health command timed out after 1s: "waiting"`}},
		{"", []string{`can't be executed`, `no-such-check`}},
	} {
		texts := appWith(fmt.Sprintf("command: %q, deadline: 5s, timeout: 1s", c.command))
		if c.command == "" {
			texts = appWith("command: [no-such-check], deadline: 1h") // it is not waited for
		}
		number := l.put(l.branch(fmt.Sprintf("bad%d", len(c.command)), texts))
		l.wait("reverted", serving(1), state("reverted"), failure(number, c.says...))
	}
	if after := l.theProcess(i); after != before {
		t.Errorf("the old release was restarted: %v, then %v", before, after)
	}

	if err := os.WriteFile(sick, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l.wait("said so", problem("fails its checks", `the health command exited with code 4: "the queue of [TOKEN] is stuck"`))
	l.until("stopped", func() error {
		running, err := l.processes(i)
		for _, p := range running {
			if p.pid == before.pid {
				return fmt.Errorf("%v still runs", running)
			}
		}
		return err
	})
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	l.until("in service with a new process", func() error { return l.settled(i, 1) })
	if l.log.contains("hunter2") {
		t.Error("the log shows the secret")
	}
}

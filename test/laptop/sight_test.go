package laptop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/trial"
)

// What can be seen of a fleet without asking its agents: processes, files,
// targets, the label. The helpers give errors, for use within until and try.

// settled says what is not yet as it must be when an instance serves a
// release and nothing else: in the agent's words, in the processes and the
// files of the machine, in the balancer, in the Auto Scaling group.
func (l *lab) settled(i *trial.Instance, release int64) error {
	status, err := l.look(i, serving(release))
	if err != nil {
		return err
	}
	running, err := l.processes(i)
	if err != nil {
		return err
	}
	if len(running) != 1 || running[0].release != release {
		return fmt.Errorf("%s: these processes of the app run, and one of release %d should: %v", i.ID, release, running)
	}
	records, err := filepath.Glob(filepath.Join(filepath.Dir(i.Socket), "units", "units", "*.json"))
	if want := fmt.Sprintf("-%d-web.json", release); err != nil || len(records) != 1 || !strings.HasSuffix(records[0], want) {
		return fmt.Errorf("%s: these units are remembered, and one of release %d should be: %v (%v)", i.ID, release, records, err)
	}
	current, err := os.Readlink(filepath.Join(stateOf(i), "current"))
	if want := fmt.Sprintf("releases/%d/app", release); current != want {
		return fmt.Errorf("%s: current is %q, not %q (%v)", i.ID, current, want, err)
	}
	targets, err := l.targets(i)
	if err != nil {
		return err
	}
	if len(targets) != 1 || targets[status.Port] != types.TargetHealthStateEnumHealthy {
		return fmt.Errorf("%s: these ports are registered, and %d alone should be, and healthy: %v", i.ID, status.Port, targets)
	}
	if lifecycle, _, _ := l.Groups.Lifecycle(i.ID); lifecycle != model.LifecycleInService {
		return fmt.Errorf("%s: Auto Scaling has it as %s", i.ID, lifecycle)
	}
	return nil
}

// stable: the release is in service, and the fleet has kept it through its bake. A release that is put before that supersedes it.
func (l *lab) stable(i *trial.Instance, release int64) error {
	if err := l.settled(i, release); err != nil {
		return err
	}
	return l.labelled(release)
}

// labelled says whether the parameter's label stable names that release.
func (l *lab) labelled(release int64) error {
	client := ssm.New(ssm.Options{BaseEndpoint: aws.String(l.Region.Endpoint()), Region: l.Region.Name(), Credentials: person})
	out, err := client.GetParameter(l.t.Context(), &ssm.GetParameterInput{Name: aws.String(l.Parameter() + ":stable")})
	if err != nil {
		return err
	}
	if out.Parameter.Version != release {
		return fmt.Errorf("the label stable is on version %d, not %d", out.Parameter.Version, release)
	}
	return nil
}

// person has keys that are no instance's.
var person = credentials.NewStaticCredentialsProvider("AKIALAPTOPTEST", "secret", "")

// targets gives the state of the instance's targets by port. Those that are being deregistered are left out: they
// go when their delay is over.
func (l *lab) targets(i *trial.Instance) (map[int]types.TargetHealthStateEnum, error) {
	client := elasticloadbalancingv2.New(elasticloadbalancingv2.Options{
		BaseEndpoint: aws.String(l.Region.Endpoint()), Region: l.Region.Name(), Credentials: person,
	})
	out, err := client.DescribeTargetHealth(l.t.Context(), &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &l.TargetGroup})
	if err != nil {
		return nil, err
	}
	targets := map[int]types.TargetHealthStateEnum{}
	for _, d := range out.TargetHealthDescriptions {
		if *d.Target.Id == i.ID && d.TargetHealth.State != types.TargetHealthStateEnumDraining {
			targets[int(*d.Target.Port)] = d.TargetHealth.State
		}
	}
	return targets, nil
}

// process is a process of the app, or of its build.
type process struct {
	pid     int
	release int64
	port    int
}

// processes finds the processes on an instance's machine that belong to a release: those that were told so.
func (l *lab) processes(i *trial.Instance) ([]process, error) {
	m, ok := l.Machines.Machine(i.ID)
	if !ok {
		return nil, fmt.Errorf("the machine of %s does not run", i.ID)
	}
	pids, err := m.PIDs()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, pid := range pids {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue // it has just ended
		}
		p := process{pid: pid}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			switch name { // a variable that is no number leaves 0
			case "BOOTAGENT_RELEASE":
				p.release, _ = strconv.ParseInt(value, 10, 64)
			case "PORT":
				p.port, _ = strconv.Atoi(value)
			}
		}
		if p.release != 0 {
			found = append(found, p)
		}
	}
	return found, nil
}

// theProcess gives the one process of the app that runs on an instance.
func (l *lab) theProcess(i *trial.Instance) process {
	l.t.Helper()
	found, err := l.processes(i)
	if err != nil || len(found) != 1 {
		l.t.Fatalf("one process of the app should run on %s: %v (%v)", i.ID, found, err)
	}
	return found[0]
}

// stateOf is an instance's state directory.
func stateOf(i *trial.Instance) string {
	return filepath.Join(filepath.Dir(filepath.Dir(i.Socket)), "state")
}

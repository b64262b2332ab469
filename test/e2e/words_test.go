package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/test/traffic"
)

// person has keys that are no instance's.
var person = credentials.NewStaticCredentialsProvider("AKIALAPTOPTEST", "secret", "")

func (f *fleet) parameters() *ssm.Client {
	return ssm.New(ssm.Options{BaseEndpoint: aws.String(f.region.Endpoint()), Region: f.region.Name(), Credentials: person})
}

// put puts a parameter.
func (f *fleet) put(name, value string, kind ssmtypes.ParameterType) int64 {
	f.t.Helper()
	out, err := f.parameters().PutParameter(f.t.Context(), &ssm.PutParameterInput{
		Name: &name, Value: &value, Type: kind, Overwrite: aws.Bool(true),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.Version
}

// release commits the case's next commit, asks for it, and gives the release's number.
func (f *fleet) release(more ...map[string]gittest.File) int64 {
	f.t.Helper()
	n := f.commit(more...)
	return f.put(parameter, f.commits[n-1], ssmtypes.ParameterTypeString)
}

// only gives the fleet's one instance, which it waits for.
func (f *fleet) only() *instance {
	f.t.Helper()
	var only *instance
	f.until("exactly one instance", func(context.Context) error {
		all := f.running()
		if len(all) != 1 {
			return fmt.Errorf("there are %d", len(all))
		}
		only = all[0]
		return nil
	})
	return only
}

// settled waits until an instance serves a release and nothing else, and until it is reached through the balancer where it is the only one.
func (f *fleet) settled(i *instance, release int64) {
	f.t.Helper()
	began := time.Now()
	defer func() {
		f.t.Logf("%s settled on release %d after %s", i.id, release, time.Since(began).Round(100*time.Millisecond))
	}()
	f.until(fmt.Sprintf("in service on release %d", release), func(ctx context.Context) error { return i.settled(ctx, release) })
	if f.options.instances == 1 {
		f.until("reached through the balancer", func(context.Context) error { return traffic.Answers(f.url(), strconv.FormatInt(release, 10)) })
	}
}

// stable waits until an instance is settled on a release that the fleet has kept through its bake. One that is put before that supersedes it.
func (f *fleet) stable(i *instance, release int64) {
	f.t.Helper()
	f.settled(i, release)
	f.until(fmt.Sprintf("release %d is stable", release), func(ctx context.Context) error {
		out, err := f.parameters().GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(parameter + ":stable")})
		if err == nil && out.Parameter.Version != release {
			err = fmt.Errorf("release %d is", out.Parameter.Version)
		}
		return err
	})
}

// settled says what is not yet as it must be when an instance serves a release and nothing else: in the agent's words, in the
// processes and the units of the machine, in the balancer, in the Auto Scaling group.
func (i *instance) settled(ctx context.Context, release int64) error {
	s, err := i.status(ctx)
	if err != nil {
		return err
	}
	if s.InService.Number != release || s.Group.Lifecycle != model.LifecycleInService || len(s.Doing) > 0 || !s.Deploying.IsZero() {
		s.Timeline = nil
		text, _ := json.MarshalIndent(s, "  ", "  ") // a status came as JSON
		return fmt.Errorf("%s: its status is\n  %s", i.id, text)
	}
	running, err := i.processes(ctx)
	if err != nil {
		return err
	}
	if len(running) == 0 || slices.ContainsFunc(running, func(p process) bool { return p.release != release || p.port != s.Port }) {
		return fmt.Errorf("%s: these processes of the app run, and those of release %d on port %d alone should: %v", i.id, release, s.Port, running)
	}
	units, err := i.units(ctx)
	if err != nil {
		return err
	}
	for _, unit := range units {
		if !strings.HasPrefix(unit, fmt.Sprintf("bootagent-shop-%d-", release)) {
			return fmt.Errorf("%s: these units are there, and those of release %d alone should be: %v", i.id, release, units)
		}
	}
	targets, err := i.targets(ctx)
	if err != nil {
		return err
	}
	if len(targets) != 1 || targets[s.Port] != types.TargetHealthStateEnumHealthy {
		return fmt.Errorf("%s: these ports are registered, and %d alone should be, and healthy: %v", i.id, s.Port, targets)
	}
	if lifecycle, _, _ := i.f.groups.Lifecycle(i.id); lifecycle != model.LifecycleInService {
		return fmt.Errorf("%s: Auto Scaling has it as %s", i.id, lifecycle)
	}
	return nil
}

// units are those that the agent has started.
func (i *instance) units(ctx context.Context) ([]string, error) {
	out, err := i.Exec(ctx, "systemctl", "list-units", "--all", "--plain", "--no-legend", "bootagent-*.service")
	var units []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 {
			units = append(units, fields[0])
		}
	}
	return units, err
}

// targets gives the state of the instance's targets by port. Those that are being deregistered are left out: they go
// when their delay is over.
func (i *instance) targets(ctx context.Context) (map[int]types.TargetHealthStateEnum, error) {
	f := i.f
	client := elasticloadbalancingv2.New(elasticloadbalancingv2.Options{
		BaseEndpoint: aws.String(f.region.Endpoint()), Region: f.region.Name(), Credentials: person,
	})
	out, err := client.DescribeTargetHealth(ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &f.target})
	if err != nil {
		return nil, err
	}
	targets := map[int]types.TargetHealthStateEnum{}
	for _, d := range out.TargetHealthDescriptions {
		if *d.Target.Id == i.id && d.TargetHealth.State != types.TargetHealthStateEnumDraining {
			targets[int(*d.Target.Port)] = d.TargetHealth.State
		}
	}
	return targets, nil
}

// ask asks the app on a port of the instance, past the balancer, and decodes its answer.
func (i *instance) ask(port int, path string, into any) error {
	answer, err := traffic.Client().Get("http://" + net.JoinHostPort(i.Address.String(), strconv.Itoa(port)) + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	return err
}

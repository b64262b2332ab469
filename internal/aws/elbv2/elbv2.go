// Package elbv2 puts this instance's ports into target groups and out of them
// again, and asks what the balancer thinks of them, and of all others.
package elbv2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// Balancer is the target groups of the configuration.
type Balancer struct {
	session *session.Session
	client  *sdk.Client
	groups  []string

	mu    sync.Mutex
	known map[string]place // the groups that are configured by name, once they were found
}

// place is what a target group was found to be.
type place struct {
	arn      string
	balancer string // the ARN of the load balancer that uses it; "" where none does
}

// New makes the adapter for these target groups, named by ARN or by name; it asks nothing yet.
func New(s *session.Session, groups []string) *Balancer {
	return &Balancer{session: s, client: sdk.NewFromConfig(s.Config), groups: slices.Clone(groups), known: map[string]place{}}
}

// Groups describes the target groups, in the order they were configured. One that
// does not exist, or whose target type is not instance, is model.ErrConfiguration.
func (b *Balancer) Groups(ctx context.Context) ([]model.TargetGroup, error) {
	out := make([]model.TargetGroup, len(b.groups))
	var errs []error
	for i, group := range b.groups {
		found, err := b.describe(ctx, group)
		errs = append(errs, err)
		out[i] = found
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// Health gives the state of these ports of the instance in every group: groups in the order they
// were configured, ports as given. A port that is not registered is TargetUnused, with the
// reason Target.NotRegistered; Target.NotInUse says that no listener uses the group.
func (b *Balancer) Health(ctx context.Context, instanceID string, ports []int) ([]model.TargetHealth, error) {
	if len(ports) == 0 {
		return nil, nil // AWS would describe the targets of the whole fleet
	}
	targets, err := descriptions(instanceID, ports...)
	if err != nil {
		return nil, err
	}
	var out []model.TargetHealth
	err = b.each(ctx, func(group, arn string) error {
		answer, err := session.Do(ctx, b.session, call("DescribeTargetHealth", group),
			func(ctx context.Context) (*sdk.DescribeTargetHealthOutput, error) {
				return b.client.DescribeTargetHealth(ctx, &sdk.DescribeTargetHealthInput{TargetGroupArn: &arn, Targets: targets})
			})
		if err != nil {
			return b.explain(err, group, instanceID, ports)
		}
		for _, port := range ports {
			out = append(out, health(answer.TargetHealthDescriptions, model.Target{Group: arn, InstanceID: instanceID, Port: port}))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Targets gives every target of every group, in the order the groups were configured, with one request a group. A target
// that drains is among them; one that is not registered (any more) is not. A target has its own port: an instance
// may stand in a group with several.
func (b *Balancer) Targets(ctx context.Context) ([]model.TargetHealth, error) {
	var out []model.TargetHealth
	err := b.each(ctx, func(group, arn string) error {
		answer, err := session.Do(ctx, b.session, call("DescribeTargetHealth", group),
			func(ctx context.Context) (*sdk.DescribeTargetHealthOutput, error) {
				return b.client.DescribeTargetHealth(ctx, &sdk.DescribeTargetHealthInput{TargetGroupArn: &arn})
			})
		if err != nil {
			return b.explain(err, group, "", nil)
		}
		for _, d := range answer.TargetHealthDescriptions {
			if d.Target == nil || d.TargetHealth == nil {
				continue
			}
			out = append(out, stateOf(d, model.Target{Group: arn, InstanceID: aws.ToString(d.Target.Id), Port: int(aws.ToInt32(d.Target.Port))}))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func health(all []types.TargetHealthDescription, t model.Target) model.TargetHealth {
	for _, d := range all {
		if d.Target == nil || d.TargetHealth == nil ||
			aws.ToString(d.Target.Id) != t.InstanceID || int(aws.ToInt32(d.Target.Port)) != t.Port {
			continue
		}
		return stateOf(d, t)
	}
	return model.TargetHealth{Target: t, State: model.TargetUnused, Reason: string(types.TargetHealthReasonEnumNotRegistered)}
}

func stateOf(d types.TargetHealthDescription, t model.Target) model.TargetHealth {
	return model.TargetHealth{Target: t, State: model.TargetState(d.TargetHealth.State),
		Reason: string(d.TargetHealth.Reason), Description: aws.ToString(d.TargetHealth.Description)}
}

// Register puts (instance, port) into every group. A group that has it already stays as it is. It goes on
// with the others when one fails, and returns all errors.
func (b *Balancer) Register(ctx context.Context, instanceID string, port int) error {
	targets, err := descriptions(instanceID, port)
	if err != nil {
		return err
	}
	return b.each(ctx, func(group, arn string) error {
		_, err := session.Do(ctx, b.session, call("RegisterTargets", group),
			func(ctx context.Context) (*sdk.RegisterTargetsOutput, error) {
				return b.client.RegisterTargets(ctx, &sdk.RegisterTargetsInput{TargetGroupArn: &arn, Targets: targets})
			})
		return b.explain(err, group, instanceID, []int{port})
	})
}

// Deregister takes (instance, port) out of every group, otherwise like Register. That it is not there is no error.
func (b *Balancer) Deregister(ctx context.Context, instanceID string, port int) error {
	targets, err := descriptions(instanceID, port)
	if err != nil {
		return err
	}
	return b.each(ctx, func(group, arn string) error {
		_, err := session.Do(ctx, b.session, call("DeregisterTargets", group),
			func(ctx context.Context) (*sdk.DeregisterTargetsOutput, error) {
				return b.client.DeregisterTargets(ctx, &sdk.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: targets})
			})
		return b.explain(err, group, instanceID, []int{port})
	})
}

// each acts on every group, whatever happens with the others.
func (b *Balancer) each(ctx context.Context, act func(group, arn string) error) error {
	var errs []error
	for _, group := range b.groups {
		arn, err := b.arn(ctx, group)
		if err == nil {
			err = act(group, arn)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// descriptions names targets as AWS does. A target without a port would be the group's default port.
func descriptions(instanceID string, ports ...int) ([]types.TargetDescription, error) {
	out := make([]types.TargetDescription, len(ports))
	for i, port := range ports {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("%s:%d can't be a target: ports are 1 to 65535", instanceID, port)
		}
		out[i] = types.TargetDescription{Id: &instanceID, Port: aws.Int32(int32(port))}
	}
	return out, nil
}

// explain adds what session can't know. It forgets the ARN of a group that is gone: one
// that was made anew under the same name has another.
func (b *Balancer) explain(err error, group, instanceID string, ports []int) error {
	var missing *types.TargetGroupNotFoundException
	var invalid *types.InvalidTargetException
	var tooMany *types.TooManyTargetsException
	named := strings.Trim(fmt.Sprint(ports), "[]")
	switch {
	case errors.As(err, &missing):
		b.mu.Lock()
		delete(b.known, group)
		b.mu.Unlock()
		return b.missing(err, group)
	case errors.As(err, &invalid):
		return &session.Error{Kind: session.Refused, Err: err, Sentence: fmt.Sprintf(
			"target group %s refuses %s:%s (%s): the instance must be running, and in the target group's VPC",
			group, instanceID, named, invalid.ErrorMessage())}
	case errors.As(err, &tooMany):
		return full(err, group, instanceID, named)
	}
	return err
}

func (b *Balancer) missing(err error, group string) error {
	return &session.Error{Kind: session.Configuration, Err: err, Sentence: fmt.Sprintf(
		"there is no target group %s in %s: make it, with target type instance, or correct balancer.target_groups",
		group, b.session.Config.Region)}
}

func call(operation, group string) session.Call {
	return session.Call{Action: "elasticloadbalancing:" + operation, Resource: "target group " + group}
}

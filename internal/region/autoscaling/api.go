package autoscaling

import (
	"context"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name and Namespace are what the service is handled under by a wire.Server.
const (
	Name      = "autoscaling"
	Namespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
)

var _ wire.Handler = (*Service)(nil)

// operation is one operation of the API: the parameters it takes, lists and structures without what follows the dot.
// One with a star behind it is required.
type operation struct {
	parameters string
	serve      func(s *Service, form url.Values) (any, error)
}

const paging = " MaxRecords NextToken"

// operations are all that there are. A parameter that is not named here is refused: it would silently do nothing.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Operations.html
var operations = map[string]operation{
	"CreateAutoScalingGroup": {"AutoScalingGroupName* MinSize* MaxSize* DesiredCapacity DesiredCapacityType LifecycleHookSpecificationList " +
		"TargetGroupARNs TrafficSources HealthCheckType HealthCheckGracePeriod LaunchTemplate LaunchConfigurationName MixedInstancesPolicy Tags " +
		"AvailabilityZones VPCZoneIdentifier DefaultCooldown DefaultInstanceWarmup NewInstancesProtectedFromScaleIn " +
		"TerminationPolicies ServiceLinkedRoleARN", (*Service).createAutoScalingGroup},
	"UpdateAutoScalingGroup": {"AutoScalingGroupName* MinSize MaxSize DesiredCapacity DesiredCapacityType HealthCheckType HealthCheckGracePeriod " +
		"LaunchTemplate LaunchConfigurationName MixedInstancesPolicy AvailabilityZones VPCZoneIdentifier DefaultCooldown " +
		"DefaultInstanceWarmup NewInstancesProtectedFromScaleIn TerminationPolicies ServiceLinkedRoleARN", (*Service).updateAutoScalingGroup},
	"DeleteAutoScalingGroup":              {"AutoScalingGroupName* ForceDelete", (*Service).deleteAutoScalingGroup},
	"DescribeAutoScalingGroups":           {"AutoScalingGroupNames Filters IncludeInstances" + paging, (*Service).describeAutoScalingGroups},
	"DescribeAutoScalingInstances":        {"InstanceIds" + paging, (*Service).describeAutoScalingInstances},
	"SetDesiredCapacity":                  {"AutoScalingGroupName* DesiredCapacity* HonorCooldown", (*Service).setDesiredCapacity},
	"TerminateInstanceInAutoScalingGroup": {"InstanceId* ShouldDecrementDesiredCapacity*", (*Service).terminateInstance},
	"SetInstanceHealth":                   {"InstanceId* HealthStatus* ShouldRespectGracePeriod", (*Service).setInstanceHealth},
	"SetInstanceProtection":               {"AutoScalingGroupName* InstanceIds* ProtectedFromScaleIn*", (*Service).setInstanceProtection},
	"EnterStandby":                        {"AutoScalingGroupName* InstanceIds ShouldDecrementDesiredCapacity*", (*Service).enterStandby},
	"ExitStandby":                         {"AutoScalingGroupName* InstanceIds", (*Service).exitStandby},
	"SuspendProcesses":                    {"AutoScalingGroupName* ScalingProcesses", (*Service).suspendProcesses},
	"ResumeProcesses":                     {"AutoScalingGroupName* ScalingProcesses", (*Service).resumeProcesses},
	"DescribeScalingActivities": {"AutoScalingGroupName ActivityIds IncludeDeletedGroups Filters" + paging,
		(*Service).describeScalingActivities},

	"PutLifecycleHook": {"AutoScalingGroupName* LifecycleHookName* LifecycleTransition HeartbeatTimeout DefaultResult " +
		"NotificationMetadata NotificationTargetARN RoleARN", (*Service).putLifecycleHook},
	"DescribeLifecycleHooks": {"AutoScalingGroupName* LifecycleHookNames", (*Service).describeLifecycleHooks},
	"DeleteLifecycleHook":    {"AutoScalingGroupName* LifecycleHookName*", (*Service).deleteLifecycleHook},
	"CompleteLifecycleAction": {"AutoScalingGroupName* LifecycleHookName* LifecycleActionResult* LifecycleActionToken InstanceId",
		(*Service).completeLifecycleAction},
	"RecordLifecycleActionHeartbeat": {"AutoScalingGroupName* LifecycleHookName* LifecycleActionToken InstanceId",
		(*Service).recordLifecycleActionHeartbeat},

	"AttachLoadBalancerTargetGroups":   {"AutoScalingGroupName* TargetGroupARNs*", (*Service).attachTargetGroups},
	"DetachLoadBalancerTargetGroups":   {"AutoScalingGroupName* TargetGroupARNs*", (*Service).detachTargetGroups},
	"DescribeLoadBalancerTargetGroups": {"AutoScalingGroupName*" + paging, (*Service).describeTargetGroups},
	"AttachTrafficSources":             {"AutoScalingGroupName* TrafficSources*", (*Service).attachTrafficSources},
	"DetachTrafficSources":             {"AutoScalingGroupName* TrafficSources*", (*Service).detachTrafficSources},
	"DescribeTrafficSources":           {"AutoScalingGroupName* TrafficSourceType" + paging, (*Service).describeTrafficSources},

	"CreateLaunchConfiguration": {"LaunchConfigurationName* ImageId* InstanceType* UserData KeyName IamInstanceProfile SecurityGroups",
		(*Service).createLaunchConfiguration},
	"DescribeLaunchConfigurations": {"LaunchConfigurationNames" + paging, (*Service).describeLaunchConfigurations},
	"DeleteLaunchConfiguration":    {"LaunchConfigurationName*", (*Service).deleteLaunchConfiguration},
}

// Serve serves one call of the API.
func (s *Service) Serve(_ context.Context, call wire.Call) (any, error) {
	op, ok := operations[call.Operation]
	if !ok {
		return nil, wire.Errorf("InvalidAction", "Could not find operation %s for version 2011-01-01", call.Operation)
	}
	if err := check(call.Operation, op.parameters, call.Form); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, &wire.Error{Code: "ServiceUnavailable", Message: "Auto Scaling is being shut down", Status: 503}
	}
	answer, err := op.serve(s, call.Form) // under the lock: a call is one change, and none of them waits
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.wake()
	return answer, nil
}

// check refuses a call with a parameter that the operation does not take, or without one that it needs.
func check(name, parameters string, form url.Values) error {
	given := map[string]bool{"Action": true, "Version": true}
	for key, values := range form {
		field, _, _ := strings.Cut(key, ".")
		given[field] = given[field] || len(values) > 0 && values[0] != ""
	}
	taken := map[string]bool{"Action": true, "Version": true}
	for _, p := range strings.Fields(parameters) {
		p, required := strings.CutSuffix(p, "*")
		taken[p] = true
		if required && !given[p] {
			return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null",
				strings.ToLower(p[:1])+p[1:])
		}
	}
	for field, set := range given {
		if set && !taken[field] {
			return invalid("This region on a laptop does not implement the parameter %s of %s", field, name)
		}
	}
	return nil
}

// invalid makes the error that Auto Scaling has for everything that is wrong with a request.
func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

// named gives the group that a call names.
func (s *Service) named(form url.Values) (*group, error) {
	name := form.Get("AutoScalingGroupName")
	g := s.groups[name]
	if g == nil {
		return nil, invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
	}
	return g, nil
}

// changeable gives the group that a call names and wants to change.
func (s *Service) changeable(form url.Values) (*group, error) {
	g, err := s.named(form)
	if err == nil && g.deleting {
		return nil, invalid("AutoScalingGroup %s is pending delete and can't be changed", g.Name)
	}
	return g, err
}

// page cuts one page out of a list. The token names the last element of the page before it.
func page[T any](form url.Values, list []T, key func(T) string, standard, limit int) ([]T, string, error) {
	size, given, err := wire.Int(form, "MaxRecords")
	switch {
	case err != nil:
		return nil, "", err
	case !given:
		size = standard
	case size < 1 || size > limit:
		return nil, "", invalid("The specified value (%d) for MaxRecords must be between 1 and %d", size, limit)
	}
	if token := form.Get("NextToken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		n := slices.IndexFunc(list, func(t T) bool { return key(t) == string(last) })
		if err != nil || n < 0 {
			return nil, "", wire.Errorf("InvalidNextToken", "The token '%s' is invalid.", token)
		}
		list = list[n+1:]
	}
	if len(list) <= size {
		return list, "", nil
	}
	return list[:size], base64.RawURLEncoding.EncodeToString([]byte(key(list[size-1]))), nil
}

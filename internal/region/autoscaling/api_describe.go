package autoscaling

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// groupAnswer is the structure AutoScalingGroup.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingGroup.html
type groupAnswer struct {
	AutoScalingGroupName             string
	AutoScalingGroupARN              string
	LaunchConfigurationName          string          `xml:",omitempty"`
	LaunchTemplate                   *LaunchTemplate `xml:",omitempty"`
	MixedInstancesPolicy             *mixedAnswer    `xml:",omitempty"`
	MinSize                          int
	MaxSize                          int
	DesiredCapacity                  int
	DefaultCooldown                  int
	AvailabilityZones                wire.Members[string]
	LoadBalancerNames                wire.Members[string]
	TargetGroupARNs                  wire.Members[string]
	HealthCheckType                  string
	HealthCheckGracePeriod           int
	Instances                        wire.Members[instanceAnswer]
	CreatedTime                      wire.Time
	SuspendedProcesses               wire.Members[suspendedAnswer]
	VPCZoneIdentifier                string
	EnabledMetrics                   wire.Members[string]
	Status                           string `xml:",omitempty"`
	Tags                             wire.Members[tagAnswer]
	TerminationPolicies              wire.Members[string]
	NewInstancesProtectedFromScaleIn bool
	CapacityRebalance                bool
	DefaultInstanceWarmup            *int `xml:",omitempty"`
	TrafficSources                   wire.Members[sourceAnswer]
}

type mixedAnswer struct {
	LaunchTemplate struct {
		LaunchTemplateSpecification *LaunchTemplate
	}
}

// instanceAnswer is the structure Instance, and with its group's name AutoScalingInstanceDetails.
type instanceAnswer struct {
	InstanceId              string // the element's name is AWS's
	AutoScalingGroupName    string `xml:",omitempty"`
	AvailabilityZone        string
	LifecycleState          string
	HealthStatus            string
	LaunchConfigurationName string          `xml:",omitempty"`
	LaunchTemplate          *LaunchTemplate `xml:",omitempty"`
	ProtectedFromScaleIn    bool
}

type suspendedAnswer struct{ ProcessName, SuspensionReason string }

type sourceAnswer struct{ Identifier, Type string }

type tagAnswer struct {
	ResourceId, ResourceType, Key, Value string // the element's name is AWS's
	PropagateAtLaunch                    bool
}

// activityAnswer is the structure Activity.
type activityAnswer struct {
	ActivityId            string // the element's name is AWS's
	AutoScalingGroupName  string
	AutoScalingGroupARN   string
	AutoScalingGroupState string `xml:",omitempty"`
	Description           string
	Cause                 string
	StartTime             wire.Time
	EndTime               wire.Time
	StatusCode            string
	StatusMessage         string `xml:",omitempty"`
	Progress              int
	Details               string
}

func (g *group) answer(instances bool, now time.Time) groupAnswer {
	a := groupAnswer{
		AutoScalingGroupName: g.Name, AutoScalingGroupARN: g.arn, LaunchConfigurationName: g.LaunchConfiguration,
		MinSize: g.Min, MaxSize: g.Max, DesiredCapacity: g.Desired, DefaultCooldown: seconds(g.Cooldown),
		AvailabilityZones: wire.ListOf(g.Zones...), HealthCheckType: g.HealthCheckType, HealthCheckGracePeriod: seconds(g.GracePeriod),
		CreatedTime: wire.Time(g.created), VPCZoneIdentifier: g.Subnets, TerminationPolicies: wire.ListOf(g.TerminationPolicies...),
		NewInstancesProtectedFromScaleIn: g.Protected,
	}
	if g.Mixed {
		a.MixedInstancesPolicy = &mixedAnswer{}
		a.MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification = g.LaunchTemplate
	} else {
		a.LaunchTemplate = g.LaunchTemplate
	}
	if g.Warmup != nil {
		warmup := seconds(*g.Warmup)
		a.DefaultInstanceWarmup = &warmup
	}
	if g.deleting {
		a.Status = "Delete in progress"
	}
	for _, t := range g.attachments {
		if !t.source && !t.removing {
			a.TargetGroupARNs.Member = append(a.TargetGroupARNs.Member, t.arn)
		}
		if !t.removing {
			a.TrafficSources.Member = append(a.TrafficSources.Member, sourceAnswer{t.arn, trafficType})
		}
	}
	for _, p := range processes {
		if why, ok := g.suspended[p]; ok {
			a.SuspendedProcesses.Member = append(a.SuspendedProcesses.Member, suspendedAnswer{p, why})
		}
	}
	for _, t := range g.Tags {
		a.Tags.Member = append(a.Tags.Member, tagAnswer{g.Name, "auto-scaling-group", t.Key, t.Value, t.Propagate})
	}
	if instances {
		for _, i := range g.instances {
			a.Instances.Member = append(a.Instances.Member, g.answerInstance(i, "", now))
		}
	}
	return a
}

func (g *group) answerInstance(i *instance, group string, now time.Time) instanceAnswer {
	health := "Healthy"
	if g.unhealthy(i, now) != "" {
		health = "Unhealthy"
	}
	if group != "" {
		health = strings.ToUpper(health) // as DescribeAutoScalingInstances has it, and only that
	}
	return instanceAnswer{InstanceId: i.ID, AutoScalingGroupName: group, AvailabilityZone: i.Zone, LifecycleState: string(i.state),
		HealthStatus: health, LaunchConfigurationName: i.config, LaunchTemplate: i.template, ProtectedFromScaleIn: i.protected}
}

func (s *Service) describeAutoScalingGroups(form url.Values) (any, error) {
	wanted := wire.List(form, "AutoScalingGroupNames")
	instances, given, err := wire.Bool(form, "IncludeInstances")
	if err != nil {
		return nil, err
	}
	var all []*group
	for _, name := range s.names() {
		if len(wanted) > 0 && !slices.Contains(wanted, name) {
			continue // a name that does not exist is left out, and no error
		}
		if match, err := s.groups[name].matches(wire.Structs(form, "Filters")); err != nil {
			return nil, err
		} else if match {
			all = append(all, s.groups[name])
		}
	}
	list, token, err := page(form, all, func(g *group) string { return g.Name }, 50, 100)
	var answer struct {
		AutoScalingGroups wire.Members[groupAnswer]
		NextToken         string `xml:",omitempty"`
	}
	for _, g := range list {
		answer.AutoScalingGroups.Member = append(answer.AutoScalingGroups.Member, g.answer(instances || !given, time.Now()))
	}
	answer.NextToken = token
	return answer, err
}

// matches says whether the group's tags pass all filters.
func (g *group) matches(filters []url.Values) (bool, error) {
	for _, f := range filters {
		name, values := f.Get("Name"), wire.List(f, "Values")
		key, byKey := strings.CutPrefix(name, "tag:")
		if !byKey && name != "tag-key" && name != "tag-value" {
			return false, invalid("Filter type %s is not correct. Allowed Filter types are: tag-key tag-value tag:<key>", name)
		}
		if !slices.ContainsFunc(g.Tags, func(t Tag) bool {
			if byKey {
				return t.Key == key && slices.Contains(values, t.Value)
			}
			return name == "tag-key" && slices.Contains(values, t.Key) || name == "tag-value" && slices.Contains(values, t.Value)
		}) {
			return false, nil
		}
	}
	return true, nil
}

func (s *Service) describeAutoScalingInstances(form url.Values) (any, error) {
	wanted := wire.List(form, "InstanceIds")
	if len(wanted) > 50 {
		return nil, invalid("InstanceIds takes at most 50, these are %d", len(wanted))
	}
	var all []instanceAnswer
	for _, name := range s.names() {
		for _, i := range s.groups[name].instances {
			if len(wanted) == 0 || slices.Contains(wanted, i.ID) {
				all = append(all, s.groups[name].answerInstance(i, name, time.Now()))
			}
		}
	}
	list, token, err := page(form, all, func(i instanceAnswer) string { return i.InstanceId }, 50, 50)
	return struct {
		AutoScalingInstances wire.Members[instanceAnswer]
		NextToken            string `xml:",omitempty"`
	}{wire.ListOf(list...), token}, err
}

func (a *activity) answer() activityAnswer {
	// Two strings can't fail to marshal.
	details, _ := json.Marshal(map[string]string{"Availability Zone": a.zone})
	out := activityAnswer{
		ActivityId: a.id, AutoScalingGroupName: a.group, AutoScalingGroupARN: a.arn, Description: a.description, Cause: a.cause,
		StartTime: wire.Time(a.start), EndTime: wire.Time(a.end), StatusCode: a.status, StatusMessage: a.message,
		Progress: a.progress(), Details: string(details),
	}
	if a.deleted {
		out.AutoScalingGroupState = "Deleted"
	}
	return out
}

func (s *Service) describeScalingActivities(form url.Values) (any, error) {
	all, err := s.history(form)
	if err != nil {
		return nil, err
	}
	if all, err = filterActivities(all, wire.Structs(form, "Filters")); err != nil {
		return nil, err
	}
	if ids := wire.List(form, "ActivityIds"); len(ids) > 0 {
		all = slices.DeleteFunc(all, func(a *activity) bool { return !slices.Contains(ids, a.id) })
	}
	// Newest first; those of one moment in the order they began, which a stable sort keeps.
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b *activity) int { return b.start.Compare(a.start) })
	list, token, err := page(form, all, func(a *activity) string { return a.id }, 100, 100)
	var answer struct {
		Activities wire.Members[activityAnswer]
		NextToken  string `xml:",omitempty"`
	}
	for _, a := range list {
		answer.Activities.Member = append(answer.Activities.Member, a.answer())
	}
	answer.NextToken = token
	return answer, err
}

// history lists the activities that a call is about: of one group or all, of deleted ones too if it says so.
func (s *Service) history(form url.Values) ([]*activity, error) {
	deleted, _, err := wire.Bool(form, "IncludeDeletedGroups")
	if err != nil {
		return nil, err
	}
	name := form.Get("AutoScalingGroupName")
	if name != "" && s.groups[name] == nil && !deleted {
		return nil, invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
	}
	var all []*activity
	if deleted {
		all = append(all, s.deleted...)
	}
	for _, n := range s.names() {
		all = append(all, s.groups[n].activities...)
	}
	return slices.DeleteFunc(all, func(a *activity) bool { return name != "" && a.group != name }), nil
}

func filterActivities(all []*activity, filters []url.Values) ([]*activity, error) {
	for _, f := range filters {
		values := wire.List(f, "Values")
		if f.Get("Name") != "Status" {
			return nil, invalid("This region on a laptop filters activities by Status, not by '%s'", f.Get("Name"))
		}
		all = slices.DeleteFunc(all, func(a *activity) bool { return !slices.Contains(values, a.status) })
	}
	return all, nil
}

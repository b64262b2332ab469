package autoscaling

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// terminationPolicies are those of AWS.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
var terminationPolicies = []string{"Default", "AllocationStrategy", "OldestLaunchTemplate", "OldestLaunchConfiguration",
	"ClosestToNextInstanceHour", "NewestInstance", "OldestInstance"}

// configure puts into c what the form of a create or an update gives, and leaves the rest.
func configure(c *GroupConfig, form url.Values) error {
	for key, to := range map[string]*int{"MinSize": &c.Min, "MaxSize": &c.Max, "DesiredCapacity": &c.Desired} {
		n, given, err := wire.Int(form, key)
		if err != nil {
			return err
		}
		if given {
			*to = n
		}
	}
	for key, to := range map[string]*time.Duration{"HealthCheckGracePeriod": &c.GracePeriod, "DefaultCooldown": &c.Cooldown} {
		n, given, err := wire.Int(form, key)
		if err != nil {
			return err
		}
		if given && n < 0 {
			return invalid("%s must not be negative, it is %d", key, n)
		}
		if given {
			*to = time.Duration(n) * time.Second
		}
	}
	if n, given, err := wire.Int(form, "DefaultInstanceWarmup"); err != nil {
		return err
	} else if given && n < 0 { // -1 removes it
		c.Warmup = nil
	} else if given {
		warmup := time.Duration(n) * time.Second
		c.Warmup = &warmup
	}
	if protected, given, err := wire.Bool(form, "NewInstancesProtectedFromScaleIn"); err != nil {
		return err
	} else if given {
		c.Protected = protected
	}
	c.HealthCheckType = cmp.Or(form.Get("HealthCheckType"), c.HealthCheckType)
	c.Subnets = cmp.Or(form.Get("VPCZoneIdentifier"), c.Subnets)
	if zones := wire.List(form, "AvailabilityZones"); len(zones) > 0 {
		c.Zones = zones
	}
	if policies := wire.List(form, "TerminationPolicies"); len(policies) > 0 {
		c.TerminationPolicies = policies
	}
	if unit := form.Get("DesiredCapacityType"); unit != "" && unit != "units" {
		return invalid("This region on a laptop knows no DesiredCapacityType but units, not '%s'", unit)
	}
	return source(c, form)
}

// source puts into c what its instances are launched from.
func source(c *GroupConfig, form url.Values) error {
	const mixed = "MixedInstancesPolicy"
	var given []string
	for _, p := range []string{"LaunchTemplate", "LaunchConfigurationName", mixed} {
		if form.Has(p) || len(wire.Struct(form, p)) > 0 {
			given = append(given, p)
		}
	}
	switch {
	case len(given) == 0:
		return nil
	case len(given) > 1:
		return invalid("Valid requests must contain only one of %s.", strings.Join(given, ", "))
	case given[0] == "LaunchConfigurationName":
		c.LaunchConfiguration, c.LaunchTemplate, c.Mixed = form.Get(given[0]), nil, false
		return nil
	}
	prefix := given[0]
	if prefix == mixed {
		prefix += ".LaunchTemplate.LaunchTemplateSpecification"
	}
	t := wire.Struct(form, prefix)
	template := &LaunchTemplate{ID: t.Get("LaunchTemplateId"), Name: t.Get("LaunchTemplateName"), Version: t.Get("Version")}
	if (template.ID == "") == (template.Name == "") {
		return invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
	}
	c.LaunchTemplate, c.Mixed, c.LaunchConfiguration = template, given[0] == mixed, ""
	return nil
}

// validate refuses what AWS refuses in a group's configuration.
func (s *Service) validate(c *GroupConfig) error {
	switch {
	case c.Min < 0 || c.Max < 0 || c.Desired < 0:
		return invalid("Min, max and desired capacity must not be negative")
	case c.Min > c.Max:
		return invalid("Max bound, %d, must be greater than or equal to min bound, %d", c.Max, c.Min)
	case c.Desired < c.Min || c.Desired > c.Max:
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", c.Desired, c.Min, c.Max)
	case c.HealthCheckType != healthEC2 && c.HealthCheckType != healthELB:
		return invalid("This region on a laptop knows the health check types EC2 and ELB, not '%s'", c.HealthCheckType)
	case c.LaunchConfiguration != "" && s.configs[c.LaunchConfiguration] == nil:
		return invalid("Launch configuration name not found - Launch configuration %s not found", c.LaunchConfiguration)
	}
	for _, zone := range c.Zones {
		if !slices.Contains(s.opts.Zones, zone) {
			return invalid("Invalid availability zone: %s; there are %s", zone, strings.Join(s.opts.Zones, ", "))
		}
	}
	for _, policy := range c.TerminationPolicies {
		if !slices.Contains(terminationPolicies, policy) {
			return invalid("Termination policy %s is not valid; there are %s", policy, strings.Join(terminationPolicies, ", "))
		}
	}
	return nil
}

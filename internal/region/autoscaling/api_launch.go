package autoscaling

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// launchConfig is a launch configuration: kept and shown, as what runs is the launcher's affair.
type launchConfig struct {
	LaunchConfigurationName string
	LaunchConfigurationARN  string
	ImageId                 string // the element's name is AWS's
	InstanceType            string
	KeyName                 string
	IamInstanceProfile      string `xml:",omitempty"`
	SecurityGroups          wire.Members[string]
	UserData                string
	BlockDeviceMappings     wire.Members[string]
	EbsOptimized            bool
	CreatedTime             wire.Time
}

func (s *Service) createLaunchConfiguration(form url.Values) (any, error) {
	name := form.Get("LaunchConfigurationName")
	if s.configs[name] != nil {
		return nil, wire.Errorf("AlreadyExists", "Launch Configuration by this name already exists - A launch configuration already exists with the name %s", name)
	}
	s.configs[name] = &launchConfig{
		LaunchConfigurationName: name, ImageId: form.Get("ImageId"), InstanceType: form.Get("InstanceType"), KeyName: form.Get("KeyName"),
		LaunchConfigurationARN: fmt.Sprintf("arn:aws:autoscaling:%s:%s:launchConfiguration:%s:launchConfigurationName/%s",
			s.opts.Region, s.opts.Account, uuid(), name),
		IamInstanceProfile: form.Get("IamInstanceProfile"), SecurityGroups: wire.ListOf(wire.List(form, "SecurityGroups")...),
		UserData: form.Get("UserData"), CreatedTime: wire.Time(time.Now()),
	}
	return nil, nil
}

func (s *Service) describeLaunchConfigurations(form url.Values) (any, error) {
	wanted := wire.List(form, "LaunchConfigurationNames")
	var all []*launchConfig
	for _, name := range slices.Sorted(maps.Keys(s.configs)) {
		if len(wanted) == 0 || slices.Contains(wanted, name) {
			all = append(all, s.configs[name])
		}
	}
	list, token, err := page(form, all, func(c *launchConfig) string { return c.LaunchConfigurationName }, 50, 100)
	return struct {
		LaunchConfigurations wire.Members[*launchConfig]
		NextToken            string `xml:",omitempty"`
	}{wire.ListOf(list...), token}, err
}

func (s *Service) deleteLaunchConfiguration(form url.Values) (any, error) {
	name := form.Get("LaunchConfigurationName")
	if s.configs[name] == nil {
		return nil, invalid("Launch configuration name not found - Launch configuration %s not found", name)
	}
	for _, g := range s.groups {
		if g.LaunchConfiguration == name {
			return nil, wire.Errorf("ResourceInUse", "Cannot delete launch configuration %s because it is attached to AutoScalingGroup %s", name, g.Name)
		}
	}
	delete(s.configs, name)
	return nil, nil
}

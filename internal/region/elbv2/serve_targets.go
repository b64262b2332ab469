package elbv2

import (
	"net/url"
	"strconv"

	"github.com/bootagent/bootagent/internal/region/wire"
)

func (s *Service) registerTargets(form url.Values) (any, error) {
	return s.withTargets(form, s.register)
}

func (s *Service) deregisterTargets(form url.Values) (any, error) {
	return s.withTargets(form, s.deregister)
}

func (s *Service) withTargets(form url.Values, f func(string, []targetKey) error) (any, error) {
	arn, err := required(form, "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	keys, err := targetKeys(form)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, invalid("At least one target must be specified")
	}
	return nil, f(arn, keys)
}

func targetKeys(form url.Values) ([]targetKey, error) {
	var out []targetKey
	for _, t := range wire.Structs(form, "Targets") {
		id, err := required(t, "Id")
		if err != nil {
			return nil, err
		}
		if err := refuse(t, "AvailabilityZone", "QuicServerId"); err != nil {
			return nil, err // for targets that are not instances
		}
		key := targetKey{instance: id}
		if err := number(t, "Port", 1, 65535, &key.port); err != nil {
			return nil, err
		}
		out = append(out, key)
	}
	return out, nil
}

type healthAnswer struct {
	TargetHealthDescriptions wire.Members[targetAnswer]
}

type targetAnswer struct {
	Target struct {
		Id   string
		Port int
	}
	HealthCheckPort string
	TargetHealth    struct {
		State       string
		Reason      string `xml:",omitempty"`
		Description string `xml:",omitempty"`
	}
}

func (s *Service) describeTargetHealth(form url.Values) (any, error) {
	arn, err := required(form, "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	keys, err := targetKeys(form)
	if err != nil {
		return nil, err
	}
	found, err := s.describe(arn, keys)
	if err != nil {
		return nil, err
	}
	var out healthAnswer
	for _, d := range found {
		var a targetAnswer
		a.Target.Id, a.Target.Port = d.key.instance, d.key.port
		a.HealthCheckPort = strconv.Itoa(d.checkPort)
		a.TargetHealth.State, a.TargetHealth.Reason, a.TargetHealth.Description = string(d.state), d.reason, d.description
		out.TargetHealthDescriptions.Member = append(out.TargetHealthDescriptions.Member, a)
	}
	return out, nil
}

package autoscaling

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// managed gives the instance that a call names.
func (s *Service) managed(form url.Values) (*group, *instance, error) {
	g, i := s.find(form.Get("InstanceId"))
	if i == nil {
		return nil, nil, invalid("Instance Id not found - No managed instance found for instance ID: %s", form.Get("InstanceId"))
	}
	return g, i, nil
}

// ofGroup gives the instances that a call names, all of which must be in one of the states.
func ofGroup(g *group, form url.Values, words string, states ...model.Lifecycle) ([]*instance, error) {
	var out []*instance
	for _, id := range wire.List(form, "InstanceIds") {
		i := g.instance(id)
		if i == nil {
			return nil, invalid("The instance %s is not part of Auto Scaling group %s.", id, g.Name)
		}
		if !slices.Contains(states, i.state) {
			return nil, invalid("The instance %s is not in %s.", id, words)
		}
		if !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		return nil, invalid("At least one instance ID must be given.")
	}
	return out, nil
}

func (s *Service) terminateInstance(form url.Values) (any, error) {
	g, i, err := s.managed(form)
	if err != nil {
		return nil, err
	}
	decrement, _, err := wire.Bool(form, "ShouldDecrementDesiredCapacity")
	switch {
	case err != nil:
		return nil, err
	case i.leaving():
		return nil, wire.Errorf("ScalingActivityInProgress", "The instance %s is already being terminated.", i.ID)
	case decrement && i.counts() && g.Desired == g.Min:
		return nil, invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min "+
			"size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.", g.Min)
	}
	now := time.Now()
	cause := fmt.Sprintf("At %s instance %s was taken out of service in response to a user request", now.UTC().Format(time.RFC3339), i.ID)
	if decrement && i.counts() {
		cause += fmt.Sprintf(", shrinking the capacity from %d to %d", g.Desired, g.Desired-1)
		g.Desired--
	}
	s.terminate(g, i, step{cause: cause + "."}, now)
	return struct{ Activity activityAnswer }{i.activity.answer()}, nil
}

func (s *Service) setInstanceHealth(form url.Values) (any, error) {
	g, i, err := s.managed(form)
	if err != nil {
		return nil, err
	}
	status := form.Get("HealthStatus")
	respect, given, err := wire.Bool(form, "ShouldRespectGracePeriod")
	switch {
	case err != nil:
		return nil, err
	case status != "Healthy" && status != "Unhealthy":
		return nil, invalid("Valid instance health states are: [Healthy, Unhealthy]")
	}
	// Until InService the grace period has not even begun.
	graced := g.GracePeriod > 0 && (i.inService.IsZero() || time.Now().Before(g.graceEnd(i)))
	if status == "Unhealthy" && graced && (respect || !given) {
		return nil, nil
	}
	i.marked = status == "Unhealthy"
	if !i.marked {
		i.failed = false
	}
	return nil, nil
}

func (s *Service) setInstanceProtection(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	protect, _, err := wire.Bool(form, "ProtectedFromScaleIn")
	if err != nil {
		return nil, err
	}
	list, err := ofGroup(g, form, "InService or EnteringStandby or Standby",
		model.LifecycleInService, model.LifecycleEnteringStandby, model.LifecycleStandby)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		i.protected = protect
	}
	return nil, nil
}

// activitiesAnswer is the answer of EnterStandby and ExitStandby.
type activitiesAnswer struct {
	Activities wire.Members[activityAnswer]
}

func (s *Service) enterStandby(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	decrement, _, err := wire.Bool(form, "ShouldDecrementDesiredCapacity")
	if err != nil {
		return nil, err
	}
	list, err := ofGroup(g, form, "InService", model.LifecycleInService)
	if err != nil {
		return nil, err
	}
	if decrement && g.Desired-len(list) < g.Min {
		return nil, invalid("AutoScalingGroup %s has min-size=%d, max-size=%d, and desired-size=%d. To place into standby %d instance, "+
			"please update the AutoScalingGroup sizes appropriately.", g.Name, g.Min, g.Max, g.Desired, len(list))
	}
	now := time.Now()
	var answer activitiesAnswer
	for _, i := range list {
		cause := fmt.Sprintf("At %s instance %s was moved to standby in response to a user request", now.UTC().Format(time.RFC3339), i.ID)
		if decrement {
			cause += fmt.Sprintf(", shrinking the capacity from %d to %d", g.Desired, g.Desired-1)
			g.Desired--
		}
		i.activity = g.begin(i, "Moving EC2 instance to Standby", cause+".", now)
		i.drainUntil = time.Time{}
		s.move(i, model.LifecycleEnteringStandby)
		answer.Activities.Member = append(answer.Activities.Member, i.activity.answer())
	}
	return answer, nil
}

func (s *Service) exitStandby(form url.Values) (any, error) {
	g, err := s.changeable(form)
	if err != nil {
		return nil, err
	}
	list, err := ofGroup(g, form, "Standby", model.LifecycleStandby)
	if err != nil {
		return nil, err
	}
	if g.Desired+len(list) > g.Max {
		return nil, invalid("AutoScalingGroup %s has min-size=%d, max-size=%d, and desired-size=%d. To move %d instance out of standby, "+
			"please update the AutoScalingGroup sizes appropriately.", g.Name, g.Min, g.Max, g.Desired, len(list))
	}
	now := time.Now()
	var answer activitiesAnswer
	for _, i := range list {
		cause := fmt.Sprintf("At %s instance %s was moved out of standby in response to a user request, increasing the capacity from %d to %d.",
			now.UTC().Format(time.RFC3339), i.ID, g.Desired, g.Desired+1)
		g.Desired++
		i.activity = g.begin(i, "Moving EC2 instance out of Standby", cause, now)
		i.activity.note(statusPreInService)
		i.returning = true // by way of Pending, without hooks
		s.move(i, model.LifecyclePending)
		answer.Activities.Member = append(answer.Activities.Member, i.activity.answer())
	}
	return answer, nil
}

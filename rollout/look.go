package rollout

import (
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// Look is the group as a leader sees it, from what Auto Scaling and the balancer said. An instance is healthy where each of the
// target groups, of which there are so many, sends it requests on one port at least; where there are none, its group's word counts. At is
// when they were asked.
func Look(group model.ScalingGroup, targets []model.TargetHealth, groups int, at time.Duration) Group {
	healthy := map[string]map[string]bool{} // target groups by instance
	for _, t := range targets {
		if t.State == model.TargetHealthy {
			if healthy[t.InstanceID] == nil {
				healthy[t.InstanceID] = map[string]bool{}
			}
			healthy[t.InstanceID][t.Group] = true
		}
	}
	g := Group{Known: true, At: at, Desired: group.Desired}
	for _, i := range group.Instances {
		if strings.HasPrefix(string(i.Lifecycle), string(model.LifecycleTerminating)) || i.Lifecycle == model.LifecycleTerminated || i.Lifecycle == "Detached" || i.Lifecycle == "Detaching" {
			continue
		}
		m := Member{ID: i.ID, InService: i.Lifecycle == model.LifecycleInService, Healthy: len(healthy[i.ID]) >= groups}
		m.Standby = i.Lifecycle == model.LifecycleStandby || i.Lifecycle == model.LifecycleEnteringStandby
		if groups == 0 {
			m.Healthy = m.InService && i.Healthy
		}
		g.Members = append(g.Members, m)
	}
	return g
}

package agent

import (
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/model"
)

func TestModeASGThatDoesNotFitIsSaid(t *testing.T) {
	t.Parallel()
	shop, api := model.TargetGroup{ARN: "arn:shop", Name: "shop", Port: 8080}, model.TargetGroup{ARN: "arn:api", Name: "api", Port: 9090}
	group := model.Membership{Group: "g", Lifecycle: model.LifecyclePendingWait, LaunchHook: "boot", TargetGroups: []string{"arn:shop"}}
	with := func(change func(*model.Membership)) model.Membership { m := group; change(&m); return m }
	for _, c := range []struct {
		name   string
		m      model.Membership
		groups []model.TargetGroup
		want   string
	}{
		{"it fits", group, []model.TargetGroup{shop}, ""},
		{"no group", model.Membership{}, []model.TargetGroup{shop}, "in no Auto Scaling group"},
		{"no hook", with(func(m *model.Membership) { m.LaunchHook = "" }), []model.TargetGroup{shop}, "no launch lifecycle hook"},
		{"not attached", with(func(m *model.Membership) { m.TargetGroups = nil }), []model.TargetGroup{shop}, "arn:shop; attach them, or set balancer.mode: self"},
		{"more attached", with(func(m *model.Membership) { m.TargetGroups = []string{"arn:shop", "arn:x"} }), []model.TargetGroup{shop}, "arn:x; name them too"},
		{"two ports", with(func(m *model.Membership) { m.TargetGroups = []string{"arn:shop", "arn:api"} }), []model.TargetGroup{shop, api}, "shop and api have different ports, 8080 and 9090"},
	} {
		err := unfit(c.m, c.groups)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

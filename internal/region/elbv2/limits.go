package elbv2

import (
	"net/url"
	"strconv"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// maxTargets is the quota of targets, per target group and per load balancer, of an account that has not asked for more.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const maxTargets = 1000

type limitsAnswer struct {
	Limits wire.Members[limitAnswer]
}

type limitAnswer struct {
	Max  string
	Name string
}

// describeAccountLimits names the quota that the region keeps; AWS has some thirty.
func (s *Service) describeAccountLimits(url.Values) (any, error) {
	var out limitsAnswer
	out.Limits.Member = []limitAnswer{{Name: "targets-per-application-load-balancer", Max: strconv.Itoa(s.opts.MostTargets)}}
	return out, nil
}

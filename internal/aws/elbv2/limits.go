package elbv2

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

// perGroup is the limit on the targets of a group, and its default, which holds where the answer does not have it: the reference
// does not name it, AWS's example of an answer does.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Limit.html
// https://docs.aws.amazon.com/cli/latest/reference/elbv2/describe-account-limits.html
const (
	perGroup        = "targets-per-target-group"
	defaultPerGroup = 1000
)

// The quotas by which the limits on load balancers are raised.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-limits.html
const (
	applicationQuota = "Targets per Application Load Balancer (L-7E6692B2)"
	networkQuota     = "Targets per Network Load Balancer (L-EEF1AD04)"
)

// Limits gives the quotas that the targets of the configured groups count against: one for each group, and one for each load balancer
// that is known to be theirs. It asks for the account's limits, one request a page, and for no load balancer: whose a group is is known
// where the group is configured by its name. Targets of other groups of that load balancer count too, and are not known here; nor is in which zone a
// target is, so the quota of a network load balancer's zones is left out.
func (b *Balancer) Limits(ctx context.Context) ([]model.TargetLimit, error) {
	limits, err := b.accountLimits(ctx)
	if err != nil {
		return nil, err
	}
	most, told := limits[perGroup]
	if !told {
		most = defaultPerGroup
	}
	var groups, balancers []model.TargetLimit
	err = b.each(ctx, func(group, arn string) error {
		groups = append(groups, model.TargetLimit{On: "target group " + nameOf(arn, "targetgroup/"), Quota: groupQuota, Most: most, Groups: []string{arn}})
		b.mu.Lock()
		balancer := b.known[group].balancer
		b.mu.Unlock()
		name, limit, quota := "", "", ""
		if name = nameOf(balancer, "loadbalancer/app/"); name != "" {
			limit, quota = "targets-per-application-load-balancer", applicationQuota
		} else if name = nameOf(balancer, "loadbalancer/net/"); name != "" {
			limit, quota = "targets-per-network-load-balancer", networkQuota
		}
		most, told := limits[limit]
		if !told {
			return nil
		}
		on := "load balancer " + name
		for i := range balancers {
			if balancers[i].On == on {
				balancers[i].Groups = append(balancers[i].Groups, arn)
				return nil
			}
		}
		balancers = append(balancers, model.TargetLimit{On: on, Quota: quota, Most: most, Groups: []string{arn}})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append(groups, balancers...), nil
}

// nameOf is the name in an ARN, between what kind of resource it is and its id; "" where it is of another kind.
func nameOf(arn, kind string) string {
	_, rest, _ := strings.Cut(arn, ":"+kind)
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// accountLimits are all limits by their names. One that is no number is left out.
func (b *Balancer) accountLimits(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	pages := sdk.NewDescribeAccountLimitsPaginator(b.client, &sdk.DescribeAccountLimitsInput{},
		func(o *sdk.DescribeAccountLimitsPaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() {
		page, err := session.Do(ctx, b.session, session.Call{Action: "elasticloadbalancing:DescribeAccountLimits", Resource: "the account"},
			func(ctx context.Context) (*sdk.DescribeAccountLimitsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return nil, err
		}
		for _, l := range page.Limits {
			if n, err := strconv.Atoi(aws.ToString(l.Max)); err == nil {
				out[aws.ToString(l.Name)] = n
			}
		}
	}
	return out, nil
}

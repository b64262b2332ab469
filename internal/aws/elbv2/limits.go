package elbv2

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootagent/bootagent/internal/aws/session"
)

// targetsQuota is the quota of the targets behind one Application Load Balancer: 1,000 unless it was raised. A target is an instance
// with a port in a target group, so that one that serves on two ports counts twice.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const targetsQuota = "targets-per-application-load-balancer"

// MostTargets is how many targets one Application Load Balancer of this account may have here; 0 where AWS does not say.
func (b *Balancer) MostTargets(ctx context.Context) (int, error) {
	in := &sdk.DescribeAccountLimitsInput{}
	for range maxLimitPages {
		page, err := session.Do(ctx, b.session, session.Call{Action: "elasticloadbalancing:DescribeAccountLimits", Resource: "the account"},
			func(ctx context.Context) (*sdk.DescribeAccountLimitsOutput, error) {
				return b.client.DescribeAccountLimits(ctx, in)
			})
		if err != nil {
			return 0, err
		}
		for _, limit := range page.Limits {
			if aws.ToString(limit.Name) != targetsQuota {
				continue
			}
			most, err := strconv.Atoi(aws.ToString(limit.Max))
			if err != nil || most < 1 {
				return 0, nil // nothing that could be gone by
			}
			return most, nil
		}
		if aws.ToString(page.NextMarker) == "" {
			return 0, nil
		}
		in.Marker = page.NextMarker
	}
	return 0, nil
}

// maxLimitPages bounds a server that never ends its list; there are some thirty limits, and a page has room for 400.
const maxLimitPages = 10

package contract

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	asg "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/smithy-go"
)

// fleetTeller tells a story of target groups and Auto Scaling groups to one
// server, which it has for itself. As with teller, each method makes one call
// and writes one line; ARNs are written as the names that the story uses.
type fleetTeller struct {
	t     *testing.T
	ctx   context.Context
	place place
	elb   *elb.Client
	asg   *asg.Client

	arns  map[string]string // by name: "web" for a target group, "front" for a load balancer
	ports map[int]int       // real ones, by the story's
	lines []string
}

// place is where a story is told.
type place struct {
	endpoint string
	vpc      string
	subnets  []string
}

// fleetStory is a story for a fleetTeller; the fields are those of story.
type fleetStory struct {
	name        string
	tell        func(s *fleetTeller)
	want        []string
	motoIsWrong string
}

func newFleetTeller(t *testing.T, where place) *fleetTeller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	who := credentials.NewStaticCredentialsProvider("AKIACONTRACT", "secret", "")
	return &fleetTeller{
		t: t, ctx: ctx, place: where, arns: map[string]string{}, ports: map[int]int{},
		elb: elb.New(elb.Options{BaseEndpoint: aws.String(where.endpoint), Region: "us-east-1", Credentials: who, RetryMaxAttempts: 1}),
		asg: asg.New(asg.Options{BaseEndpoint: aws.String(where.endpoint), Region: "us-east-1", Credentials: who, RetryMaxAttempts: 1}),
	}
}

func (s *fleetTeller) write(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		line = "! " + err.Error()
		var api smithy.APIError
		if errors.As(err, &api) {
			line = "! " + api.ErrorCode()
		}
	}
	for name, arn := range s.arns {
		line = strings.ReplaceAll(line, arn, name)
	}
	s.lines = append(s.lines, line)
}

// arn is the ARN of what the story calls so, or of something that does not exist.
func (s *fleetTeller) arn(name string) *string {
	if arn, ok := s.arns[name]; ok {
		return &arn
	}
	return aws.String("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/" + name + "/0123456789abcdef")
}

// port is a port of this machine that nobody listens on, for one of the story's.
func (s *fleetTeller) port(number int) *int32 {
	if s.ports[number] == 0 {
		s.ports[number] = freePort(s.t)
	}
	return aws.Int32(int32(s.ports[number]))
}

// storied is the story's number of a real port, or the port itself.
func (s *fleetTeller) storied(port *int32) int {
	for number, real := range s.ports {
		if real == int(aws.ToInt32(port)) {
			return number
		}
	}
	return int(aws.ToInt32(port))
}

// all turns every page into lines, and counts the pages.
func all[P any](more func() bool, next func() (P, error), lines func(P) []string) (found []string, pages int, err error) {
	for more() {
		page, err := next()
		if err != nil {
			return nil, 0, err
		}
		found, pages = append(found, lines(page)...), pages+1
	}
	slices.Sort(found)
	return found, pages, nil
}

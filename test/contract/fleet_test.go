package contract

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/elbv2"
)

func TestBalancersAndGroupsTellTheSameStoriesAsMoto(t *testing.T) {
	t.Parallel()
	for _, story := range slices.Concat(balancerStories, groupStories, standbyStories) {
		t.Run("region/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newFleetTeller(t, smallRegion(t))
			story.tell(s)
			sameAsDocumented(t, story.want, s.lines)
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newFleetTeller(t, motoPlace(t))
			story.tell(s)
			sameAsMoto(t, story.want, s.lines, story.motoIsWrong)
		})
	}
}

// two instances run, i-1 and i-2, besides those that a group launches.
type two struct{}

func (two) Address(id string) (string, bool) { return "127.0.0.1", id == "i-1" || id == "i-2" }

// idle launches machines on which nothing runs: these stories are told before
// an instance does anything.
type idle struct{}

func (idle) Launch(context.Context, autoscaling.Instance) (autoscaling.Machine, error) {
	return idleMachine{make(chan struct{})}, nil
}

type idleMachine struct{ done chan struct{} }

func (m idleMachine) Done() <-chan struct{}           { return m.done }
func (m idleMachine) Terminate(context.Context) error { close(m.done); return nil }

// smallRegion opens a region of the test's own, without machines.
func smallRegion(t *testing.T) place {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	balancers := elbv2.New(elbv2.Options{Instances: two{}})
	groups := autoscaling.New(autoscaling.Options{Launcher: idle{}, Traffic: balancers})
	r.Handle(elbv2.SigningName, elbv2.Namespace, balancers)
	r.Handle(autoscaling.Name, autoscaling.Namespace, groups)
	t.Cleanup(func() {
		for _, err := range []error{groups.Close(context.Background()), balancers.Close(context.Background()), r.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return place{r.Endpoint(), "vpc-1", []string{"subnet-1", "subnet-2"}}
}

// motoPlace is an empty moto with its default VPC. There is no SDK for EC2
// here, which is huge; its protocol is a form and XML.
func motoPlace(t *testing.T) place {
	t.Helper()
	endpoint := freshMoto(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint,
		strings.NewReader(url.Values{"Action": {"DescribeSubnets"}, "Version": {"2016-11-15"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// moto tells services apart by the scope of the signature, which it does not verify.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIACONTRACT/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Subnets []struct {
			ID   string `xml:"subnetId"`
			VPC  string `xml:"vpcId"`
			Zone string `xml:"availabilityZone"`
		} `xml:"subnetSet>item"`
	}
	if err := xml.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Subnets) < 2 {
		t.Fatalf("moto's subnets: %+v, %v", answer, err)
	}
	return place{endpoint, answer.Subnets[0].VPC, []string{answer.Subnets[0].ID, answer.Subnets[1].ID}}
}

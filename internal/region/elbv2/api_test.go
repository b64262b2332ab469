package elbv2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// api serves a Service over the wire and returns AWS's own client for it.
func api(t *testing.T, s *Service) *elb.Client {
	t.Helper()
	front := wire.NewServer(wire.Options{Region: "us-east-1"})
	front.Handle(SigningName, Namespace, s)
	srv := httptest.NewServer(front)
	t.Cleanup(func() { srv.Close(); closeService(t, s) })
	return elb.New(elb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient:  srv.Client(),
	})
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	t.Cleanup(cancel)
	return ctx
}

func createGroup(t *testing.T, c *elb.Client, name string, change ...func(*elb.CreateTargetGroupInput)) types.TargetGroup {
	t.Helper()
	in := &elb.CreateTargetGroupInput{Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: aws.String("vpc-1")}
	for _, f := range change {
		f(in)
	}
	return must[*elb.CreateTargetGroupOutput](t)(c.CreateTargetGroup(bounded(t), in)).TargetGroups[0]
}

func createBalancer(t *testing.T, c *elb.Client, name string) types.LoadBalancer {
	t.Helper()
	return must[*elb.CreateLoadBalancerOutput](t)(c.CreateLoadBalancer(bounded(t), &elb.CreateLoadBalancerInput{
		Name: &name, Subnets: []string{"subnet-1", "subnet-2"},
	})).LoadBalancers[0]
}

// The defaults of
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
func TestATargetGroupHasAWSsDefaults(t *testing.T) {
	t.Parallel()
	c := api(t, New(Options{}))
	g := createGroup(t, c, "web")
	arn := aws.ToString(g.TargetGroupArn)
	if !strings.HasPrefix(arn, "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/") || len(arn)-strings.LastIndexByte(arn, '/') != 17 {
		t.Errorf("ARN %s", arn)
	}
	g.TargetGroupArn = nil
	want := types.TargetGroup{
		TargetGroupName: aws.String("web"), Protocol: "HTTP", ProtocolVersion: aws.String("HTTP1"), Port: aws.Int32(80), VpcId: aws.String("vpc-1"),
		HealthCheckProtocol: "HTTP", HealthCheckPort: aws.String("traffic-port"), HealthCheckEnabled: aws.Bool(true),
		HealthCheckPath: aws.String("/"), HealthCheckIntervalSeconds: aws.Int32(30), HealthCheckTimeoutSeconds: aws.Int32(5),
		HealthyThresholdCount: aws.Int32(5), UnhealthyThresholdCount: aws.Int32(2), Matcher: &types.Matcher{HttpCode: aws.String("200")},
		TargetType: "instance", IpAddressType: "ipv4", LoadBalancerArns: []string{},
	}
	if diff := cmp.Diff(want, g, ignoreUnexported); diff != "" {
		t.Error(diff)
	}
	attributes := map[string]string{}
	for _, a := range must[*elb.DescribeTargetGroupAttributesOutput](t)(c.DescribeTargetGroupAttributes(bounded(t),
		&elb.DescribeTargetGroupAttributesInput{TargetGroupArn: &arn})).Attributes {
		attributes[*a.Key] = aws.ToString(a.Value)
	}
	for key, value := range map[string]string{
		"deregistration_delay.timeout_seconds": "300", "load_balancing.algorithm.type": "round_robin",
		"slow_start.duration_seconds": "0", "stickiness.enabled": "false",
	} {
		if attributes[key] != value {
			t.Errorf("attribute %s is %q, want %q", key, attributes[key], value)
		}
	}
}

var ignoreUnexported = cmp.FilterPath(func(p cmp.Path) bool {
	return p.Last().String() == ".noSmithyDocumentSerde"
}, cmp.Ignore())

func TestShortTimesAreReportedInWholeSeconds(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	c := api(t, s)
	arn := must[string](t)(s.CreateTargetGroup(GroupSpec{
		Name: "web", Port: 80, Delay: 1500 * time.Millisecond,
		Check: HealthCheck{Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond},
	}))
	g := must[*elb.DescribeTargetGroupsOutput](t)(c.DescribeTargetGroups(bounded(t), &elb.DescribeTargetGroupsInput{Names: []string{"web"}})).TargetGroups[0]
	if *g.HealthCheckIntervalSeconds != 1 || *g.HealthCheckTimeoutSeconds != 1 {
		t.Errorf("%d %d", *g.HealthCheckIntervalSeconds, *g.HealthCheckTimeoutSeconds)
	}
	for _, a := range must[*elb.DescribeTargetGroupAttributesOutput](t)(c.DescribeTargetGroupAttributes(bounded(t),
		&elb.DescribeTargetGroupAttributesInput{TargetGroupArn: &arn})).Attributes {
		if *a.Key == attributeDelay && *a.Value != "2" {
			t.Errorf("delay %s", *a.Value)
		}
	}
}

// A whole life through AWS's own client: group, balancer, listener, target,
// traffic, deregistration.
func TestTheClientsWay(t *testing.T) {
	t.Parallel()
	s := New(Options{Instances: instances("i-1")})
	c := api(t, s)
	g := createGroup(t, c, "web", func(in *elb.CreateTargetGroupInput) {
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds = aws.Int32(5), aws.Int32(2)
		in.Tags = []types.Tag{{Key: aws.String("app"), Value: aws.String("shop")}}
	})
	lb := createBalancer(t, c, "front")
	if lb.State.Code != types.LoadBalancerStateEnumActive || aws.ToString(lb.DNSName) != "127.0.0.1" || len(lb.AvailabilityZones) != 2 {
		t.Errorf("%+v", lb)
	}
	free := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	port := int32(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	l := must[*elb.CreateListenerOutput](t)(c.CreateListener(bounded(t), &elb.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancerArn, Protocol: "HTTP", Port: &port,
		DefaultActions: []types.Action{{Type: "forward", TargetGroupArn: g.TargetGroupArn}},
	})).Listeners[0]
	if aws.ToInt32(l.Port) != port || aws.ToString(l.DefaultActions[0].TargetGroupArn) != *g.TargetGroupArn {
		t.Errorf("%+v", l)
	}
	mine := app(t, "hello")
	targets := []types.TargetDescription{{Id: aws.String("i-1"), Port: aws.Int32(int32(mine))}}
	must[*elb.RegisterTargetsOutput](t)(c.RegisterTargets(bounded(t), &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: targets}))
	in := &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: targets}
	if err := elb.NewTargetInServiceWaiter(c, func(o *elb.TargetInServiceWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
	}).Wait(bounded(t), in, soon); err != nil {
		t.Fatal(err)
	}
	d := must[*elb.DescribeTargetHealthOutput](t)(c.DescribeTargetHealth(bounded(t), in)).TargetHealthDescriptions
	if len(d) != 1 || aws.ToString(d[0].HealthCheckPort) != fmt.Sprint(mine) || d[0].TargetHealth.Reason != "" {
		t.Errorf("%+v", d)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	must[*elb.ModifyTargetGroupAttributesOutput](t)(c.ModifyTargetGroupAttributes(bounded(t), &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: g.TargetGroupArn, Attributes: []types.TargetGroupAttribute{{Key: aws.String(attributeDelay), Value: aws.String("0")}},
	}))
	must[*elb.DeregisterTargetsOutput](t)(c.DeregisterTargets(bounded(t), &elb.DeregisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: targets}))
	if err := elb.NewTargetDeregisteredWaiter(c, func(o *elb.TargetDeregisteredWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
	}).Wait(bounded(t), in, soon); err != nil {
		t.Fatal(err)
	}
	found := must[*elb.DescribeTargetGroupsOutput](t)(c.DescribeTargetGroups(bounded(t), &elb.DescribeTargetGroupsInput{LoadBalancerArn: lb.LoadBalancerArn})).TargetGroups
	if len(found) != 1 || !cmp.Equal(found[0].LoadBalancerArns, []string{*lb.LoadBalancerArn}) {
		t.Errorf("%+v", found)
	}
	tags := must[*elb.DescribeTagsOutput](t)(c.DescribeTags(bounded(t), &elb.DescribeTagsInput{ResourceArns: []string{*g.TargetGroupArn}})).TagDescriptions
	if len(tags) != 1 || len(tags[0].Tags) != 1 || *tags[0].Tags[0].Value != "shop" {
		t.Errorf("%+v", tags)
	}
	must[*elb.DeleteLoadBalancerOutput](t)(c.DeleteLoadBalancer(bounded(t), &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}))
	must[*elb.DeleteTargetGroupOutput](t)(c.DeleteTargetGroup(bounded(t), &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn}))
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		t.Error("the deleted listener's port is still open")
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	c := api(t, New(Options{}))
	for i := range 7 {
		createGroup(t, c, fmt.Sprint("g", i))
		createBalancer(t, c, fmt.Sprint("b", i))
	}
	var got []string
	pages := 0
	groups := elb.NewDescribeTargetGroupsPaginator(c, &elb.DescribeTargetGroupsInput{PageSize: aws.Int32(3)})
	for ; groups.HasMorePages(); pages++ {
		out := must[*elb.DescribeTargetGroupsOutput](t)(groups.NextPage(bounded(t)))
		for _, g := range out.TargetGroups {
			got = append(got, *g.TargetGroupName)
		}
	}
	if diff := cmp.Diff([]string{"g0", "g1", "g2", "g3", "g4", "g5", "g6"}, got); diff != "" || pages != 3 {
		t.Errorf("%d pages: %s", pages, diff)
	}
	n := 0
	balancers := elb.NewDescribeLoadBalancersPaginator(c, &elb.DescribeLoadBalancersInput{PageSize: aws.Int32(2)})
	for balancers.HasMorePages() {
		n += len(must[*elb.DescribeLoadBalancersOutput](t)(balancers.NextPage(bounded(t))).LoadBalancers)
	}
	if n != 7 {
		t.Errorf("%d load balancers", n)
	}
}

// The codes are those of the API reference, e.g.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
func TestErrors(t *testing.T) {
	t.Parallel()
	s := New(Options{Instances: instances("i-1")})
	c := api(t, s)
	g := createGroup(t, c, "web").TargetGroupArn
	other := createGroup(t, c, "other").TargetGroupArn
	lb, lb2 := createBalancer(t, c, "front").LoadBalancerArn, createBalancer(t, c, "back").LoadBalancerArn
	open := must[Listener](t)(s.CreateListener(*lb, 0, *g))
	port := int32(open.Balancer.Addr().(*net.TCPAddr).Port)
	none := aws.String("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/0123456789abcdef")
	ctx := bounded(t)
	group := func(change func(*elb.CreateTargetGroupInput)) error {
		in := &elb.CreateTargetGroupInput{Name: aws.String("new"), Protocol: "HTTP", Port: aws.Int32(80), VpcId: aws.String("vpc-1")}
		change(in)
		_, err := c.CreateTargetGroup(ctx, in)
		return err
	}
	listen := func(lb *string, port int32, protocol types.ProtocolEnum, actions ...types.Action) error {
		_, err := c.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb, Port: &port, Protocol: protocol, DefaultActions: actions})
		return err
	}
	forward := func(g *string) types.Action { return types.Action{Type: "forward", TargetGroupArn: g} }
	register := func(g *string, id string) error {
		_, err := c.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: g, Targets: []types.TargetDescription{{Id: &id}}})
		return err
	}
	attribute := func(key, value string) error {
		_, err := c.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
			TargetGroupArn: g, Attributes: []types.TargetGroupAttribute{{Key: &key, Value: &value}}})
		return err
	}
	second := func(_ any, err error) error { return err }

	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"the same group again":        {group(func(in *elb.CreateTargetGroupInput) { in.Name = aws.String("web") }), ""},
		"the same name, another port": {group(func(in *elb.CreateTargetGroupInput) { in.Name, in.Port = aws.String("web"), aws.Int32(81) }), "DuplicateTargetGroupName"},
		"a long name":                 {group(func(in *elb.CreateTargetGroupInput) { in.Name = aws.String(strings.Repeat("x", 33)) }), "ValidationError"},
		"a name with _":               {group(func(in *elb.CreateTargetGroupInput) { in.Name = aws.String("a_b") }), "ValidationError"},
		"no VPC":                      {group(func(in *elb.CreateTargetGroupInput) { in.VpcId = nil }), "ValidationError"},
		"interval too short":          {group(func(in *elb.CreateTargetGroupInput) { in.HealthCheckIntervalSeconds = aws.Int32(4) }), "ValidationError"},
		"interval too long":           {group(func(in *elb.CreateTargetGroupInput) { in.HealthCheckIntervalSeconds = aws.Int32(301) }), "ValidationError"},
		"timeout over interval": {group(func(in *elb.CreateTargetGroupInput) {
			in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds = aws.Int32(5), aws.Int32(6)
		}), "ValidationError"},
		"threshold":          {group(func(in *elb.CreateTargetGroupInput) { in.HealthyThresholdCount = aws.Int32(1) }), "ValidationError"},
		"matcher":            {group(func(in *elb.CreateTargetGroupInput) { in.Matcher = &types.Matcher{HttpCode: aws.String("200-599")} }), "ValidationError"},
		"path":               {group(func(in *elb.CreateTargetGroupInput) { in.HealthCheckPath = aws.String("up") }), "ValidationError"},
		"check over TCP":     {group(func(in *elb.CreateTargetGroupInput) { in.HealthCheckProtocol = "TCP" }), "ValidationError"},
		"targets by address": {group(func(in *elb.CreateTargetGroupInput) { in.TargetType = "ip" }), "InvalidConfigurationRequest"},
		"a TCP group":        {group(func(in *elb.CreateTargetGroupInput) { in.Protocol = "TCP" }), "InvalidConfigurationRequest"},

		"an unknown instance":          {register(g, "i-none"), "InvalidTarget"},
		"register in an unknown group": {register(none, "i-1"), "TargetGroupNotFound"},
		"deregister what is not there": {second(c.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: g, Targets: []types.TargetDescription{{Id: aws.String("i-1")}}})), ""},
		"health of an unknown group":   {second(c.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: none})), "TargetGroupNotFound"},
		"an unknown name":              {second(c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"none"}})), "TargetGroupNotFound"},
		"an ARN that is none":          {second(c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{"web"}})), "ValidationError"},
		"two filters":                  {second(c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}, LoadBalancerArn: lb})), "ValidationError"},
		"a page too large":             {second(c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{PageSize: aws.Int32(401)})), "ValidationError"},
		"a group in use":               {second(c.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g})), "ResourceInUse"},

		"delay":             {attribute(attributeDelay, "3601"), "ValidationError"},
		"stickiness":        {attribute("stickiness.enabled", "true"), "InvalidConfigurationRequest"},
		"no stickiness":     {attribute("stickiness.enabled", "false"), ""},
		"no such attribute": {attribute("speed", "high"), "ValidationError"},
		"least outstanding": {attribute(attributeAlgorithm, "least_outstanding_requests"), ""},

		"one subnet": {second(c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("b"), Subnets: []string{"subnet-1"}})), "ValidationError"},
		"a network load balancer": {second(c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
			Name: aws.String("b"), Type: "network", Subnets: []string{"subnet-1", "subnet-2"}})), "InvalidConfigurationRequest"},
		"the same name, another scheme": {second(c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{
			Name: aws.String("front"), Scheme: "internal", Subnets: []string{"subnet-1", "subnet-2"}})), "DuplicateLoadBalancerName"},
		"an unknown load balancer": {second(c.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"none"}})), "LoadBalancerNotFound"},
		"delete an unknown load balancer": {second(c.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{
			LoadBalancerArn: aws.String("arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/none/0123456789abcdef")})), ""},

		"the same listener again": {listen(lb, port, "HTTP", forward(g)), ""},
		"the same port":           {listen(lb, port, "HTTP", forward(other)), "DuplicateListener"},
		"a port in use elsewhere": {listen(lb2, port, "HTTP", forward(other)), "InvalidConfigurationRequest"},
		"a group of another":      {listen(lb2, port+1, "HTTP", forward(g)), "TargetGroupAssociationLimit"},
		"HTTPS":                   {listen(lb, 8443, "HTTPS", forward(g)), "InvalidConfigurationRequest"},
		"a redirect":              {listen(lb, 8080, "HTTP", types.Action{Type: "redirect"}), "InvalidConfigurationRequest"},
		"to nowhere":              {listen(lb, 8080, "HTTP", forward(none)), "TargetGroupNotFound"},
		"of no load balancer":     {listen(none, 8080, "HTTP", forward(g)), "LoadBalancerNotFound"},
		"an unknown listener":     {second(c.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: none})), "ListenerNotFound"},
		"listeners of what":       {second(c.DescribeListeners(ctx, &elb.DescribeListenersInput{})), "ValidationError"},
		"a listener for TLS": {second(c.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb, Port: aws.Int32(8080), Protocol: "HTTP",
			SslPolicy: aws.String("x"), DefaultActions: []types.Action{forward(g)}})), "InvalidConfigurationRequest"},
		"anomalies": {second(c.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g,
			Include: []types.DescribeTargetHealthInputIncludeEnum{"AnomalyDetection"}})), "InvalidConfigurationRequest"},
		"rules":              {second(c.DescribeRules(ctx, &elb.DescribeRulesInput{})), "InvalidAction"},
		"tags of nothing":    {second(c.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{*none}})), "TargetGroupNotFound"},
		"the same tag twice": {second(c.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{*g}, Tags: []types.Tag{{Key: aws.String("a")}, {Key: aws.String("a")}}})), "DuplicateTagKeys"},
	} {
		got := ""
		var e smithy.APIError
		if errors.As(tc.err, &e) {
			got = e.ErrorCode()
		} else if tc.err != nil {
			got = tc.err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q (%v), want %q", name, got, tc.err, tc.want)
		}
	}
}

package elbv2

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// operation is one operation of the API, and the parameters it takes: lists
// and structures without what follows the dot.
type operation struct {
	parameters string
	serve      func(url.Values) (any, error)
}

const (
	checkParameters = " HealthCheckProtocol HealthCheckPort HealthCheckEnabled HealthCheckPath HealthCheckIntervalSeconds" +
		" HealthCheckTimeoutSeconds HealthyThresholdCount UnhealthyThresholdCount Matcher"
	paging = " Marker PageSize"
)

// Serve serves one call of the API, version 2015-12-01. A parameter that is not
// named here is refused: it would silently do nothing.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
func (s *Service) Serve(_ context.Context, call wire.Call) (any, error) {
	op, ok := map[string]operation{
		"CreateTargetGroup":             {"Name Protocol ProtocolVersion Port VpcId TargetType IpAddressType Tags" + checkParameters, s.createTargetGroup},
		"DescribeTargetGroups":          {"LoadBalancerArn TargetGroupArns Names" + paging, s.describeTargetGroups},
		"ModifyTargetGroup":             {"TargetGroupArn" + checkParameters, s.modifyTargetGroup},
		"DeleteTargetGroup":             {"TargetGroupArn", s.deleteTargetGroup},
		"DescribeTargetGroupAttributes": {"TargetGroupArn", s.describeTargetGroupAttributes},
		"ModifyTargetGroupAttributes":   {"TargetGroupArn Attributes", s.modifyTargetGroupAttributes},
		"RegisterTargets":               {"TargetGroupArn Targets", s.registerTargets},
		"DeregisterTargets":             {"TargetGroupArn Targets", s.deregisterTargets},
		"DescribeTargetHealth":          {"TargetGroupArn Targets", s.describeTargetHealth},
		"DescribeAccountLimits":         {paging, s.describeAccountLimits},
		"CreateLoadBalancer":            {"Name Type Scheme IpAddressType Subnets SubnetMappings SecurityGroups Tags", s.createLoadBalancer},
		"DescribeLoadBalancers":         {"LoadBalancerArns Names" + paging, s.describeLoadBalancers},
		"DeleteLoadBalancer":            {"LoadBalancerArn", s.deleteLoadBalancer},
		"CreateListener":                {"LoadBalancerArn Protocol Port DefaultActions Tags", s.createListener},
		"DescribeListeners":             {"LoadBalancerArn ListenerArns" + paging, s.describeListeners},
		"DeleteListener":                {"ListenerArn", s.deleteListener},
		"AddTags":                       {"ResourceArns Tags", s.addTags},
		"RemoveTags":                    {"ResourceArns TagKeys", s.removeTags},
		"DescribeTags":                  {"ResourceArns", s.describeTags},
	}[call.Operation]
	if !ok {
		return nil, wire.UnknownOperation(call)
	}
	taken := strings.Fields(op.parameters + " Action Version")
	for key := range call.Form {
		if name, _, _ := strings.Cut(key, "."); !slices.Contains(taken, name) && call.Form.Get(key) != "" {
			return nil, unsupported("the parameter %s of %s", name, call.Operation)
		}
	}
	return op.serve(call.Form)
}

// required reads a parameter that must be there.
func required(form url.Values, key string) (string, error) {
	if value := form.Get(key); value != "" {
		return value, nil
	}
	return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null",
		strings.ToLower(key[:1])+key[1:])
}

// refuse answers with an error when the call has a parameter, or a structure
// of that name, that this region does not do.
func refuse(form url.Values, names ...string) error {
	for key := range form {
		for _, name := range names {
			if key == name || strings.HasPrefix(key, name+".") {
				return unsupported("%s", name)
			}
		}
	}
	return nil
}

// number reads a number within bounds, or leaves *n as it is.
func number(form url.Values, key string, low, high int, n *int) error {
	value, given, err := wire.Int(form, key)
	if err != nil || !given {
		return err
	}
	if value < low || value > high {
		return invalid("%s '%d' must be between '%d' and '%d' inclusive", key, value, low, high)
	}
	*n = value
	return nil
}

// named is what can be looked for by ARN and by name.
type named interface {
	id() string
	name() string
}

func (g *group) id() string          { return g.arn }
func (g *group) name() string        { return g.spec.Name }
func (b *loadBalancer) id() string   { return b.arn }
func (b *loadBalancer) name() string { return b.spec.Name }
func (l *listener) id() string       { return l.arn }
func (l *listener) name() string     { return l.arn }

// choose keeps those items that are asked for by ARN or by name, all when none
// is, in the order of their names. One that does not exist is notFound.
func choose[T named](items []T, arns, names []string, notFound error) ([]T, error) {
	for _, arn := range arns {
		if !slices.ContainsFunc(items, func(i T) bool { return i.id() == arn }) {
			return nil, notFound
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(items, func(i T) bool { return i.name() == name }) {
			return nil, notFound
		}
	}
	var out []T
	for _, i := range items {
		if len(arns)+len(names) == 0 || slices.Contains(arns, i.id()) || slices.Contains(names, i.name()) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(a.name(), b.name()) })
	return out, nil
}

// page cuts items, sorted by name, to the page that Marker and PageSize ask
// for. next is empty on the last page. A marker names the last item that was
// given out, so that changes between two pages skip and repeat nothing.
func page[T named](form url.Values, items []T) (out []T, next string, err error) {
	size := 400 // the largest that AWS takes
	if err := number(form, "PageSize", 1, 400, &size); err != nil {
		return nil, "", err
	}
	if marker := form.Get("Marker"); marker != "" {
		last, err := base64.StdEncoding.DecodeString(marker)
		if err != nil {
			return nil, "", invalid("The marker '%s' is not valid", marker)
		}
		items = slices.DeleteFunc(items, func(i T) bool { return i.name() <= string(last) })
	}
	if len(items) > size {
		items = items[:size]
		next = base64.StdEncoding.EncodeToString([]byte(items[size-1].name()))
	}
	return items, next, nil
}

// exclusive refuses a call with more than one of the filters.
func exclusive(form url.Values, filters ...string) error {
	var given []string
	for _, filter := range filters {
		if form.Get(filter) != "" || len(wire.List(form, filter)) > 0 {
			given = append(given, filter)
		}
	}
	if len(given) > 1 {
		return invalid("%s cannot be specified at the same time", strings.Join(given, " and "))
	}
	return nil
}

// checkARN refuses what is not the ARN of a resource of that kind.
func checkARN(what, kind, arn string) error {
	if !strings.HasPrefix(arn, "arn:") || !strings.Contains(arn, ":"+kind+"/") {
		return invalid("'%s' is not a valid %s ARN", arn, what)
	}
	return nil
}

// pairs reads a list of keys and values: Attributes, Tags.
func pairs(form url.Values, prefix string) [][2]string {
	var out [][2]string
	for _, pair := range wire.Structs(form, prefix) {
		out = append(out, [2]string{pair.Get("Key"), pair.Get("Value")})
	}
	return out
}

// errNotFound is the answer of the Describe operations to names and ARNs that do not exist.
func errNotFound(code, what string) error {
	return wire.Errorf(code, "%s", fmt.Sprintf("One or more %s not found", what))
}

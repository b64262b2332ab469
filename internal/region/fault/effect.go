package fault

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Effect is what happens to a call. next carries the call out.
type Effect = wire.Interceptor

// Fail answers with this error; the service does not see the call.
func Fail(e *wire.Error) Effect {
	return func(context.Context, wire.Call, func() (any, error)) (any, error) { return nil, e }
}

// Throttle answers as AWS does when a request rate is exceeded:
// ThrottlingException from the JSON services, Throttling from the query ones,
// both with status 400 and both retried by the SDKs.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonErrors.html
func Throttle() Effect {
	return func(_ context.Context, call wire.Call, _ func() (any, error)) (any, error) {
		return nil, wire.Errorf(dialect(call, "ThrottlingException", "Throttling"), "Rate exceeded")
	}
}

// ServerError answers with a 500 before the service saw the call.
func ServerError() Effect {
	return func(_ context.Context, call wire.Call, _ func() (any, error)) (any, error) {
		return nil, &wire.Error{
			Code:    dialect(call, "InternalServerError", "InternalFailure"),
			Message: "An internal error occurred.",
			Status:  http.StatusInternalServerError,
		}
	}
}

// Deny answers as AWS does when no IAM policy allows the call:
// AccessDeniedException (400) from the JSON services, AccessDenied (403) from
// the query ones, naming the caller, the action and the resource.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func Deny() Effect {
	return func(_ context.Context, call wire.Call, _ func() (any, error)) (any, error) {
		action := call.Service + ":" + permission(call)
		e := wire.Errorf(dialect(call, "AccessDeniedException", "AccessDenied"),
			"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
			call.Principal.ARN, action, resource(call), action)
		if call.Form != nil {
			e.Status = http.StatusForbidden
		}
		return nil, e
	}
}

// Delay lets the call through after a while.
func Delay(d time.Duration) Effect {
	return func(ctx context.Context, _ wire.Call, next func() (any, error)) (any, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return next()
		case <-ctx.Done():
			return nil, wire.ErrCut
		}
	}
}

// Hang holds the call until the client gives up, or the region closes. The
// service does not see it.
func Hang() Effect {
	return func(ctx context.Context, _ wire.Call, _ func() (any, error)) (any, error) {
		<-ctx.Done()
		return nil, wire.ErrCut
	}
}

// CutBefore closes the connection without an answer; nothing has happened.
func CutBefore() Effect {
	return func(context.Context, wire.Call, func() (any, error)) (any, error) { return nil, wire.ErrCut }
}

// CutAfter carries the call out and then closes the connection: it has
// happened, and the client can't know.
func CutAfter() Effect {
	return func(_ context.Context, _ wire.Call, next func() (any, error)) (any, error) {
		_, _ = next() // whatever came of it is what gets lost
		return nil, wire.ErrCut
	}
}

// permission is what IAM calls an operation, where that is another name.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func permission(call wire.Call) string {
	if call.Service == "s3" {
		switch call.Operation {
		case "ListObjectsV2", "HeadBucket":
			return "ListBucket"
		case "HeadObject":
			return "GetObject"
		}
	}
	return call.Operation
}

// dialect picks the error code of the call's protocol.
func dialect(call wire.Call, jsonCode, queryCode string) string {
	if call.Form != nil {
		return queryCode
	}
	return jsonCode
}

// resource is the ARN that IAM would name for the services bootagent uses.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
func resource(call wire.Call) string {
	prefix := fmt.Sprintf("arn:aws:%s:%s:%s:", call.Service, call.Region, call.Principal.Account)
	switch call.Service {
	case "ssm":
		var in struct {
			Name, Path, ResourceID string
			Names                  []string
		}
		// A body that is no JSON names no resource.
		_ = json.Unmarshal(call.Body, &in)
		if len(in.Names) > 0 {
			in.Name = in.Names[0]
		}
		if name := cmp.Or(in.Name, in.Path, in.ResourceID); strings.HasPrefix(name, "arn:") {
			return name
		} else if name != "" {
			name, _, _ = strings.Cut(name, ":") // the selector is no part of the resource
			return prefix + "parameter/" + strings.TrimPrefix(name, "/")
		}
	case "dynamodb":
		var in struct{ TableName string }
		// As above.
		if _ = json.Unmarshal(call.Body, &in); in.TableName != "" {
			return prefix + "table/" + in.TableName
		}
	case "elasticloadbalancing":
		if arn := call.Form.Get("TargetGroupArn"); arn != "" && !strings.HasPrefix(call.Operation, "Describe") {
			return arn
		}
	case "sts":
		if role := call.Form.Get("RoleArn"); role != "" {
			return role
		}
	case "autoscaling":
		if group := call.Form.Get("AutoScalingGroupName"); group != "" {
			return prefix + "autoScalingGroup:*:autoScalingGroupName/" + group
		}
	}
	return "*"
}

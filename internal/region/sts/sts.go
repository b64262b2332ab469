// Package sts is the region's Security Token Service, as far as it says who
// calls: GetCallerIdentity. Every other operation is refused by name.
package sts

import (
	"context"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name is the service's SigV4 signing name, Namespace that of its XML.
const (
	Name      = "sts"
	Namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// Handler answers from the call's Principal.
type Handler struct{}

var _ wire.Handler = Handler{}

// Serve carries one call out.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (Handler) Serve(_ context.Context, call wire.Call) (any, error) {
	if call.Operation != "GetCallerIdentity" {
		return nil, wire.UnknownOperation(call)
	}
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{call.Principal.ARN, call.Principal.UserID, call.Principal.Account}, nil
}

// Package sts is the region's Security Token Service, as far as it says who
// calls and lends roles: GetCallerIdentity and AssumeRole. Every other operation
// is refused by name.
package sts

import (
	"context"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Name is the service's SigV4 signing name, Namespace that of its XML.
const (
	Name      = "sts"
	Namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// Options of a Service.
type Options struct {
	// Identify is told whose the keys are that AssumeRole has made, before
	// anybody has them; required.
	Identify func(accessKey string, p wire.Principal)
	// Clock says when keys end; nil is time.Now.
	Clock func() time.Time
}

// Service answers from the call's Principal, and keeps nothing itself.
type Service struct{ opts Options }

var _ wire.Handler = (*Service)(nil)

// New makes the service. It panics without Identify.
func New(opts Options) *Service {
	if opts.Identify == nil {
		panic("sts: nobody would know the keys")
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	return &Service{opts}
}

// Serve carries one call out.
func (s *Service) Serve(_ context.Context, call wire.Call) (any, error) {
	switch call.Operation {
	case "GetCallerIdentity":
		return identity(call.Principal), nil
	case "AssumeRole":
		return s.assumeRole(call)
	}
	return nil, wire.UnknownOperation(call)
}

// identity is the answer to GetCallerIdentity.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func identity(p wire.Principal) any {
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{p.ARN, p.UserID, p.Account}
}

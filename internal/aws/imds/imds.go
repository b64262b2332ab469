// Package imds asks the instance metadata service who this instance is, and
// where Auto Scaling wants it. It speaks IMDSv2 only.
package imds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

const (
	// identityAttempts, identityPause apart: networks come up late, and nodeadm of Amazon EKS, which boots
	// machines the same way, had to raise its patience to about a minute.
	identityAttempts = 60
	identityPause    = time.Second
	// identityTimeout is for all of them, where ctx gives no less: an attempt that hangs costs up to 2 s more.
	identityTimeout = 3 * time.Minute
	// stateTimeout is for one look at the lifecycle state, with its 3 attempts.
	stateTimeout = 10 * time.Second

	bootIDFile = "/proc/sys/kernel/random/boot_id"
	// maxState bounds what is read of a state; the longest is Warmed:Pending:Proceed.
	maxState = 64
)

// Options are for a machine that is no EC2 instance.
type Options struct {
	// BootID stands in for the kernel's: several instances on one laptop have one kernel. Empty means the kernel's.
	BootID string
}

// Metadata is the instance metadata service.
type Metadata struct {
	identity *sdk.Client
	state    *sdk.Client
	bootID   string
}

// New makes the adapter; it asks nothing yet.
func New(s *session.Session, o Options) *Metadata {
	return &Metadata{
		identity: s.Metadata(session.Patient(identityAttempts, identityPause, true, true)),
		state:    s.Metadata(session.Patient(3, 200*time.Millisecond, false, true)),
		bootID:   o.BootID,
	}
}

// Identity asks who this instance is, for a minute or so if it must: at boot
// the network may come up later than the agent. It takes one request, for
// the instance identity document.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (m *Metadata) Identity(ctx context.Context) (model.Identity, error) {
	bootID, err := m.boot()
	if err != nil {
		return model.Identity{}, err
	}
	doc, err := session.Ask(ctx, identityTimeout, "the instance's identity",
		func(ctx context.Context) (*sdk.GetInstanceIdentityDocumentOutput, error) {
			return m.identity.GetInstanceIdentityDocument(ctx, &sdk.GetInstanceIdentityDocumentInput{})
		})
	if err != nil {
		return model.Identity{}, err
	}
	if doc.InstanceID == "" || doc.Region == "" {
		return model.Identity{}, &session.Error{Kind: session.Refused, Sentence: fmt.Sprintf(
			"the instance identity document of IMDS names no instance (%q) or no region (%q): is AWS_EC2_METADATA_SERVICE_ENDPOINT the right one?",
			doc.InstanceID, doc.Region)}
	}
	return model.Identity{
		InstanceID:       doc.InstanceID,
		Region:           doc.Region,
		AvailabilityZone: doc.AvailabilityZone,
		PrivateIP:        doc.PrivateIP,
		BootID:           bootID,
	}, nil
}

func (m *Metadata) boot() (string, error) {
	if m.bootID != "" {
		return m.bootID, nil
	}
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read this boot's id: %w: bootagent needs Linux with /proc", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// TargetLifecycle is the state that Auto Scaling is moving the instance to:
// InService already in Pending:Wait. It is LifecycleNone for an instance in
// no group, for which IMDS says 404 as a matter of course.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
func (m *Metadata) TargetLifecycle(ctx context.Context) (model.Lifecycle, error) {
	state, err := session.Ask(ctx, stateTimeout, "the target lifecycle state",
		func(ctx context.Context) (string, error) {
			out, err := m.state.GetMetadata(ctx, &sdk.GetMetadataInput{Path: "autoscaling/target-lifecycle-state"})
			if err != nil {
				return "", err
			}
			defer out.Content.Close()
			b, err := io.ReadAll(io.LimitReader(out.Content, maxState))
			return string(b), err
		})
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound {
		return model.LifecycleNone, nil
	}
	if err != nil {
		return model.LifecycleNone, err
	}
	return model.Lifecycle(strings.TrimSpace(state)), nil
}

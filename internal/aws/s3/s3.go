// Package s3 keeps objects in S3, below one prefix of a bucket: what is put is never written over.
package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
)

const (
	// putSlowest is the slowest upload that is waited for, in bytes a second.
	putSlowest = 512 << 10
	// resumes is how often a read whose connection breaks goes on from where it was: the SDK tries a request again, and not its answer.
	resumes = 3
	// listMost bounds a listing, in pages of a thousand objects.
	listMost = 100
	// mine is the name of an object's metadata that says which put made it.
	mine = "bootagent-put"
)

// Bucket is a bucket below a prefix.
type Bucket struct {
	session *session.Session
	client  *sdk.Client
	name    string
	prefix  string // "" or "shop/"
}

// Open makes the adapter; it asks nothing yet. The prefix has no slash at its ends.
func Open(s *session.Session, bucket, prefix string) *Bucket {
	if prefix != "" {
		prefix += "/"
	}
	client := sdk.NewFromConfig(s.Config, func(o *sdk.Options) {
		// Emulators have no hosts of their own for buckets, and not each of them reads a checksum behind a body.
		if o.BaseEndpoint != nil {
			o.UsePathStyle = true
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}
		// Parts of objects have no checksum of S3's: what was read is verified by who reads.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return &Bucket{session: s, client: client, name: bucket, prefix: prefix}
}

func (b *Bucket) call(action, name string) session.Call {
	return session.Call{Action: action, Resource: "s3://" + b.name + "/" + b.prefix + name}
}

// Read fills p with what an object has from that byte on, and says how much there was: less than p holds is the object's end. An
// object that is not there is an fs.ErrNotExist.
func (b *Bucket) Read(ctx context.Context, name string, from int64, p []byte) (int, error) {
	return session.Do(ctx, b.session, b.call("s3:GetObject", name), func(ctx context.Context) (int, error) {
		done := 0
		for try := 0; ; try++ {
			n, err := b.read(ctx, name, from+int64(done), p[done:])
			done += n
			var broken *brokenError
			if err == nil || try == resumes || ctx.Err() != nil || !errors.As(err, &broken) {
				return done, err
			}
		}
	})
}

// brokenError is an answer that broke off.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "the answer broke off: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func (b *Bucket) read(ctx context.Context, name string, from int64, p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	out, err := b.client.GetObject(ctx, &sdk.GetObjectInput{
		Bucket: &b.name, Key: aws.String(b.prefix + name), Range: aws.String(fmt.Sprintf("bytes=%d-%d", from, from+int64(len(p))-1)),
	})
	switch code(err) {
	case "NoSuchKey":
		return 0, &absentError{err}
	case "InvalidRange": // the object ends before
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Body.Close() }()
	if status(out) == http.StatusOK && from > 0 {
		return 0, errors.New("the server has sent the whole object, and a part of it was asked for")
	}
	n, err = io.ReadFull(out.Body, p[:min(int64(len(p)), max(aws.ToInt64(out.ContentLength), 0))])
	if err != nil {
		return n, &brokenError{err}
	}
	return n, nil
}

// absentError is an object that is not there.
type absentError struct{ err error }

func (e *absentError) Error() string   { return e.err.Error() }
func (e *absentError) Unwrap() []error { return []error{e.err, fs.ErrNotExist} }

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func status(out *sdk.GetObjectOutput) int {
	if out.ContentRange != nil {
		return http.StatusPartialContent
	}
	return http.StatusOK
}

// Put makes an object of size bytes, whole or not at all. It never writes over one: that is an fs.ErrExist.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	patient := *b.session
	patient.Timeout += time.Duration(size/putSlowest) * time.Second
	nonce := rand.Text()
	_, err := session.Do(ctx, &patient, b.call("s3:PutObject", name), func(ctx context.Context) (*sdk.PutObjectOutput, error) {
		return b.client.PutObject(ctx, &sdk.PutObjectInput{
			Bucket: &b.name, Key: aws.String(b.prefix + name), Body: body, ContentLength: &size, IfNoneMatch: aws.String("*"),
			Metadata: map[string]string{mine: nonce},
		})
	})
	switch c := code(err); {
	case c != "PreconditionFailed" && c != "ConditionalRequestConflict" && answered(err) != http.StatusPreconditionFailed:
		return err
	case b.isMine(ctx, name, nonce): // an attempt whose answer was lost
		return nil
	}
	return fmt.Errorf("s3://%s/%s%s: %w", b.name, b.prefix, name, fs.ErrExist)
}

func (b *Bucket) isMine(ctx context.Context, name, nonce string) bool {
	out, err := session.Do(ctx, b.session, b.call("s3:GetObject", name), func(ctx context.Context) (*sdk.HeadObjectOutput, error) {
		return b.client.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	})
	return err == nil && out.Metadata[mine] == nonce
}

func answered(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// List gives the objects whose names begin with prefix, in the order of their names.
func (b *Bucket) List(ctx context.Context, prefix string) ([]model.Object, error) {
	var all []model.Object
	pages := sdk.NewListObjectsV2Paginator(b.client, &sdk.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.prefix + prefix)})
	for n := 0; pages.HasMorePages(); n++ {
		if n == listMost {
			return nil, fmt.Errorf("s3://%s/%s%s has more than %d objects: remove what is old, by a lifecycle rule of the bucket", b.name, b.prefix, prefix, listMost*1000)
		}
		page, err := session.Do(ctx, b.session, b.call("s3:ListBucket", prefix), func(ctx context.Context) (*sdk.ListObjectsV2Output, error) {
			return pages.NextPage(ctx)
		})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			name, ok := strings.CutPrefix(aws.ToString(o.Key), b.prefix)
			if ok {
				all = append(all, model.Object{Name: name, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			}
		}
	}
	return all, nil
}

// Remove takes an object away. One that is not there is no error.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	_, err := session.Do(ctx, b.session, b.call("s3:DeleteObject", name), func(ctx context.Context) (*sdk.DeleteObjectOutput, error) {
		return b.client.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	})
	return err
}

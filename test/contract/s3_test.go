package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/bootagent/bootagent/internal/region"
)

// objectTeller tells a story of objects in the bucket "artifacts": as with teller, each method makes one call and writes one line.
type objectTeller struct {
	ctx   context.Context
	s3    *s3.Client
	lines []string
}

// objectStory is a story for an objectTeller; the fields are those of story.
type objectStory struct {
	name        string
	tell        func(s *objectTeller)
	want        []string
	motoIsWrong string
}

func newObjectTeller(t *testing.T, endpoint string) *objectTeller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	s := &objectTeller{ctx: ctx, s3: s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: "us-east-1", RetryMaxAttempts: 1, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AKIACONTRACT", "secret", ""),
	})}
	if _, err := s.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("artifacts")}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *objectTeller) write(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		var api smithy.APIError
		line = "! " + err.Error()
		if errors.As(err, &api) {
			line = "! " + api.ErrorCode()
		}
	}
	s.lines = append(s.lines, line)
}

// put puts an object; once says that none may be there.
func (s *objectTeller) put(key, content string, once bool) {
	in := &s3.PutObjectInput{Bucket: aws.String("artifacts"), Key: &key, Body: strings.NewReader(content), Metadata: map[string]string{"by": "me"}}
	if once {
		in.IfNoneMatch = aws.String("*")
	}
	out, err := s.s3.PutObject(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "put, ETag %s", aws.ToString(out.ETag))
}

func (s *objectTeller) get(key, span string) {
	in := &s3.GetObjectInput{Bucket: aws.String("artifacts"), Key: &key}
	if span != "" {
		in.Range = &span
	}
	out, err := s.s3.GetObject(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	data, err := io.ReadAll(out.Body)
	s.write(errors.Join(err, out.Body.Close()), "%q, length %d, range %q, by %s, ETag %s", data, aws.ToInt64(out.ContentLength), aws.ToString(out.ContentRange), out.Metadata["by"], aws.ToString(out.ETag))
}

// getMatching reads an object if that is its ETag.
func (s *objectTeller) getMatching(key, etag string) {
	out, err := s.s3.GetObject(s.ctx, &s3.GetObjectInput{Bucket: aws.String("artifacts"), Key: &key, IfMatch: &etag})
	if err != nil {
		s.write(err, "")
		return
	}
	data, err := io.ReadAll(out.Body)
	s.write(errors.Join(err, out.Body.Close()), "%q", data)
}

func (s *objectTeller) head(key string) {
	out, err := s.s3.HeadObject(s.ctx, &s3.HeadObjectInput{Bucket: aws.String("artifacts"), Key: &key})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "length %d, by %s", aws.ToInt64(out.ContentLength), out.Metadata["by"])
}

func (s *objectTeller) remove(key string) {
	_, err := s.s3.DeleteObject(s.ctx, &s3.DeleteObjectInput{Bucket: aws.String("artifacts"), Key: &key})
	s.write(err, "removed")
}

// list lists in pages of so many.
func (s *objectTeller) list(bucket, prefix string, pages int32) {
	p := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, MaxKeys: &pages})
	for p.HasMorePages() {
		page, err := p.NextPage(s.ctx)
		if err != nil {
			s.write(err, "")
			return
		}
		var names []string
		for _, o := range page.Contents {
			names = append(names, fmt.Sprintf("%s (%d)", aws.ToString(o.Key), aws.ToInt64(o.Size)))
		}
		s.write(nil, "%d: %s", aws.ToInt32(page.KeyCount), strings.Join(names, ", "))
	}
}

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
var objectStories = []objectStory{
	{
		name: "who is first to put wins",
		tell: func(s *objectTeller) {
			s.put("a", "one", true)
			s.put("a", "two", true)
			s.get("a", "")
			s.put("a", "three", false)
			s.get("a", "")
			s.remove("a")
			s.put("a", "four", true)
		},
		want: []string{
			`put, ETag "f97c5d29941bfb1b2fdab0874906ab82"`, "! PreconditionFailed",
			`"one", length 3, range "", by me, ETag "f97c5d29941bfb1b2fdab0874906ab82"`, `put, ETag "35d6d33467aae9a2e3dccb4b6b027878"`,
			`"three", length 5, range "", by me, ETag "35d6d33467aae9a2e3dccb4b6b027878"`, "removed", `put, ETag "8cbad96aced40b3838dd9f07f6ef5772"`,
		},
	},
	{
		name: "an object is read in parts",
		tell: func(s *objectTeller) {
			s.put("a", "0123456789", false)
			for _, span := range []string{"bytes=0-3", "bytes=4-7", "bytes=8-11", "bytes=8-", "bytes=-2", "bytes=10-13"} {
				s.get("a", span)
			}
		},
		want: []string{
			`put, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			`"0123", length 4, range "bytes 0-3/10", by me, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			`"4567", length 4, range "bytes 4-7/10", by me, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			`"89", length 2, range "bytes 8-9/10", by me, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			`"89", length 2, range "bytes 8-9/10", by me, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			`"89", length 2, range "bytes 8-9/10", by me, ETag "781e5e245d69b566979b86e28d23f2c7"`,
			"! InvalidRange",
		},
	},
	{
		name: "an object is read as long as it is the one that was seen", // as the AWS CLI reads a large one in parts
		tell: func(s *objectTeller) {
			s.put("a", "one", false)
			s.getMatching("a", `"f97c5d29941bfb1b2fdab0874906ab82"`)
			s.put("a", "two", false)
			s.getMatching("a", `"f97c5d29941bfb1b2fdab0874906ab82"`)
			s.getMatching("b", `"f97c5d29941bfb1b2fdab0874906ab82"`)
		},
		want: []string{
			`put, ETag "f97c5d29941bfb1b2fdab0874906ab82"`, `"one"`, `put, ETag "b8a9f715dbb64fd5c56e7783c6820a61"`, "! PreconditionFailed", "! NoSuchKey",
		},
	},
	{
		name: "what is not there is said to be so",
		tell: func(s *objectTeller) {
			s.get("a", "")
			s.get("a", "bytes=0-3")
			s.head("a")
			s.remove("a")
			s.list("elsewhere", "", 10)
			s.list("artifacts", "", 10)
		},
		want: []string{"! NoSuchKey", "! NoSuchKey", "! NotFound", "removed", "! NoSuchBucket", "0: "},
	},
	{
		name: "a listing has the objects below a prefix, in their order and in pages",
		tell: func(s *objectTeller) {
			for _, key := range []string{"shop/b/0.json", "shop/a/10.json", "shop/a/1.json", "other", "shop/ü x+y&z"} {
				s.put(key, key, true)
			}
			s.head("shop/a/1.json")
			s.list("artifacts", "shop/", 2)
			s.list("artifacts", "shop/a/1", 10)
		},
		want: []string{
			`put, ETag "d418a5682494ab24defb1a8a002ebce4"`, `put, ETag "e07b9fa16f89d9c990df7fdbb86f84dc"`, `put, ETag "af142991b15ba91ab843431d9d1d3fe7"`, `put, ETag "795f3202b17cb6bc3d4b771d8c6c9eaf"`, `put, ETag "dbf237dfacb8f2ca9cf993ae8bd384a9"`,
			"length 13, by me",
			"2: shop/a/1.json (13), shop/a/10.json (14)", "2: shop/b/0.json (13), shop/ü x+y&z (13)", "2: shop/a/1.json (13), shop/a/10.json (14)",
		},
	},
}

func TestObjectsTellTheSameStoriesAsMoto(t *testing.T) {
	t.Parallel()
	for _, story := range objectStories {
		t.Run("region/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newObjectTeller(t, smallRegion(t).endpoint)
			story.tell(s)
			sameAsDocumented(t, story.want, s.lines)
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newObjectTeller(t, freshMoto(t))
			story.tell(s)
			sameAsMoto(t, story.want, s.lines, story.motoIsWrong)
		})
	}
}

func TestTheStockCLIDrivesObjects(t *testing.T) {
	t.Parallel()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	aws := newCLI(t, r)
	dir := t.TempDir()
	content := bytes.Repeat([]byte("artifact "), 100_000)
	if err := os.WriteFile(filepath.Join(dir, "one"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"s3", "mb", "s3://artifacts"},
		{"s3", "cp", filepath.Join(dir, "one"), "s3://artifacts/shop/one"},
		{"s3", "cp", "s3://artifacts/shop/one", filepath.Join(dir, "two")},
		{"s3", "rm", "s3://artifacts/shop/one"},
	} {
		if out, ok := aws.run(t, args...); !ok {
			t.Fatalf("aws %s: %s", strings.Join(args, " "), out)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "two")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if out, ok := aws.run(t, "s3api", "put-object-acl", "--bucket", "artifacts", "--key", "x", "--acl", "public-read"); ok || !strings.Contains(out, "has no s3:PUT?acl") {
		t.Errorf("what is not served: %s", out)
	}
}

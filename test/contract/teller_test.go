package contract

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

// teller tells a story to one server: each method makes one call and writes one
// line of what came back. An error is its code, after a "!". Names of the story
// begin with /p, which on the server is a prefix of this telling alone.
type teller struct {
	ctx    context.Context
	ssm    *ssm.Client
	prefix string
	lines  []string
}

func newTeller(t *testing.T, endpoint string) *teller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &teller{ctx: ctx, ssm: ssm.New(clientOptions(endpoint)), prefix: "/t" + rand.Text()}
}

func clientOptions(endpoint string) ssm.Options {
	return ssm.Options{
		BaseEndpoint: aws.String(endpoint),
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("AKIACONTRACT", "secret", ""),
	}
}

func (s *teller) real(name string) string {
	if i := strings.Index(name, "/p"); i >= 0 {
		return name[:i] + s.prefix + name[i+2:]
	}
	return name
}

func (s *teller) reals(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = s.real(name)
	}
	return out
}

func (s *teller) write(err error, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if err != nil {
		var api smithy.APIError
		line = "! " + err.Error()
		if errors.As(err, &api) {
			line = "! " + api.ErrorCode()
		}
	}
	line = strings.ReplaceAll(line, strings.TrimPrefix(s.prefix, "/"), "p")
	s.lines = append(s.lines, line)
}

type putOption func(*ssm.PutParameterInput)

func overwrite(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }
func untyped(in *ssm.PutParameterInput)   { in.Type = "" }
func secure(in *ssm.PutParameterInput)    { in.Type = types.ParameterTypeSecureString }
func tier(tier types.ParameterTier) putOption {
	return func(in *ssm.PutParameterInput) { in.Tier = tier }
}
func described(text string) putOption {
	return func(in *ssm.PutParameterInput) { in.Description = aws.String(text) }
}
func allowed(pattern string) putOption {
	return func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String(pattern) }
}
func tagged(key, value string) putOption {
	return func(in *ssm.PutParameterInput) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
}

func (s *teller) put(name, value string, options ...putOption) {
	in := &ssm.PutParameterInput{Name: aws.String(s.real(name)), Value: aws.String(value), Type: types.ParameterTypeString}
	for _, option := range options {
		option(in)
	}
	out, err := s.ssm.PutParameter(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "version %d", out.Version)
}

func parameter(p types.Parameter) string {
	return fmt.Sprintf("%s = %s (%s, version %d)", aws.ToString(p.Name), aws.ToString(p.Value), p.Type, p.Version)
}

func (s *teller) get(name string) {
	out, err := s.ssm.GetParameter(s.ctx, &ssm.GetParameterInput{Name: aws.String(s.real(name)), WithDecryption: aws.Bool(true)})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%s", parameter(*out.Parameter))
}

// getEncrypted gets a SecureString without decryption.
func (s *teller) getEncrypted(name string) {
	out, err := s.ssm.GetParameter(s.ctx, &ssm.GetParameterInput{Name: aws.String(s.real(name))})
	if err != nil {
		s.write(err, "")
		return
	}
	value := aws.ToString(out.Parameter.Value)
	if raw, err := base64.StdEncoding.DecodeString(value); err == nil && len(raw) > 32 {
		value = "hidden"
	}
	s.write(nil, "%s", value)
}

// getMany is GetParameters; AWS promises no order, so the lines are sorted.
func (s *teller) getMany(names ...string) {
	out, err := s.ssm.GetParameters(s.ctx, &ssm.GetParametersInput{Names: s.reals(names)})
	if err != nil {
		s.write(err, "")
		return
	}
	found := sorted(out.Parameters, parameter)
	slices.Sort(out.InvalidParameters)
	s.write(nil, "[%s] invalid %v", strings.Join(found, ", "), out.InvalidParameters)
}

// byPath reads all pages, each of at most size, and writes how many there were.
func (s *teller) byPath(path string, recursive bool, size int32, filters ...types.ParameterStringFilter) {
	pages := ssm.NewGetParametersByPathPaginator(s.ssm, &ssm.GetParametersByPathInput{
		Path: aws.String(s.real(path)), Recursive: aws.Bool(recursive), MaxResults: aws.Int32(size), ParameterFilters: filters,
	})
	var found []string
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			s.write(err, "")
			return
		}
		n++
		found = append(found, sorted(page.Parameters, parameter)...)
	}
	slices.Sort(found)
	s.write(nil, "%d pages [%s]", n, strings.Join(found, ", "))
}

func (s *teller) history(name string, size int32) {
	pages := ssm.NewGetParameterHistoryPaginator(s.ssm, &ssm.GetParameterHistoryInput{
		Name: aws.String(s.real(name)), MaxResults: aws.Int32(size), WithDecryption: aws.Bool(true),
	})
	var found []string
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			s.write(err, "")
			return
		}
		n++
		for _, p := range page.Parameters {
			slices.Sort(p.Labels)
			found = append(found, fmt.Sprintf("%d %s %v", p.Version, aws.ToString(p.Value), p.Labels))
		}
	}
	s.write(nil, "%d pages [%s]", n, strings.Join(found, ", "))
}

// label labels a version, or the newest where that is 0.
func (s *teller) label(name string, version int64, labels ...string) {
	in := &ssm.LabelParameterVersionInput{Name: aws.String(s.real(name)), Labels: labels}
	if version != 0 {
		in.ParameterVersion = aws.Int64(version)
	}
	out, err := s.ssm.LabelParameterVersion(s.ctx, in)
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "labelled version %d, invalid %v", out.ParameterVersion, out.InvalidLabels)
}

func (s *teller) unlabel(name string, version int64, labels ...string) {
	out, err := s.ssm.UnlabelParameterVersion(s.ctx, &ssm.UnlabelParameterVersionInput{
		Name: aws.String(s.real(name)), ParameterVersion: aws.Int64(version), Labels: labels,
	})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "removed %v, invalid %v", out.RemovedLabels, out.InvalidLabels)
}

func (s *teller) remove(name string) {
	_, err := s.ssm.DeleteParameter(s.ctx, &ssm.DeleteParameterInput{Name: aws.String(s.real(name))})
	s.write(err, "removed")
}

func (s *teller) removeMany(names ...string) {
	out, err := s.ssm.DeleteParameters(s.ctx, &ssm.DeleteParametersInput{Names: s.reals(names)})
	if err != nil {
		s.write(err, "")
		return
	}
	slices.Sort(out.DeletedParameters)
	slices.Sort(out.InvalidParameters)
	s.write(nil, "removed %v, invalid %v", out.DeletedParameters, out.InvalidParameters)
}

func filter(key, option string, values ...string) types.ParameterStringFilter {
	f := types.ParameterStringFilter{Key: aws.String(key), Values: values}
	if option != "" {
		f.Option = aws.String(option)
	}
	return f
}

// describe lists the names that pass the filters, in pages of at most size.
func (s *teller) describe(size int32, filters ...types.ParameterStringFilter) {
	for i := range filters {
		filters[i].Values = s.reals(filters[i].Values)
	}
	pages := ssm.NewDescribeParametersPaginator(s.ssm, &ssm.DescribeParametersInput{
		ParameterFilters: filters, MaxResults: aws.Int32(size),
	})
	var found []string
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			s.write(err, "")
			return
		}
		n++
		for _, p := range page.Parameters {
			found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", aws.ToString(p.Name), p.Type, p.Tier, aws.ToString(p.Description))))
		}
	}
	slices.Sort(found)
	s.write(nil, "%d pages [%s]", n, strings.Join(found, ", "))
}

func (s *teller) tag(name, key, value string) {
	_, err := s.ssm.AddTagsToResource(s.ctx, &ssm.AddTagsToResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String(s.real(name)),
		Tags: []types.Tag{{Key: aws.String(key), Value: aws.String(value)}},
	})
	s.write(err, "tagged")
}

func (s *teller) untag(name, key string) {
	_, err := s.ssm.RemoveTagsFromResource(s.ctx, &ssm.RemoveTagsFromResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String(s.real(name)), TagKeys: []string{key},
	})
	s.write(err, "untagged")
}

func (s *teller) tags(name string) {
	out, err := s.ssm.ListTagsForResource(s.ctx, &ssm.ListTagsForResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String(s.real(name)),
	})
	if err != nil {
		s.write(err, "")
		return
	}
	s.write(nil, "%v", sorted(out.TagList, func(t types.Tag) string { return aws.ToString(t.Key) + "=" + aws.ToString(t.Value) }))
}

func sorted[T any](items []T, line func(T) string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = line(item)
	}
	slices.Sort(out)
	return out
}

package ssm

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// parameter is one name with its versions, the oldest first, never empty.
type parameter struct {
	name     string // as it was put
	versions []*version
	tags     map[string]string
}

// version is what one put left behind. Only its labels change afterwards.
type version struct {
	number         int64
	kind           string // String, StringList or SecureString
	value          string
	tier           string
	dataType       string
	description    string
	allowedPattern string
	keyID          string // of a SecureString
	modified       time.Time
	user           string   // ARN of who put it
	labels         []string // in the order they were attached
}

func (p *parameter) newest() *version { return p.versions[len(p.versions)-1] }

func (p *parameter) version(number int64) (*version, error) {
	for _, v := range p.versions {
		if v.number == number {
			return v, nil
		}
	}
	return nil, wire.Errorf("ParameterVersionNotFound",
		"Systems Manager could not find version %d of %s. Verify the version and try again.", number, p.name)
}

func (v *version) labelled(label string) bool { return slices.Contains(v.labels, label) }

// shown is the value as a caller gets it: without decryption a SecureString is
// a base64 blob, here made of a hash, as there is nothing to decrypt it.
func (p *parameter) shown(v *version, decrypt bool) string {
	if v.kind != "SecureString" || decrypt {
		return v.value
	}
	first := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s", p.name, v.number, v.value))
	second := sha256.Sum256(first[:])
	// These five bytes, AQICAHg in base64, are what the blobs of KMS begin with.
	return base64.StdEncoding.EncodeToString(slices.Concat([]byte{1, 2, 2, 0, 0x78}, first[:], second[:]))
}

// parameterOut is the shape Parameter of the API.
type parameterOut struct {
	Name             string
	Type             string
	Value            string
	Version          int64
	Selector         string `json:",omitempty"`
	LastModifiedDate epoch
	ARN              string
	DataType         string
}

func (s *Store) out(p *parameter, v *version, selector string, decrypt bool) parameterOut {
	return parameterOut{
		Name: p.name, Type: v.kind, Value: p.shown(v, decrypt), Version: v.number, Selector: selector,
		LastModifiedDate: epoch(v.modified), ARN: s.arn(p.name), DataType: v.dataType,
	}
}

// metadataOut is the shape ParameterMetadata of the API; historyOut adds to it.
type metadataOut struct {
	Name             string
	Type             string
	KeyID            string `json:"KeyId,omitempty"`
	LastModifiedDate epoch
	LastModifiedUser string
	Description      string `json:",omitempty"`
	AllowedPattern   string `json:",omitempty"`
	Version          int64
	Tier             string
	Policies         []struct{}
	DataType         string
	ARN              string `json:",omitempty"`
}

func (p *parameter) metadata(v *version) metadataOut {
	return metadataOut{
		Name: p.name, Type: v.kind, KeyID: v.keyID, LastModifiedDate: epoch(v.modified), LastModifiedUser: v.user,
		Description: v.description, AllowedPattern: v.allowedPattern, Version: v.number, Tier: v.tier,
		Policies: []struct{}{}, DataType: v.dataType,
	}
}

// historyOut is the shape ParameterHistory of the API.
type historyOut struct {
	metadataOut
	Value  string
	Labels []string
}

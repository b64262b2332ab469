package imds

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

func (o Options) withDefaults() Options {
	o.Account = cmp.Or(o.Account, "123456789012")
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.AvailabilityZone = cmp.Or(o.AvailabilityZone, o.Region+"a")
	o.AMI = cmp.Or(o.AMI, "ami-0b007a6e27000000f")
	o.InstanceType = cmp.Or(o.InstanceType, "t3.micro")
	o.PrivateIP = cmp.Or(o.PrivateIP, "127.0.0.1")
	o.Hostname = cmp.Or(o.Hostname, "ip-"+strings.ReplaceAll(o.PrivateIP, ".", "-")+".ec2.internal")
	o.CredentialsTTL = cmp.Or(o.CredentialsTTL, 6*time.Hour)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.LaunchedAt.IsZero() {
		o.LaunchedAt = o.Clock()
	}
	return o
}

// tree is everything there is to read now, by its path below the version.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
func (s *Server) tree() map[string]string {
	o := s.opts
	tree := map[string]string{
		"meta-data/ami-id":                      o.AMI,
		"meta-data/ami-launch-index":            "0",
		"meta-data/hostname":                    o.Hostname,
		"meta-data/instance-action":             "none",
		"meta-data/instance-id":                 o.InstanceID,
		"meta-data/instance-life-cycle":         "on-demand",
		"meta-data/instance-type":               o.InstanceType,
		"meta-data/local-hostname":              o.Hostname,
		"meta-data/local-ipv4":                  o.PrivateIP,
		"meta-data/mac":                         s.mac(),
		"meta-data/placement/availability-zone": o.AvailabilityZone,
		"meta-data/placement/region":            o.Region,
		"meta-data/reservation-id":              "r-" + strings.TrimPrefix(o.InstanceID, "i-"),
		"meta-data/security-groups":             "default",
		"meta-data/services/domain":             "amazonaws.com",
		"meta-data/services/partition":          "aws",
		"dynamic/instance-identity/document":    s.identity(),
		"meta-data/system":                      "nitro",
	}
	if o.UserData != "" {
		tree["user-data"] = o.UserData
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lifecycle != "" {
		tree["meta-data/autoscaling/target-lifecycle-state"] = s.lifecycle
	}
	for key, value := range s.tags {
		tree["meta-data/tags/instance/"+key] = value
	}
	if s.spotAction != "" {
		tree["meta-data/instance-life-cycle"] = "spot"
		tree["meta-data/spot/instance-action"] = document(map[string]string{
			"action": s.spotAction, "time": moment(s.spotAt),
		})
		if s.spotAction == "terminate" {
			tree["meta-data/spot/termination-time"] = moment(s.spotAt)
		}
	}
	if o.Role != "" {
		tree["meta-data/iam/info"] = s.profile()
		tree["meta-data/iam/security-credentials/"+o.Role] = s.credentials()
	}
	return tree
}

// mac is made of the instance id; its first byte says "locally administered".
func (s *Server) mac() string {
	sum := sha256.Sum256([]byte(s.opts.InstanceID))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// identity is the instance identity document, unsigned.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (s *Server) identity() string {
	o := s.opts
	return document(map[string]any{
		"accountId": o.Account, "architecture": "x86_64", "availabilityZone": o.AvailabilityZone,
		"billingProducts": nil, "devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": o.AMI, "instanceId": o.InstanceID, "instanceType": o.InstanceType, "kernelId": nil,
		"pendingTime": moment(o.LaunchedAt), "privateIp": o.PrivateIP, "ramdiskId": nil,
		"region": o.Region, "version": "2017-09-30",
	})
}

// profile is iam/info.
func (s *Server) profile() string {
	return document(map[string]string{
		"Code": "Success", "LastUpdated": moment(s.opts.Clock()),
		"InstanceProfileArn": fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", s.opts.Account, s.opts.Role),
		"InstanceProfileId":  "AIPABOOTAGENTREGION01",
	})
}

// credentials are what the SDK's role provider reads.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
func (s *Server) credentials() string {
	now, c := s.opts.Clock(), s.opts.Credentials
	return document(map[string]string{
		"Code": "Success", "LastUpdated": moment(now), "Type": "AWS-HMAC",
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.Token,
		"Expiration": moment(now.Add(s.opts.CredentialsTTL)),
	})
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// document is v as JSON. What is given to it here can't fail to marshal.
func document(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}

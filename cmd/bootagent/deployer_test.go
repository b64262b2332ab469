package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/region/fault"
	calls "github.com/bootagent/bootagent/internal/region/wire"
)

// person is the access key that the commands sign with; the agents have another.
const person = "AKIAPERSON"

// idle are what the deployer's policy grants and the commands don't use in these tests: by its statement and action, and why.
var idle = map[string]string{
	"AskForARelease ssm:GetParameter":                "it is for people who look, with aws ssm get-parameter: the commands ask for the label in the same request",
	"OnlyWithAnArtifactCachePruneIt s3:DeleteObject": "bootagent cache has tests of its own, without a fleet",
	"OnlyWithAnArtifactCachePruneIt s3:GetObject":    "as above",
	"OnlyWithAnArtifactCacheListIt s3:ListBucket":    "as above",
	"OnlyWithAKmsKeyOfYourOwn kms:Decrypt":           "Parameter Store decrypts in the caller's name, and the region on a laptop has no keys",
}

// permit is what one action may be used on, for whom it is granted.
type permit struct {
	id       string // its statement and action
	action   string
	resource *regexp.Regexp
	leading  []string // partitions of the table; nil for no condition
}

// deployer is somebody who may do what packaging/iam/deployer.json says, and nothing else.
type deployer struct {
	permits []permit

	mu   sync.Mutex
	used map[string]bool
}

// asDeployer holds every call of the commands to the deployer's policy, filled in for these envs of the app shop.
func (l *laptop) asDeployer(envs ...string) *deployer {
	l.Helper()
	d := &deployer{used: map[string]bool{}}
	text, err := os.ReadFile("../../packaging/iam/deployer.json")
	if err != nil {
		l.Fatal(err)
	}
	for _, env := range envs {
		var policy struct {
			Statement []struct {
				Sid, Resource string
				Action        []string
				Condition     struct {
					Values map[string][]string `json:"ForAllValues:StringEquals"`
				}
			}
		}
		filled := strings.NewReplacer("REGION", l.region.Name(), "ACCOUNT", l.region.Account(), "APP", "shop", "ENV", env, "TABLE", "bootagent").Replace(string(text))
		if err := json.Unmarshal([]byte(filled), &policy); err != nil {
			l.Fatal(err)
		}
		for _, s := range policy.Statement {
			resource := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(s.Resource), `\*`, ".*") + "$")
			for _, action := range s.Action {
				d.permits = append(d.permits, permit{s.Sid + " " + action, action, resource, s.Condition.Values["dynamodb:LeadingKeys"]})
			}
		}
	}
	l.region.Faults.Add(fault.Rule{Effect: fault.Deny(), When: func(call calls.Call) bool {
		if call.AccessKey != person {
			return false
		}
		wanted, err := needs(call)
		if err != nil {
			l.Errorf("%s:%s: %v", call.Service, call.Operation, err)
		}
		for _, a := range wanted {
			if !d.may(a) {
				l.Errorf("a command needs %s, which packaging/iam/deployer.json does not grant", a)
				return true
			}
		}
		return false
	}})
	return d
}

func (d *deployer) may(a need) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	granted := false
	for _, p := range d.permits {
		if p.action == a.action && p.resource.MatchString(a.resource) && (p.leading == nil || slices.Contains(p.leading, a.partition)) {
			d.used[p.id], granted = true, true
		}
	}
	return granted
}

// expectNoMore fails for what the policy grants although no command used it.
func (d *deployer) expectNoMore(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	granted := map[string]bool{}
	for _, p := range d.permits {
		if !d.used[p.id] && idle[p.id] == "" && !granted[p.id] {
			t.Errorf("packaging/iam/deployer.json grants %s, which no command used", p.id)
		}
		granted[p.id] = true
	}
	for id := range idle {
		if d.used[id] || !granted[id] {
			t.Errorf("%s is said to be idle: it is used, or not even granted", id)
		}
	}
}

// need is what IAM looks at.
type need struct{ action, resource, partition string }

func (a need) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s on %s %s", a.action, a.resource, a.partition))
}

// needs are the actions of a call. A transaction has none of its own: it needs those of its operations.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
func needs(call calls.Call) ([]need, error) {
	action := call.Service + ":" + call.Operation
	arn := fmt.Sprintf("arn:aws:%s:%s:%s:", call.Service, call.Region, call.Principal.Account)
	switch call.Service {
	case "ssm":
		var in struct {
			Name  string
			Names []string
		}
		if err := json.Unmarshal(call.Body, &in); err != nil {
			return nil, err
		}
		if in.Name != "" {
			in.Names = append(in.Names, in.Name)
		}
		if len(in.Names) == 0 {
			return nil, fmt.Errorf("it names no parameter: %s", call.Body)
		}
		var all []need
		for _, name := range in.Names {
			name, _, _ = strings.Cut(name, ":") // the label or the version is no part of the resource
			all = append(all, need{action: action, resource: arn + "parameter" + name})
		}
		return all, nil
	case "dynamodb":
		return ofTable(call, action, arn)
	}
	return []need{{action: action, resource: "*"}}, nil
}

// operation is one of DynamoDB's.
type operation struct {
	TableName                 string
	Key                       map[string]struct{ S string }
	KeyConditionExpression    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]struct{ S string }
	TransactItems             []map[string]operation // by what they are: Update, ConditionCheck …
}

var partition = regexp.MustCompile(`^(\S+) = (\S+)`)

func (o operation) need(action, arn string) (need, error) {
	a := need{action, arn + "table/" + o.TableName, o.Key[dynamodb.PartitionKey].S}
	if m := partition.FindStringSubmatch(o.KeyConditionExpression); m != nil && o.ExpressionAttributeNames[m[1]] == dynamodb.PartitionKey {
		a.partition = o.ExpressionAttributeValues[m[2]].S
	}
	if a.partition == "" {
		return a, fmt.Errorf("it names no partition of the table: %+v", o)
	}
	return a, nil
}

func ofTable(call calls.Call, action, arn string) ([]need, error) {
	var in operation
	if err := json.Unmarshal(call.Body, &in); err != nil {
		return nil, err
	}
	if call.Operation != "TransactWriteItems" {
		a, err := in.need(action, arn)
		return []need{a}, err
	}
	var all []need
	for _, item := range in.TransactItems {
		for what, o := range item {
			a, err := o.need("dynamodb:"+what+"Item", arn)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
	}
	return all, nil
}

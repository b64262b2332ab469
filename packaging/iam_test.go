package packaging_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// list is what a policy writes as one string, or as an array of them.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

type statement struct {
	Sid, Effect      string
	Action, Resource list
	Condition        map[string]map[string]list
}

type policy struct {
	Version   string
	Statement []statement
}

func loadPolicy(t *testing.T, name string) policy {
	t.Helper()
	var p policy
	d := json.NewDecoder(strings.NewReader(read(t, "iam/"+name+".json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("iam/%s.json: %v", name, err)
	}
	return p
}

func (p policy) actions() map[string]bool {
	all := make(map[string]bool)
	for _, s := range p.Statement {
		for _, action := range s.Action {
			all[action] = true
		}
	}
	return all
}

// prefixes are the SDK's packages, and what IAM calls their services.
var prefixes = map[string]string{
	"autoscaling": "autoscaling", "dynamodb": "dynamodb", "elasticloadbalancingv2": "elasticloadbalancing", "s3": "s3", "ssm": "ssm", "sts": "sts",
}

// free are the operations that need no permission of their own: a transaction needs those of the operations in it, and
// S3 calls two of its operations by the names of others (GetObject, ListBucket).
var free = []string{"sts:GetCallerIdentity", "dynamodb:TransactWriteItems", "s3:HeadObject", "s3:ListObjectsV2"}

// unseen are the actions that AWS or the SDK takes for us, and why the code does not show them.
var unseen = map[string]string{
	"kms:Decrypt":                 "Parameter Store decrypts SecureStrings in the caller's name",
	"s3:ListBucket":               "it is what IAM calls s3:ListObjectsV2",
	"dynamodb:ConditionCheckItem": "a transaction's operation that only looks",
}

// operators are the calls that bootagent's commands make for people, and the agent never: the deployer's policy grants them.
var operators = []string{"ssm:PutParameter", "elasticloadbalancing:DescribeAccountLimits", "s3:DeleteObject"}

const sdkServices = "github.com/aws/aws-sdk-go-v2/service/"

// called finds the operations that the AWS adapters call: each takes a pointer to <package>.<Operation>Input.
func called(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string) // the action, and where
	err := filepath.WalkDir("../internal/aws", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/awstest/") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		services := make(map[string]string) // by the name that they are imported as
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			service, ok := strings.CutPrefix(imported, sdkServices)
			if !ok || strings.Contains(service, "/") {
				continue
			}
			name := path.Base(imported)
			if i.Name != nil {
				name = i.Name.Name
			}
			services[name] = service
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := selector.X.(*ast.Ident)
			operation, input := strings.CutSuffix(selector.Sel.Name, "Input")
			if !ok || !input || services[x.Name] == "" {
				return true
			}
			prefix := prefixes[services[x.Name]]
			if prefix == "" {
				t.Errorf("%s calls %s: say in prefixes what IAM calls that service", file, services[x.Name])
			}
			found[prefix+":"+operation] = file
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheAgentMayDoWhatTheCodeCallsAndNothingElse(t *testing.T) {
	t.Parallel()
	calls := called(t)
	if len(calls) < 10 {
		t.Fatalf("only %d calls found: %v", len(calls), calls)
	}
	granted, deployer := loadPolicy(t, "agent").actions(), loadPolicy(t, "deployer").actions()
	for action, file := range calls {
		switch {
		case slices.Contains(operators, action):
			if granted[action] || !deployer[action] {
				t.Errorf("%s is for people who deploy: iam/deployer.json has to grant it, and iam/agent.json must not", action)
			}
		case !granted[action] && !slices.Contains(free, action):
			t.Errorf("%s calls %s, which iam/agent.json does not grant", file, action)
		}
	}
	for action := range granted {
		if _, ok := calls[action]; !ok && unseen[action] == "" {
			t.Errorf("iam/agent.json grants %s, which no code below internal/aws calls", action)
		}
	}
}

// placeholders are the words that iam/README.md tells to replace, with something that could be there.
var placeholders = strings.NewReplacer(
	"BUCKET", "artifacts", "PREFIX", "built", "REGION", "eu-central-1", "ACCOUNT", "123456789012", "APP", "shop", "ENV", "prod", "TARGETGROUP", "shop-web",
	"TABLE", "bootagent", "GROUP", "shop-prod", "KEY", "1234abcd-12ab-34cd-56ef-1234567890ab", "ROLE", "shop-app",
)

var (
	arn      = regexp.MustCompile(`^arn:aws:(ssm|kms|dynamodb|elasticloadbalancing|autoscaling|iam):([a-z0-9-]*):\d{12}:[a-zA-Z0-9:/*.-]+$|^arn:aws:s3:::[a-z0-9.-]+(/built/shop/prod/\*)?$`)
	capitals = regexp.MustCompile(`[A-Z]{2}`) // a placeholder that nobody knows
	unscoped = regexp.MustCompile(`^(autoscaling|elasticloadbalancing):Describe[A-Za-z]+$`)
)

func TestPoliciesGrantNoMoreThanTheyMust(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent", "deployer"} {
		p := loadPolicy(t, name)
		if p.Version != "2012-10-17" || len(p.Statement) == 0 {
			t.Fatalf("iam/%s.json is no policy: %+v", name, p)
		}
		if text := strings.Join(strings.Fields(read(t, "iam/"+name+".json")), ""); len(text) > 6144 {
			t.Errorf("iam/%s.json has %d characters; a managed policy has 6144 at most", name, len(text))
		}
		sids := make(map[string]bool)
		for _, s := range p.Statement {
			if s.Effect != "Allow" || s.Sid == "" || sids[s.Sid] {
				t.Errorf("iam/%s.json: statement %+v", name, s)
			}
			sids[s.Sid] = true
			everything := slices.Contains(s.Resource, "*")
			for _, action := range s.Action {
				if strings.Contains(action, "*") || everything != unscoped.MatchString(action) {
					t.Errorf("iam/%s.json grants %s on %v", name, action, s.Resource)
				}
			}
			for _, resource := range s.Resource {
				real := placeholders.Replace(resource)
				if resource != "*" && !arn.MatchString(real) || capitals.MatchString(real) {
					t.Errorf("iam/%s.json: %s is no ARN once its placeholders are replaced: %s", name, resource, real)
				}
			}
		}
	}
}

// A table is shared by all apps of an account, perhaps: each statement on it lets in to one app's partition alone.
func TestTheTableOpensTheAppsOwnRecordsOnly(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent", "deployer"} {
		found := false
		for _, s := range loadPolicy(t, name).Statement {
			if !strings.HasPrefix(s.Action[0], "dynamodb:") {
				continue
			}
			found = true
			if !slices.Equal(s.Condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"], list{"APP/ENV"}) {
				t.Errorf("iam/%s.json: %s is not limited to the partition of the app: %v", name, s.Sid, s.Condition)
			}
			for _, action := range s.Action {
				if action == "dynamodb:Scan" || action == "dynamodb:PartiQLSelect" {
					t.Errorf("iam/%s.json: %s grants %s, which names no key that the condition could look at", name, s.Sid, action)
				}
			}
		}
		if !found {
			t.Errorf("iam/%s.json has no statement on the table", name)
		}
	}
}

// A bucket is shared by all apps of an account, perhaps: each sees its own artifacts alone, and an instance adds to them and does nothing else.
func TestTheBucketOpensTheAppsOwnArtifactsOnly(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent", "deployer"} {
		seen := 0
		for _, s := range loadPolicy(t, name).Statement {
			for _, action := range s.Action {
				switch action {
				case "s3:ListBucket":
					seen++
					if !slices.Equal(s.Condition["StringLike"]["s3:prefix"], list{"PREFIX/APP/ENV/*"}) {
						t.Errorf("iam/%s.json: %s lists %v", name, s.Sid, s.Condition)
					}
				case "s3:PutObject":
					if !slices.Equal(s.Condition["Null"]["s3:if-none-match"], list{"false"}) {
						t.Errorf("iam/%s.json: %s can write over what is there", name, s.Sid)
					}
				}
			}
		}
		if seen != 1 {
			t.Errorf("iam/%s.json has %d statements that list the bucket", name, seen)
		}
	}
}

// A KMS key may be of many apps, and the deployer is not to read the app's secrets.
func TestTheKeyOpensTheParametersThatAreMeantOnly(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"agent": "*", "deployer": "git-*"} {
		found := 0
		for _, s := range loadPolicy(t, name).Statement {
			if !slices.Contains(s.Action, "kms:Decrypt") {
				continue
			}
			found++
			if got := s.Condition["StringLike"]["kms:EncryptionContext:PARAMETER_ARN"]; !slices.Equal(got, list{"arn:aws:ssm:REGION:ACCOUNT:parameter/bootagent/APP/ENV/" + want}) {
				t.Errorf("iam/%s.json: %s opens %v", name, s.Sid, got)
			}
		}
		if found != 1 {
			t.Errorf("iam/%s.json has %d statements on the key", name, found)
		}
	}
}

var (
	section = regexp.MustCompile(`(?m)^## .*\(([a-z]+)\.json\)$`)
	row     = regexp.MustCompile("(?m)^\\| `([a-z0-9]+:[A-Za-z]+)` \\| ([^|]+) \\| ([^|]+) \\|$")
)

func TestEveryActionHasItsReason(t *testing.T) {
	t.Parallel()
	page := read(t, "iam/README.md")
	starts := section.FindAllStringSubmatchIndex(page, -1)
	if len(starts) != 2 {
		t.Fatalf("iam/README.md has %d sections", len(starts))
	}
	for i, start := range starts {
		name, end := page[start[2]:start[3]], len(page)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		said := make(map[string]bool)
		for _, m := range row.FindAllStringSubmatch(page[start[0]:end], -1) {
			if said[m[1]] {
				t.Errorf("iam/README.md says %s twice of %s", m[1], name)
			}
			said[m[1]] = true
		}
		granted := loadPolicy(t, name).actions()
		if !maps.Equal(said, granted) {
			t.Errorf("iam/README.md gives reasons for\n%v\nand iam/%s.json grants\n%v",
				slices.Sorted(maps.Keys(said)), name, slices.Sorted(maps.Keys(granted)))
		}
	}
	for _, name := range []string{"REGION", "ACCOUNT", "APP", "ENV", "TARGETGROUP", "GROUP", "TABLE", "BUCKET", "PREFIX", "KEY", "ROLE"} {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("iam/README.md does not say that %s is to be replaced", name)
		}
	}
}

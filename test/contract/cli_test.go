package contract

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/rollout"
)

// cli runs the stock AWS CLI against a region: a client that nobody here wrote.
// A call costs half a second of CPU, so the tests make few, and in parallel.
type cli struct {
	python string
	env    []string
}

func newCLI(t *testing.T, r *region.Region) cli {
	t.Helper()
	interpreter, err := python("awscli")
	if err != nil {
		leaveOut(t, "the stock AWS CLI against the region", err)
	}
	return cli{interpreter, append(r.Environment(), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")}
}

// run returns what the CLI printed, both outputs, and whether it succeeded.
func (c cli) run(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.python, append([]string{"-m", "awscli", "--output", "text"}, args...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("aws %s did not end within a minute", strings.Join(args, " "))
	}
	return strings.TrimSpace(string(out)), err == nil
}

func TestTheStockCLIDrivesParameterStore(t *testing.T) {
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
	// The line that DESIGN promises to be a legal deploy.
	if out, ok := aws.run(t, "ssm", "put-parameter", "--name", "/bootagent/shop/prod/release", "--type", "String", "--value", "v1"); !ok {
		t.Fatalf("the first put failed: %s", out)
	}
	if out, ok := aws.run(t, "ssm", "put-parameter", "--name", "/bootagent/shop/prod/release", "--value", "v1.4.2", "--overwrite"); !ok || !strings.Contains(out, "2") {
		t.Fatalf("the second put gave no version 2: %s", out)
	}
	if out, ok := aws.run(t, "ssm", "label-parameter-version", "--name", "/bootagent/shop/prod/release",
		"--parameter-version", "1", "--labels", "stable"); !ok {
		t.Fatalf("labelling failed: %s", out)
	}

	reads := []struct {
		name, want string
		fails      bool
		args       []string
	}{
		{"the labelled version", "v1", false,
			[]string{"ssm", "get-parameter", "--name", "/bootagent/shop/prod/release:stable", "--query", "Parameter.Value"}},
		{"the path", "/bootagent/shop/prod/release\tv1.4.2", false,
			[]string{"ssm", "get-parameters-by-path", "--path", "/bootagent", "--recursive", "--query", "Parameters[].[Name,Value]"}},
		{"the history", "v1\tstable\nv1.4.2\tNone", false,
			[]string{"ssm", "get-parameter-history", "--name", "/bootagent/shop/prod/release", "--query", "Parameters[].[Value,Labels[0]]"}},
		{"who put what, page by page", "1\tarn:aws:iam::123456789012:user/laptop\n2\tarn:aws:iam::123456789012:user/laptop", false,
			[]string{"ssm", "get-parameter-history", "--name", "/bootagent/shop/prod/release", "--page-size", "1", "--query", "Parameters[].[Version,LastModifiedUser]"}},
		{"a parameter that is not there", "(ParameterNotFound) when calling the GetParameter operation", true,
			[]string{"ssm", "get-parameter", "--name", "/bootagent/none"}},
		{"who calls", "arn:aws:iam::123456789012:user/laptop", false,
			[]string{"sts", "get-caller-identity", "--query", "Arn"}},
		{"a service that is left out", "no service 'ec2'", true,
			[]string{"ec2", "describe-instances"}},
	}
	for _, read := range reads {
		t.Run(read.name, func(t *testing.T) {
			t.Parallel()
			out, ok := aws.run(t, read.args...)
			if ok == read.fails || !strings.Contains(out, read.want) || (ok && out != read.want) {
				t.Errorf("aws %s\n got (ok=%v): %s\nwant: %s", strings.Join(read.args, " "), ok, out, read.want)
			}
		})
	}
	if n := len(r.Calls(wire.Filter{Operation: "PutParameter"})); n != 2 {
		t.Errorf("the region remembers %d puts, want 2", n)
	}
}

// The line that makes the table is the one that the adapter's error tells.
func TestTheStockCLIDrivesDynamoDB(t *testing.T) {
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
	store := dynamodb.New(awstest.Session(t, r.Endpoint()), dynamodb.Options{Table: table, App: "shop", Env: "prod"})
	_, err = store.Get(t.Context(), "stable")
	if err == nil {
		t.Fatal("there is a table that nobody made")
	}
	_, recipe, _ := strings.Cut(err.Error(), "make it, with aws ")
	create, expire, ok := strings.Cut(recipe, ", and then aws ")
	if !ok {
		t.Fatalf("no two lines to run in %v", err)
	}
	for _, line := range []string{create, expire} {
		if out, ok := aws.run(t, strings.Fields(line)...); !ok {
			t.Fatalf("aws %s: %s", line, out)
		}
	}
	if err := store.Apply(t.Context(), rollout.Change{Key: "stable", Set: map[string]string{"number": "1"}}); err != nil {
		t.Fatal(err)
	}
	const key = `{"_fleet":{"S":"shop/prod"},"_key":{"S":"stable"}}`
	if out, ok := aws.run(t, "dynamodb", "put-item", "--table-name", table, "--item", `{"_fleet":{"S":"shop/prod"},"_key":{"S":"freeze"},"by":{"S":"ann"}}`); !ok {
		t.Fatal(out)
	}
	for _, c := range []struct {
		name, want string
		fails      bool
		args       []string
	}{
		{"the table", "ACTIVE", false, []string{"describe-table", "--query", "Table.TableStatus"}},
		{"an item", "1", false, []string{"get-item", "--key", key, "--query", "Item.number.S"}},
		{"the records", "freeze\nstable", false, []string{"query", "--key-condition-expression", "#p = :p",
			"--expression-attribute-names", `{"#p":"_fleet"}`, "--expression-attribute-values", `{":p":{"S":"shop/prod"}}`, "--query", "Items[].[_key.S]"}},
		{"a condition that is not met", "(ConditionalCheckFailedException) when calling the UpdateItem operation", true,
			[]string{"update-item", "--key", key, "--update-expression", "SET number = :n", "--condition-expression", "number = :m",
				"--expression-attribute-values", `{":n":{"S":"2"},":m":{"S":"9"}}`}},
		{"what is left out", "no FilterExpression", true, []string{"query", "--key-condition-expression", "k = :k", "--filter-expression", "a = :k",
			"--expression-attribute-values", `{":k":{"S":"x"}}`}},
		{"a scan", "no dynamodb:Scan", true, []string{"scan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"dynamodb", c.args[0], "--table-name", table}, c.args[1:]...)
			out, ok := aws.run(t, args...)
			if ok == c.fails || !strings.Contains(out, c.want) || (ok && out != c.want) {
				t.Errorf("aws %s\n got (ok=%v): %s\nwant: %s", strings.Join(args, " "), ok, out, c.want)
			}
		})
	}
}

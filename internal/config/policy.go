package config

import (
	"errors"
	"regexp"
	"time"

	"github.com/bootagent/bootagent/internal/strictyaml"
	"github.com/bootagent/bootagent/rollout"
)

// tableName is what DynamoDB takes for a table's name.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
var tableName = regexp.MustCompile(`^[A-Za-z0-9_.-]{3,255}$`)

func checkTable(s string) error {
	if !tableName.MatchString(s) {
		return errors.New("must be the name of a DynamoDB table: 3 to 255 letters, digits, underscores, dots and dashes")
	}
	return nil
}

// fleet gives the name of the table that the fleet's records are in; "" for none.
func fleet(v strictyaml.Value) (table string) {
	if !v.Given() {
		return ""
	}
	m := v.Map()
	m.Require("table", "it names the DynamoDB table in which the instances agree").Check(&table, checkTable)
	m.Done()
	return table
}

// amount reads a number of instances, 3, or a share of them, 25%.
func amount(v strictyaml.Value, into *rollout.Amount) {
	switch v.Kind() {
	case strictyaml.Absent:
	case strictyaml.Number:
		if n := 0; v.Int(&n, 0, most) {
			*into = rollout.Amount{N: n}
		}
	case strictyaml.Text:
		var text string
		v.Check(&text, func(s string) error {
			a, err := rollout.ParseAmount(s)
			if err == nil {
				*into = a
			}
			return err
		})
	default:
		v.Fail("%s must be a number of instances such as 3, or a share of them such as 25%%, not %s", v.Name(), v.Kind())
	}
}

// duration reads one of at most a day.
func duration(v strictyaml.Value, into *rollout.Duration) {
	d := time.Duration(*into)
	v.Duration(&d, 0, 24*time.Hour)
	*into = rollout.Duration(d)
}

// most is more than any fleet has; what is too many for a policy the policy says.
const most = 1 << 30

// policy is how a release goes over the fleet, where a deploy says nothing else.
func policy(v strictyaml.Value, restart bool) rollout.Policy {
	p := rollout.DefaultPolicy()
	p.Restart = restart
	if !v.Given() {
		return p
	}
	m := v.Map()
	m.Get("canary").Int(&p.Canary, 0, most)
	duration(m.Get("bake"), &p.Bake)
	amount(m.Get("batch"), &p.Batch)
	amount(m.Get("min_healthy"), &p.MinHealthy)
	m.Get("max_failures").Int(&p.MaxFailures, 0, most)
	duration(m.Get("min_healthy_time"), &p.MinHealthyTime)
	duration(m.Get("progress_deadline"), &p.ProgressDeadline)
	failure, promote := string(p.OnFailure), string(p.Promote)
	m.Get("on_failure").Enum(&failure, []string{string(rollout.RollBack), string(rollout.Stop), string(rollout.Pause)})
	m.Get("promote").Enum(&promote, []string{string(rollout.Auto), string(rollout.Manual)})
	p.OnFailure, p.Promote = rollout.OnFailure(failure), rollout.Promotion(promote)
	m.Done()
	if err := p.Check(); err != nil {
		v.Fail("%s", err)
	}
	return p
}

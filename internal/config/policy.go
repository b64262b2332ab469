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

// amount reads 3, or a share such as 25%.
func amount(v strictyaml.Value, into *rollout.Amount) {
	if !v.Given() {
		return
	}
	if v.Kind() == strictyaml.Number {
		n := 0
		v.Int(&n, 0, 1<<30)
		*into = rollout.Amount{N: n}
		return
	}
	var text string
	v.Check(&text, func(s string) (err error) {
		*into, err = rollout.ParseAmount(s)
		return err
	})
}

// policy is how a release goes over the fleet, where a deploy says nothing else.
func policy(v strictyaml.Value, restart bool) rollout.Policy {
	p := rollout.DefaultPolicy()
	p.Restart = restart
	if !v.Given() {
		return p
	}
	m := v.Map()
	const most = 1 << 30
	m.Get("canary").Int(&p.Canary, 0, most)
	m.Get("max_failures").Int(&p.MaxFailures, 0, most)
	for key, into := range map[string]*rollout.Duration{
		"bake": &p.Bake, "min_healthy_time": &p.MinHealthyTime, "progress_deadline": &p.ProgressDeadline,
	} {
		d := time.Duration(*into)
		m.Get(key).Duration(&d, 0, 24*time.Hour)
		*into = rollout.Duration(d)
	}
	for key, into := range map[string]*rollout.Amount{"batch": &p.Batch, "min_healthy": &p.MinHealthy} {
		amount(m.Get(key), into)
	}
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

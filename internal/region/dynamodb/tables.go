package dynamodb

import (
	"crypto/rand"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// table is a table: items by partition, and there by sort key ("" where the table has none).
type table struct {
	name            string
	partition, sort string // the keys' attributes
	ttl             string
	made            time.Time
	id              string
	items           map[string]map[string]item
}

var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// MakeTable makes a table on demand whose keys are strings; sort and ttl may be "".
func (s *Service) MakeTable(name, partition, sort, ttl string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.make(name, partition, sort)
	if err == nil {
		t.ttl = ttl
	}
	return err
}

func (s *Service) make(name, partition, sort string) (*table, error) {
	if !tableName.MatchString(name) {
		return nil, invalid("Invalid table name %q: it has 3 to 255 of a-z, A-Z, 0-9, _, - and .", name)
	}
	if _, ok := s.tables[name]; ok {
		return nil, wire.Errorf("ResourceInUseException", "Table already exists: %s", name)
	}
	s.tables[name] = &table{name: name, partition: partition, sort: sort, made: s.opts.Clock(), id: rand.Text(), items: map[string]map[string]item{}}
	return s.tables[name], nil
}

type attributeDefinition struct{ AttributeName, AttributeType string }

type keyElement struct{ AttributeName, KeyType string }

type createTableInput struct {
	TableName             string
	BillingMode           string
	AttributeDefinitions  []attributeDefinition
	KeySchema             []keyElement
	ProvisionedThroughput any
}

func (s *Service) createTable(in createTableInput) (any, error) {
	if in.BillingMode != "PAY_PER_REQUEST" {
		return nil, invalid("CreateTable: this region on a laptop has tables on demand only: say --billing-mode PAY_PER_REQUEST, not %q", in.BillingMode)
	}
	if in.ProvisionedThroughput != nil {
		return nil, invalid("One or more parameter values were invalid: ProvisionedThroughput cannot be specified when BillingMode is PAY_PER_REQUEST")
	}
	if n := len(in.KeySchema); n < 1 || n > 2 || in.KeySchema[0].KeyType != "HASH" || n == 2 && in.KeySchema[1].KeyType != "RANGE" {
		return nil, invalid("Invalid KeySchema: the first element is a HASH key, a second one a RANGE key")
	}
	var keys [2]string
	for i, k := range in.KeySchema {
		keys[i] = k.AttributeName
		d := slices.IndexFunc(in.AttributeDefinitions, func(d attributeDefinition) bool { return d.AttributeName == k.AttributeName })
		if d < 0 {
			return nil, invalid("One or more parameter values were invalid: Some index key attributes are not defined in AttributeDefinitions. Keys: [%s]", k.AttributeName)
		}
		if kind := in.AttributeDefinitions[d].AttributeType; kind != "S" {
			return nil, invalid("CreateTable: this region on a laptop has keys of type S only, not %s", kind)
		}
	}
	if keys[0] == "" || keys[0] == keys[1] {
		return nil, invalid("Invalid KeySchema: two elements of the same name")
	}
	if len(in.AttributeDefinitions) != len(in.KeySchema) {
		return nil, invalid("One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	t, err := s.make(in.TableName, keys[0], keys[1])
	if err != nil {
		return nil, err
	}
	return struct{ TableDescription tableOut }{s.out(t)}, nil
}

type tableInput struct{ TableName string }

func (s *Service) describeTable(in tableInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	return struct{ Table tableOut }{s.out(t)}, nil
}

func (s *Service) listTables(struct{}) (any, error) {
	return struct{ TableNames []string }{append([]string{}, slices.Sorted(maps.Keys(s.tables))...)}, nil
}

type ttlInput struct {
	TableName               string
	TimeToLiveSpecification struct {
		Enabled       bool
		AttributeName string
	}
}

func (s *Service) updateTTL(in ttlInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	spec := in.TimeToLiveSpecification
	switch {
	case spec.AttributeName == "":
		return nil, invalid("1 validation error detected: Value '' at 'timeToLiveSpecification.attributeName' failed to satisfy constraint: " +
			"Member must have length greater than or equal to 1")
	case spec.Enabled && t.ttl != "":
		return nil, invalid("TimeToLive is already enabled")
	case !spec.Enabled && t.ttl == "":
		return nil, invalid("TimeToLive is already disabled")
	case spec.Enabled:
		t.ttl = spec.AttributeName
	default:
		t.ttl = ""
	}
	return struct{ TimeToLiveSpecification any }{spec}, nil
}

func (s *Service) describeTTL(in tableInput) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	var out struct {
		TimeToLiveDescription struct {
			TimeToLiveStatus string
			AttributeName    string `json:",omitempty"`
		}
	}
	out.TimeToLiveDescription.TimeToLiveStatus, out.TimeToLiveDescription.AttributeName = "DISABLED", t.ttl
	if t.ttl != "" {
		out.TimeToLiveDescription.TimeToLiveStatus = "ENABLED"
	}
	return out, nil
}

func (s *Service) table(name string) (*table, error) {
	t, ok := s.tables[name]
	if !ok {
		return nil, wire.Errorf("ResourceNotFoundException", "Requested resource not found")
	}
	return t, nil
}

// tableOut is the shape TableDescription of the API.
type tableOut struct {
	TableName            string
	TableStatus          string
	TableArn             string
	TableID              string `json:"TableId"`
	CreationDateTime     float64
	AttributeDefinitions []attributeDefinition
	KeySchema            []keyElement
	ItemCount            int
	TableSizeBytes       int
	BillingModeSummary   struct{ BillingMode string }
}

func (s *Service) out(t *table) tableOut {
	out := tableOut{
		TableName: t.name, TableStatus: "ACTIVE", TableArn: fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", s.opts.Region, s.opts.Account, t.name),
		TableID: t.id, CreationDateTime: float64(t.made.UnixMilli()) / 1000,
		AttributeDefinitions: []attributeDefinition{{t.partition, "S"}}, KeySchema: []keyElement{{t.partition, "HASH"}},
	}
	out.BillingModeSummary.BillingMode = "PAY_PER_REQUEST"
	if t.sort != "" {
		out.AttributeDefinitions = append(out.AttributeDefinitions, attributeDefinition{t.sort, "S"})
		out.KeySchema = append(out.KeySchema, keyElement{t.sort, "RANGE"})
	}
	for _, items := range t.items {
		for _, it := range items {
			out.ItemCount++
			out.TableSizeBytes += it.size()
		}
	}
	return out
}

// key takes an item's keys out of attributes; alone says that there must be nothing else.
func (t *table) key(attributes item, alone bool) (partition, sort string, err error) {
	want := 1
	if t.sort != "" {
		want = 2
	}
	if alone && len(attributes) != want {
		return "", "", invalid("The provided key element does not match the schema")
	}
	one := func(name string, most int) string {
		v, ok := attributes[name]
		switch {
		case err != nil || name == "":
		case !ok && alone, ok && v.kind != "S" && alone:
			err = invalid("The provided key element does not match the schema")
		case !ok:
			err = invalid("One or more parameter values were invalid: Missing the key %s in the item", name)
		case v.kind != "S":
			err = invalid("One or more parameter values were invalid: Type mismatch for key %s expected: S actual: %s", name, v.kind)
		case v.text == "":
			err = invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", name)
		case len(v.text) > most:
			err = invalid("One or more parameter values were invalid: Size of key %s has exceeded the maximum size limit of %d bytes", name, most)
		}
		return v.text
	}
	partition, sort = one(t.partition, maxPartition), one(t.sort, maxSort)
	return partition, sort, err
}

func (t *table) keyOf(partition, sort string) item {
	key := item{t.partition: {kind: "S", text: partition}}
	if t.sort != "" {
		key[t.sort] = value{kind: "S", text: sort}
	}
	return key
}

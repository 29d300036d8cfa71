package lock

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../docs/schema/lock.schema.json"

// TestSchemaFollowsTypes holds the published schema to the Go types: the same members,
// and those required that are always written.
func TestSchemaFollowsTypes(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Required   []string
		Properties map[string]any
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"": File{}, "release": Release{}, "index": Index{}, "image": Image{}, "drop": Drop{},
		"restore": Restore{}, "package": Package{}, "expected": Expected{},
	} {
		def := schema.Defs[name]
		if name == "" {
			def = schema.object
		}
		all, required := members(v)
		if got := sortedKeys(def.Properties); !slices.Equal(got, all) {
			t.Errorf("%T: the schema has %v, the type %v", v, got, all)
		}
		if slices.Sort(def.Required); !slices.Equal(def.Required, required) {
			t.Errorf("%T: the schema requires %v, always written are %v", v, def.Required, required)
		}
	}
}

// members lists the JSON members of a struct, and those that are always written.
func members(v any) (all, required []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, name)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	slices.Sort(all)
	slices.Sort(required)
	return all, required
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestLocksFollowSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../../templates/debian/" + FileName)
	if err != nil {
		t.Fatal(err)
	}
	check := func(data []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	if err := check(data); err != nil {
		t.Errorf("the lock of templates/debian: %v", err)
	}
	if err := check(bytes.Replace(data, []byte(`"reason"`), []byte(`"because"`), 1)); err == nil {
		t.Error("a lock with an unknown member is accepted")
	}
}

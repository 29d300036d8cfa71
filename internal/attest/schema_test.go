package attest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSBOMFollowsSchema validates against the schema that comes with the CycloneDX
// library, so that it is read at the library's own version and with no network.
func TestSBOMFollowsSchema(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const base = "http://cyclonedx.org/schema/"
	for name, file := range map[string]string{
		"bom-1.6.schema.json":  "bom-1.6.schema.json",
		"spdx.schema.json":     "spdx.schema.json",
		"jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		if err := c.AddResource(base+name, readJSON(t, filepath.Join(strings.TrimSpace(string(dir)), "schema", file))); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(base + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	sbom, err := SBOM(sbomInput())
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(decode(t, sbom)); err != nil {
		t.Error(err)
	}
	broken := bytes.Replace(sbom, []byte(`"type":"operating-system"`), []byte(`"type":"os"`), 1)
	if schema.Validate(decode(t, broken)) == nil {
		t.Error("the schema accepts a component type that does not exist")
	}
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readJSON(t *testing.T, file string) any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, data)
}

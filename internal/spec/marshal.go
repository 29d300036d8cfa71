package spec

import (
	"bytes"
	"encoding/json"
)

// Marshal gives the one form of a set as JSON: two spaces deep, keys of maps sorted,
// a newline at the end.
func Marshal(s *Set) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds the nesting of evidence; CycloneDX and SLSA stay below ten.
const maxDepth = 64

// DecodeStrict decodes one JSON value into v. It refuses what lets two readers see two
// documents in the same bytes: keys that are equal or differ only in case, and anything
// after the value. Unknown fields are allowed, as in-toto asks.
func DecodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("reading JSON: data after the value")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	return nil
}

// checkValue reads one value and refuses doubled keys inside it.
func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	keys := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			if err := checkKey(dec, keys); err != nil {
				return err
			}
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func checkKey(dec *json.Decoder, keys map[string]bool) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	key, ok := tok.(string)
	if !ok {
		return fmt.Errorf("object key is a %T", tok)
	}
	folded := strings.ToLower(key)
	if keys[folded] {
		return fmt.Errorf("key %.40q stands twice in one object", key)
	}
	keys[folded] = true
	return nil
}

// encode marshals v on one line, without the HTML escapes that make purls unreadable.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

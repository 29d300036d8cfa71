package pipeline

import (
	"errors"
	"strings"
	"testing"

	"forge/internal/diag"
)

func TestUnknownScriptsAreToldTogether(t *testing.T) {
	one := diag.Errorf(diag.UnknownScript, "Read it:\n\nscript \"a\" {}", "package a has a preinst")
	two := diag.Errorf(diag.UnknownScript, "Read it:\n\nscript \"b\" {}", "package b has a postinst")
	if err := unknownScripts(nil); err != nil {
		t.Errorf("unknownScripts(nil) = %v", err)
	}
	if err := unknownScripts([]error{one}); diag.IDOf(err) != diag.UnknownScript || err.Error() != one.Error() {
		t.Errorf("unknownScripts(one) = %v, want %v", err, one)
	}
	var got *diag.Error
	if err := unknownScripts([]error{one, two, one}); !errors.As(err, &got) {
		t.Fatalf("unknownScripts(two) = %v", err)
	}
	if got.Error() != "package a has a preinst\npackage b has a postinst" {
		t.Errorf("error %q does not tell each package once", got.Error())
	}
	if next := got.NextStep(); strings.Count(next, "Read it") != 1 || strings.Count(next, "script ") != 2 {
		t.Errorf("next step %q, want one sentence and two blocks", next)
	}
}

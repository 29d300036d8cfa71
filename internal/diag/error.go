package diag

import (
	"errors"
	"fmt"
)

// Error is a fault of the world outside forge or of an input that forge refuses,
// with a stable id that docs/errors.md explains.
type Error struct {
	ID   ID     // from the catalogue
	Err  error  // what happened, in the form "doing thing: cause"
	Next string // what to do now: a sentence or a command; empty means the catalogue's
}

// Errorf makes an Error; format and args are as in fmt.Errorf and may wrap.
func Errorf(id ID, next, format string, args ...any) *Error {
	return &Error{ID: id, Err: fmt.Errorf(format, args...), Next: next}
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// NextStep is what the reader should do now.
func (e *Error) NextStep() string {
	if e.Next != "" {
		return e.Next
	}
	return Lookup(e.ID).Next
}

// IDOf gives the id of the outermost Error in err's chain, or "" when there is none.
func IDOf(err error) ID {
	var e *Error
	if errors.As(err, &e) {
		return e.ID
	}
	return ""
}

// Findings is the error of a check that found faults: it carries every finding and
// the exit code that they deserve.
type Findings struct {
	List List
	Exit int // ExitUsage for an invalid input file, ExitFindings for a verdict
}

func (f *Findings) Error() string {
	n := 0
	for _, x := range f.List {
		if x.Severity == SeverityError {
			n++
		}
	}
	if n == 1 {
		return "1 error"
	}
	return fmt.Sprintf("%d errors", n)
}

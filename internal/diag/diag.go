// Package diag carries what forge has to say to people: findings, which point at a
// place in their files, and errors, which have a stable id and a next step.
//
// A user's input that is wrong becomes findings, collected until all are known. A
// world that is wrong (network, disk, registry, archive) becomes an *Error at once.
package diag

import (
	"cmp"
	"slices"
)

// Severity ranks a finding.
type Severity string

// The severities, worst first.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// Pos is a place in a file. Line and Column count from 1, Column in characters;
// Byte counts from 0.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// Range is a stretch of one file, End exclusive. A zero Range means "no place".
type Range struct {
	File  string `json:"file"`
	Start Pos    `json:"start"`
	End   Pos    `json:"end"`
}

// Finding is one fault or remark about one place.
type Finding struct {
	ID       string   `json:"id,omitempty"` // stable id, empty where none is needed
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"` // names the fault, one line, no full stop
	Detail   string   `json:"detail"`  // cause and mend, full sentences
	Range    Range    `json:"range,omitzero"`
	Source   string   `json:"source,omitempty"` // the quoted line at Range.Start
}

// List is what one check found.
type List []Finding

// HasErrors tells whether any finding is an error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(f Finding) bool { return f.Severity == SeverityError })
}

// Sort orders by file, position, id and summary, so that output never depends on
// the order of checking.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Range.File, b.Range.File),
			cmp.Compare(a.Range.Start.Byte, b.Range.Start.Byte),
			cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.Summary, b.Summary),
		)
	})
}

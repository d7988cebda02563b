package units

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table lays text out in columns, two spaces apart. Columns whose heading starts with '>' are
// right-aligned, as numbers want it. (text/tabwriter aligns all columns one way.)
type Table struct {
	right []bool
	rows  [][]string
}

// NewTable returns a table with these headings; a leading '>' right-aligns the column and is not
// printed.
func NewTable(headings ...string) *Table {
	t := &Table{right: make([]bool, len(headings))}
	row := make([]string, len(headings))
	for i, h := range headings {
		row[i] = strings.TrimPrefix(h, ">")
		t.right[i] = row[i] != h
	}
	t.rows = append(t.rows, row)
	return t
}

// Row adds a line. Missing cells are empty; cells beyond the headings are a programming error and
// panic. Control characters are replaced, so that no name can steer the terminal.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.right))
	if len(cells) > len(row) {
		panic("units: more cells than columns")
	}
	for i, c := range cells {
		row[i] = Printable(c)
	}
	t.rows = append(t.rows, row)
}

// String returns the table, without trailing blanks.
func (t *Table) String() string {
	width := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i > 0 {
				line.WriteString("  ")
			}
			if t.right[i] {
				line.WriteString(pad + c)
			} else {
				line.WriteString(c + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// Printable returns s with control and other unprintable characters replaced by '?'.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

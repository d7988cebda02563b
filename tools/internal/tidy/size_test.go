package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Limits, in lines and columns. A tab counts as two columns.
const (
	maxFunction     = 70
	maxTestFunction = 100
	maxFile         = 500
	maxTestFile     = 700
	maxColumns      = 110
	tabColumns      = 2
)

// unfinished matches the words that stand for work left to do.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)

func TestSizes(t *testing.T) {
	fset := token.NewFileSet()
	var broken []string
	for _, f := range goFiles(t, fset) {
		if !f.generated {
			broken = append(broken, sizes(fset, f)...)
		}
	}
	report(t, broken)
}

func sizes(fset *token.FileSet, f *file) []string {
	var broken []string
	limit, function := maxFile, maxFunction
	if f.isTest() {
		limit, function = maxTestFile, maxTestFunction
	}
	lines := strings.Split(strings.TrimSuffix(f.text, "\n"), "\n")
	if len(lines) > limit {
		broken = append(broken,
			fmt.Sprintf("%s: %d lines, the limit is %d", f.path, len(lines), limit))
	}
	for i, line := range lines {
		if n := columns(line); n > maxColumns {
			broken = append(broken,
				fmt.Sprintf("%s:%d: %d columns, the limit is %d", f.path, i+1, n, maxColumns))
		}
	}
	for _, d := range f.syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		first, last := fset.Position(fn.Pos()).Line, fset.Position(fn.End()).Line
		if n := last - first + 1; n > function {
			broken = append(broken, fmt.Sprintf("%s:%d: %s has %d lines, the limit is %d",
				f.path, first, fn.Name.Name, n, function))
		}
	}
	return broken
}

func columns(line string) int {
	n := 0
	for _, r := range line {
		if r == '\t' {
			n += tabColumns
		} else {
			n++
		}
	}
	return n
}

func TestSizesFindsWhatIsTooLong(t *testing.T) {
	fset := token.NewFileSet()
	body := strings.Repeat("\tx()\n", maxFunction-1)
	long := "\t// " + strings.Repeat("é", maxColumns-tabColumns-2)
	text := "package p\n\nfunc f() {\n" + body + "}\n\nfunc g() {\n" + long + "\n}\n" +
		strings.Repeat("\n", maxFile) + "var end int\n"
	expect(t, sizes(fset, parse(t, fset, "p/a.go", text)), []string{
		"p/a.go:3: f has 71 lines, the limit is 70",
		"p/a.go:76: 111 columns, the limit is 110",
		"p/a.go: 578 lines, the limit is 500",
	})
	fits := "package p\n\nfunc f() {\n" + strings.Repeat("\tx()\n", maxFunction-2) + "}\n"
	expect(t, sizes(fset, parse(t, fset, "p/b.go", fits)), nil)
}

// TestNothingUnfinished looks at every file of text that people write.
func TestNothingUnfinished(t *testing.T) {
	var broken []string
	fset := token.NewFileSet()
	walk(t, func(path string) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if path == "LICENSE" || path == "go.sum" || slices.Contains(text, 0) {
			return
		}
		if filepath.Ext(path) == ".go" && parse(t, fset, path, string(text)).generated {
			return
		}
		broken = append(broken, unfinishedIn(path, string(text))...)
	})
	report(t, broken)
}

func unfinishedIn(path, text string) []string {
	var broken []string
	for i, line := range strings.Split(text, "\n") {
		if w := unfinished.FindString(line); w != "" {
			broken = append(broken, fmt.Sprintf("%s:%d: %s", path, i+1, w))
		}
	}
	return broken
}

func TestUnfinishedIsFound(t *testing.T) {
	text := "// TO" + "DO(me): this\nprefixTO" + "DO\n# FIX" + "ME\nmktemp /tmp/a.X" + "XXXXX\n"
	expect(t, unfinishedIn("a.go", text), []string{"a.go:1: TO" + "DO", "a.go:3: FIX" + "ME"})
}

// topLevel is what the top of the repository holds. bin is what make builds; git ignores it.
var topLevel = strings.Fields(`ublk uring log placement bpf tools perf docs
	go.mod go.sum Makefile README.md LICENSE .ci .git .gitignore bin`)

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

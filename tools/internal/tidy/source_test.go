package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package.
const root = "../../.."

// file is one Go file of the project.
type file struct {
	path      string // from the top of the repository, with slashes
	text      string
	syntax    *ast.File
	generated bool
}

func (f *file) dir() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// walk calls visit for the path of every file of the project, from the top of the repository. It
// leaves out what git does not keep, and test data.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (rel == ".git" || rel == "bin" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.Type().IsRegular() && rel != ".git":
			visit(rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goFiles returns every Go file of the project, parsed.
func goFiles(t *testing.T, fset *token.FileSet) []*file {
	t.Helper()
	var files []*file
	walk(t, func(path string) {
		if filepath.Ext(path) != ".go" {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parse(t, fset, path, string(text)))
	})
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

func parse(t *testing.T, fset *token.FileSet, path, text string) *file {
	t.Helper()
	syntax, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return &file{path: path, text: text, syntax: syntax, generated: ast.IsGenerated(syntax)}
}

// report fails the test with a list of broken rules.
func report(t *testing.T, broken []string) {
	t.Helper()
	slices.Sort(broken)
	for _, b := range slices.Compact(broken) {
		t.Error(b)
	}
}

// expect compares what a rule finds in a deliberate example with what it ought to find: a rule that
// finds nothing anywhere would pass for good.
func expect(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the rule finds\n\t%s\nwant\n\t%s",
			strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

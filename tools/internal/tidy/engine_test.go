package tidy

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// forbidden are the packages that would let the engine do I/O, wait, or decide by chance.
var forbidden = strings.Fields(`time os os/exec os/signal io/fs io/ioutil net net/http
	math/rand math/rand/v2 crypto/rand sync sync/atomic context runtime/debug`)

// engine tells whether a file is part of the engine. Its simulated disks and its tests are not.
func engine(f *file) bool {
	l := layerOf(f.dir())
	return (l == "log" || l == "placement") && !f.isTest()
}

// TestEngineIsPure holds the engine to its terms: same calls, same results.
func TestEngineIsPure(t *testing.T) {
	fset := token.NewFileSet()
	packages := map[string][]*file{}
	var dirs []string
	for _, f := range goFiles(t, fset) {
		if !engine(f) {
			continue
		}
		if packages[f.dir()] == nil {
			dirs = append(dirs, f.dir())
		}
		packages[f.dir()] = append(packages[f.dir()], f)
	}
	if len(dirs) == 0 {
		t.Fatal("no engine found")
	}
	imports := exported(t, dirs)
	var broken []string
	for _, dir := range dirs {
		for _, variant := range variants(packages[dir]) {
			broken = append(broken, impure(t, fset, imports, dir, variant)...)
		}
	}
	report(t, broken)
}

// variants splits a package's files by the build tag that plants bugs, so that both sides compile:
// a file with it, and the ones it replaces.
func variants(files []*file) [][]*file {
	var without, with []*file
	for _, f := range files {
		head, _, _ := strings.Cut(f.text, "\npackage ")
		planted := strings.Contains(head, "//go:build plant")
		spared := strings.Contains(head, "//go:build !plant")
		if !planted {
			without = append(without, f)
		}
		if !spared {
			with = append(with, f)
		}
	}
	if len(with) == len(without) && slices.Equal(with, without) {
		return [][]*file{without}
	}
	return [][]*file{without, with}
}

// exported returns an importer for what the packages in dirs import, from what the compiler writes.
func exported(t *testing.T, dirs []string) types.ImporterFrom {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}
	for _, d := range dirs {
		args = append(args, "./"+d)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[path] = file
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
	fset := token.NewFileSet()
	return importer.ForCompiler(fset, "gc", lookup).(types.ImporterFrom)
}

// impure returns what in one package breaks the engine's terms.
func impure(
	t *testing.T, fset *token.FileSet, imports types.Importer, dir string, files []*file,
) []string {
	t.Helper()
	var syntax []*ast.File
	var broken []string
	for _, f := range files {
		syntax = append(syntax, f.syntax)
		for _, i := range f.syntax.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); slices.Contains(forbidden, path) {
				broken = append(broken, fmt.Sprintf("%s: the engine imports %s", f.path, path))
			}
		}
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Importer: imports}
	if _, err := config.Check(module+dir, fset, syntax, info); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	for _, f := range syntax {
		ast.Inspect(f, func(n ast.Node) bool {
			if what := impureNode(info, n); what != "" {
				at := fset.Position(n.Pos())
				broken = append(broken, fmt.Sprintf("%s:%d: %s", at.Filename, at.Line, what))
			}
			return true
		})
	}
	return broken
}

// impureNode tells what is wrong with one piece of syntax, or nothing.
func impureNode(info *types.Info, n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "the engine starts a goroutine"
	case *ast.SelectStmt:
		return "the engine waits on channels"
	case *ast.ChanType:
		return "the engine uses a channel"
	case *ast.RangeStmt:
		typ := info.TypeOf(n.X)
		if typ == nil {
			return ""
		}
		if _, ok := typ.Underlying().(*types.Map); ok {
			return "the engine ranges over a map, in an order that differs from run to run"
		}
		if call, ok := n.X.(*ast.CallExpr); ok {
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && isMapsPackage(s.X) {
				return "the engine ranges over a map, in an order that differs from run to run"
			}
		}
	}
	return ""
}

// isMapsPackage tells whether an expression is the package maps, whose iterators have no order.
func isMapsPackage(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "maps"
}

func TestEngineImpurityIsFound(t *testing.T) {
	fset := token.NewFileSet()
	f := parse(t, fset, "log/a.go", `package log

import (
	"maps"
	"slices"
	"time"
)

type table map[int]int

func f(m table, s []int) time.Time {
	for range s {
	}
	for k := range m {
		_ = k
	}
	for k := range maps.Keys(m) {
		_ = k
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		_ = k
	}
	c := make(chan int)
	go func() { c <- 1 }()
	select {}
}
`)
	order := "the engine ranges over a map, in an order that differs from run to run"
	expect(t, impure(t, fset, importer.Default(), "log", []*file{f}), []string{
		"log/a.go: the engine imports time",
		"log/a.go:14: " + order,
		"log/a.go:17: " + order,
		"log/a.go:23: the engine uses a channel",
		"log/a.go:24: the engine starts a goroutine",
		"log/a.go:25: the engine waits on channels",
	})
}

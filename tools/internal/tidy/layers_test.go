package tidy

import (
	"fmt"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of the project's packages.
const module = "unblend/"

// anything allows every import.
var anything = []string{"*"}

// layers tells which of our packages a package may import. The longest prefix of its directory
// counts; a package may always import those below its own entry.
var layers = map[string][]string{
	"uring":       {},
	"log":         {},
	"log/simdisk": {"log"},
	"bpf":         {},
	"ublk":        {"uring"},
	"placement":   {"log"},
	"perf":        anything,
	"tools":       anything,
}

// testLayers are additions for tests.
var testLayers = map[string][]string{
	"log":       {"log/simdisk"},
	"placement": {"log/simdisk"},
}

func TestLayers(t *testing.T) {
	fset := token.NewFileSet()
	var broken []string
	for _, f := range goFiles(t, fset) {
		broken = append(broken, badImports(f)...)
	}
	report(t, broken)
}

// layerOf returns the entry of layers that a directory belongs to.
func layerOf(dir string) string {
	best := ""
	for l := range layers {
		if (dir == l || strings.HasPrefix(dir, l+"/")) && len(l) > len(best) {
			best = l
		}
	}
	return best
}

func badImports(f *file) []string {
	layer := layerOf(f.dir())
	if layer == "" {
		return []string{f.path + ": belongs to no layer"}
	}
	allowed := append([]string{layer}, layers[layer]...)
	if f.isTest() {
		allowed = append(allowed, testLayers[layer]...)
	}
	if slices.Contains(allowed, anything[0]) {
		return nil
	}
	var broken []string
	for _, i := range f.syntax.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		ours, ok := strings.CutPrefix(path, module)
		if ok && !slices.Contains(allowed, layerOf(ours)) {
			broken = append(broken, fmt.Sprintf("%s: %s may not import %s", f.path, layer, ours))
		}
	}
	return broken
}

func TestLayersFindsWrongImports(t *testing.T) {
	fset := token.NewFileSet()
	var got []string
	for path, imports := range map[string]string{
		"ublk/a.go":             `"unblend/uring"; "unblend/log"; "unblend/ublk/kernel"`,
		"placement/a.go":        `"unblend/log"; "unblend/log/simdisk"`,
		"placement/a_test.go":   `"unblend/log/simdisk"; "unblend/perf"`,
		"log/a.go":              `"unblend/placement"; "fmt"`,
		"log/simdisk/a.go":      `"unblend/log"; "unblend/uring"`,
		"tools/unblend/main.go": `"unblend/ublk"; "unblend/placement"`,
		"other/a.go":            `"fmt"`,
	} {
		got = append(got, badImports(parse(t, fset, path, "package p; import ("+imports+")"))...)
	}
	expect(t, got, []string{
		"ublk/a.go: ublk may not import log",
		"placement/a.go: placement may not import log/simdisk",
		"placement/a_test.go: placement may not import perf",
		"log/a.go: log may not import placement",
		"log/simdisk/a.go: log/simdisk may not import uring",
		"other/a.go: belongs to no layer",
	})
}

// TestOneProgram: users get one program; the others only serve the project.
func TestOneProgram(t *testing.T) {
	for _, f := range goFiles(t, token.NewFileSet()) {
		program := f.syntax.Name.Name == "main"
		if program && f.dir() != "tools/unblend" && !strings.HasPrefix(f.dir(), "tools/internal/") {
			t.Errorf("%s: a program outside tools/unblend and tools/internal", f.path)
		}
	}
}

func TestPackagesAreDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, f := range goFiles(t, token.NewFileSet()) {
		if !strings.HasSuffix(f.syntax.Name.Name, "_test") {
			described[f.dir()] = described[f.dir()] || f.syntax.Doc.Text() != ""
		}
	}
	for dir, ok := range described {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

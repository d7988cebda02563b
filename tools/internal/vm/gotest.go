package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// RunTest builds the test binary of a Go package on the host and runs it in a machine, in the
// package's directory, with the given arguments (such as -test.v): the guest's own compiler would
// take minutes. cfg.Command is ignored.
func RunTest(ctx context.Context, cfg Config, pkg string, args ...string) (Result, error) {
	tmp, err := os.MkdirTemp("", "unblend-test-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(tmp)
	binary, err := BuildTest(ctx, tmp, pkg)
	if err != nil {
		return Result{}, err
	}
	dir, err := goTool(ctx, "list", "-f", "{{.Dir}}", pkg)
	if err != nil {
		return Result{}, err
	}
	cfg.Dir = strings.TrimSpace(dir)
	cfg.Files = append(cfg.Files, binary)
	cfg.Command = "exec " + Quote("/vm/"+filepath.Base(binary))
	for _, a := range args {
		cfg.Command += " " + Quote(a)
	}
	return Run(ctx, cfg)
}

// BuildTest builds the test binary of a Go package, to be run in a machine, and returns its path in
// dir: the name of the package and ".test".
func BuildTest(ctx context.Context, dir, pkg string) (string, error) {
	binary := filepath.Join(dir, path.Base(pkg)+".test")
	_, err := goTool(ctx, "test", "-c", "-o", binary, pkg)
	return binary, err
}

// goTool runs the go command and returns what it printed.
func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	// As the Makefile has it: giouring does not link without.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0",
		"GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false -ldflags=-checklinkname=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, lastLines(stderr.String(), 20))
	}
	return string(out), nil
}

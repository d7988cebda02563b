package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Build builds the two programs that a session needs: unblend, and the one that measures.
func Build(ctx context.Context, program, self string) error {
	for path, pkg := range map[string]string{
		program: "unblend/tools/unblend", self: "unblend/tools/internal/bench/benchrun",
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg)
		// As the Makefile has it: giouring does not link without.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0",
			"GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false -ldflags=-checklinkname=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w: %s", pkg, err, out)
		}
	}
	return nil
}

// Commit returns what is measured: the commit, and a hash of how the code differs from it, if it does.
func Commit(ctx context.Context) (string, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", args[0], err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	head, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	diff, err := git("diff", "HEAD", "--", "*.go", "*.c", "*.o", "go.mod")
	if err != nil || diff == "" {
		return head, err
	}
	return fmt.Sprintf("%s+%x", head, sha256.Sum256([]byte(diff)))[:12+1+8], nil
}

package daemon

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestDropPrivileges holds that a program that is started with fewer capabilities gets none back.
func TestDropPrivileges(t *testing.T) {
	const asked = "UNBLEND_TEST_DROP"
	if os.Getenv(asked) != "" {
		if err := dropPrivileges(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("cat", "/proc/self/status").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: another user has no capability to lose")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDropPrivileges$", "-test.v")
	cmd.Env = append(os.Environ(), asked+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := 0
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if !strings.HasSuffix(name, "CapPrm") && !strings.HasSuffix(name, "CapEff") {
			continue
		}
		found++
		if set, err := strconv.ParseUint(value, 16, 64); err != nil || set&^kept != 0 {
			t.Errorf("a program that was started has %s %s, %v", name, value, err)
		}
	}
	if found != 2 {
		t.Errorf("%d sets found in\n%s", found, out)
	}
}

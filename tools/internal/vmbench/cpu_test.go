package vmbench

import (
	"os"
	"testing"
	"time"
)

func TestIdleTime(t *testing.T) {
	idle, err := idleTime("cpu  10 2 30 4000 500 6 7 8 9 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n")
	if err != nil || idle != 45*time.Second {
		t.Errorf("%v, %v, want 45s", idle, err)
	}
	if _, err := idleTime("intr 1 2 3"); err == nil {
		t.Error("a line that is no cpu line was taken")
	}
}

func TestParseProcess(t *testing.T) {
	comm, used, err := parseProcess("17 (a) b (c)) S 1 17 17 0 -1 4194304 1 2 3 4 150 25 9 9 20 0 3 0\n")
	if err != nil || comm != "a) b (c)" || used != 1750*time.Millisecond {
		t.Errorf("%q, %v, %v", comm, used, err)
	}
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseProcess(string(self)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1 2", "1 (x) S 1 17 17 0 -1 4194304 1 2 3 4 u 25 9"} {
		if _, _, err := parseProcess(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

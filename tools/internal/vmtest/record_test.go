package vmtest

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// figures is what a campaign adds to docs/campaigns.jsonl, as its kind names it.
type figures map[string]any

// figuresMark begins the line in a machine's output that carries figures to the host.
const figuresMark = "figures: "

// figures hands what a campaign has counted to the host.
func (g *guest) figures(kind string, f figures) {
	g.Helper()
	f["kind"] = kind
	line, err := json.Marshal(f)
	if err != nil {
		g.Fatal(err)
	}
	g.Log(figuresMark + string(line))
}

// record appends the figures of a machine's test to the file that UNBLEND_RECORD names, if it does.
func (o *guestOutput) record(kernel string, failed bool) error {
	path := os.Getenv("UNBLEND_RECORD")
	if path == "" || len(o.figures) == 0 {
		return nil
	}
	head, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(file)
	for _, f := range o.figures {
		f["time"], f["commit"] = time.Now().UTC().Truncate(time.Second), strings.TrimSpace(string(head))
		f["kernel"], f["failed"] = kernel, failed
		err = errors.Join(err, lines.Encode(f))
	}
	return errors.Join(err, file.Close())
}

// notice keeps a line's figures, if it carries any.
func (o *guestOutput) notice(line string) {
	if _, text, has := strings.Cut(line, figuresMark); has {
		f := figures{}
		if json.Unmarshal([]byte(text), &f) == nil {
			o.figures = append(o.figures, f)
		}
	}
}

func TestFiguresReachTheFile(t *testing.T) {
	path := t.TempDir() + "/campaigns"
	t.Setenv("UNBLEND_RECORD", path)
	o := &guestOutput{t: t}
	line := "    x_test.go:1: figures: {\"kind\":\"power cuts\",\"cuts\":7}\nmore\n"
	if _, err := o.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if err := o.record("6.12", false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"cuts":7`, `"kernel":"6.12"`, `"failed":false`, `"commit":"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

func TestExpand(t *testing.T) {
	var list []control.Volume
	for _, name := range []string{"db1", "web1", "web1@mon", "web1@tue", "web2", "web2@mon"} {
		list = append(list, control.Volume{Name: name, Snapshot: control.IsSnapshot(name)})
	}
	list = append(list, control.Volume{Hidden: true, Snapshot: true})
	for _, x := range []struct {
		names string
		want  string // "": an error
		exit  int
	}{
		{"*", "db1 web1 web2", 0},
		{"*@*", "web1@mon web1@tue web2@mon", 0},
		{"web1@*", "web1@mon web1@tue", 0},
		{"web1*", "web1", 0},
		{"web?", "web1 web2", 0},
		{"*@mon", "web1@mon web2@mon", 0},
		{"[dw]*1", "db1 web1", 0},
		{"[^d]*", "web1 web2", 0},
		{"web1@* web1", "web1@mon web1@tue web1", 0},
		{"nobody web2", "nobody web2", 0}, // the daemon knows better
		{"x*", "", 3},
		{"web1 x*", "", 3},
		{"web3@*", "", 3},
		{"@*", "", 3},
		{"[a", "", 2},
		{"web1 a[]", "", 2},
		{`a\`, "", 2},
	} {
		got, err := expand(list, strings.Fields(x.names))
		exit := 0
		if err != nil {
			exit = control.ErrorOf(err).ExitCode()
		}
		if strings.Join(got, " ") != x.want || exit != x.exit {
			t.Errorf("%s: %q, %v; want %q, exit code %d", x.names, got, err, x.want, x.exit)
		}
	}
	got := forRemoval([]string{"b", "a@2", "a", "b", "a@1", "a@2"})
	if want := []string{"a@2", "a@1", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("for removal: %q, want %q", got, want)
	}
}

// manyVolumes is a daemon with thousands of volumes, of which one cannot be removed.
type manyVolumes struct {
	fakeBackend
	names []string
	stuck string
	calls int
}

func (m *manyVolumes) List(_ context.Context, _ control.ListRequest,
	yield func(control.Volume) error,
) error {
	for _, name := range m.names {
		if err := yield(control.Volume{Name: name}); err != nil {
			return err
		}
	}
	return nil
}

func (m *manyVolumes) Remove(_ context.Context, r control.RemoveRequest) error {
	m.calls++
	if slices.Contains(r.All(), m.stuck) {
		return errors.New("it is stuck")
	}
	m.names = slices.DeleteFunc(m.names, func(n string) bool { return slices.Contains(r.All(), n) })
	return nil
}

// TestRemoveMany removes 10,000 volumes by a pattern, in few requests.
func TestRemoveMany(t *testing.T) {
	m := &manyVolumes{}
	for i := range 10_000 {
		m.names = append(m.names, fmt.Sprintf("desk-%05d", i))
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(m, "1", slog.New(slog.DiscardHandler))
	go func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	defer s.Close()
	code, _, said := call(context.Background(), "rm", "*", "--socket", path)
	if code != 2 || !strings.Contains(said, "and 9980 more\n") || strings.Count(said, "\n") != 22 ||
		len(m.names) != 10_000 {
		t.Errorf("without --yes: exit code %d, %d are left, %s", code, len(m.names), said)
	}
	m.stuck = "desk-09000"
	code, _, said = call(context.Background(), "rm", "desk-*", "--yes", "--socket", path)
	if code != 1 || !strings.Contains(said, "it is stuck (8") ||
		!strings.Contains(said, "of 10000 were removed before)") {
		t.Errorf("one is stuck: exit code %d, %s", code, said)
	}
	m.stuck, m.calls = "", 0
	code, out, said := call(context.Background(), "rm", "desk-*", "--yes", "--socket", path, "--json")
	if code != 0 || len(m.names) != 0 || m.calls > 5 || !strings.Contains(out, `"verb": "rm"`) {
		t.Errorf("exit code %d, %d are left after %d requests, %s%s", code, len(m.names), m.calls, out,
			said)
	}
}

// TestUnbroken holds that completion gives the shell what it is going to put in.
func TestUnbroken(t *testing.T) {
	socket, _ := serveFake(t)
	for _, x := range []struct {
		line, word string // what bash takes for the word
		want       string
	}{
		{"unblend rollback web1@m", "web1@m", "web1@monday\n"},
		{"unblend rollback web1@m", "@m", "@monday\n"},
		{"unblend rollback web1@m", "m", "monday\n"},
		{"unblend rollback web1@", "", "monday\ntuesday\n"},
		{"unblend rollback w", "w", "web1@monday\nweb1@tuesday\n"},
		{"unblend rollback w", "else", "web1@monday\nweb1@tuesday\n"},
	} {
		line := strings.Replace(x.line, "rollback", "rollback --socket "+socket, 1)
		t.Setenv("COMP_LINE", line)
		t.Setenv("COMP_POINT", fmt.Sprint(len(line)))
		code, out, said := call(context.Background(), completeVerb, "unblend", x.word, "rollback")
		if code != 0 || out != x.want || said != "" {
			t.Errorf("%q, %q: exit code %d, %q, %s; want %q", x.line, x.word, code, out, said, x.want)
		}
	}
}

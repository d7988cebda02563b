package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"unblend/placement"
)

// TestSnapshotVerbs holds that what is done with snapshots reaches the back end as it was asked for,
// and that its answers come back.
func TestSnapshotVerbs(t *testing.T) {
	b := newFake()
	path := serve(t, b, nil)
	c, ctx := NewClient(path, time.Minute), context.Background()
	for _, name := range []string{"a", "b"} {
		b.volumes[name] = Volume{Name: name, Size: 1 << 30, State: VolumeDetached}
	}
	l, err := c.Snapshot(ctx, SnapshotRequest{Volumes: []string{"a", "b"}, Name: "s"})
	if err != nil || len(l.Volumes) != 2 || l.Volumes[1].Name != "b@s" || !l.Volumes[1].Snapshot {
		t.Errorf("snapshot: %+v, %v", l, err)
	}
	r, err := c.Clone(ctx, CloneRequest{Source: "a@s", Name: "n", QueueDepth: 4, Attach: true})
	if err != nil || r.Count != 1 || r.Volume.Name != "n" || r.Volume.Origin != "a@s" || r.Last != "" {
		t.Errorf("clone: %+v, %v", r, err)
	}
	r, err = c.Clone(ctx, CloneRequest{Source: "a@s", Name: "n-", Count: 1000, First: 7, Width: 4})
	if err != nil || r.Count != 1000 || r.Volume.Name != "n-0007" || r.Last != "n-1006" {
		t.Errorf("clones: %+v, %v", r, err)
	}
	if v, err := c.Rollback(ctx, RollbackRequest{Name: "a@s"}); err != nil || v.Volume.Name != "a" {
		t.Errorf("rollback: %+v, %v", v, err)
	}
	if v, err := c.Rename(ctx, RenameRequest{Name: "a@s", To: "a@t"}); err != nil ||
		v.Volume.Name != "a@t" {
		t.Errorf("rename: %+v, %v", v, err)
	}
	v, err := c.Resize(ctx, ResizeRequest{Name: "a", Size: 2 << 30})
	if err != nil || v.Volume.Size != 2<<30 || v.Volume.DeviceSize != 1<<30 {
		t.Errorf("resize: %+v, %v", v, err)
	}
	g, err := c.Grow(ctx, GrowRequest{Pool: "/pool", Size: 2 << 30, Sparse: true})
	if err != nil || !g.Grown || g.Schema != SchemaGrow || g.DataSize != 2<<30 {
		t.Errorf("grow: %+v, %v", g, err)
	}
	if s, err := c.StartScrub(ctx, ScrubRequest{Rate: 5}); err != nil || s.Scrub.State != ScrubRunning {
		t.Errorf("scrub: %+v, %v", s, err)
	}
	if s, err := c.StopScrub(ctx); err != nil || s.Scrub.State != ScrubStopped {
		t.Errorf("end of a scrub: %+v, %v", s, err)
	}
	if s, err := c.Scrub(ctx); err != nil || s.Schema != SchemaScrub || s.Scrub.Damage() != 1 {
		t.Errorf("a scrub: %+v, %v", s, err)
	}
	if d, err := c.Remove(ctx, RemoveRequest{Names: []string{"b@s", "b"}}); err != nil || d.Count != 2 {
		t.Errorf("rm: %+v, %v", d, err)
	}
	want := []string{
		"snapshot a,b s", "clone a@s n 0 0 0 4 true", "clone a@s n- 1000 7 4 0 false", "rollback a@s",
		"rename a@s a@t", "resize a 2147483648", "grow /pool 2147483648 true", "scrub 5", "scrub stop",
		"rm b@s,b false",
	}
	if !slices.Equal(b.calls, want) {
		t.Errorf("the backend saw %q, want %q", b.calls, want)
	}
}

// TestHostileNodeRequests holds that requests that make no sense never reach the back end.
func TestHostileNodeRequests(t *testing.T) {
	b := newFake()
	path := serve(t, b, nil)
	many := `"v0"`
	for i := range placement.MaxMembers {
		many += fmt.Sprintf(`,"v%d"`, i+1)
	}
	for _, x := range []struct{ verb, body, says string }{
		{"snapshot", `{"name":"s"}`, "no volume"},
		{"snapshot", `{"volumes":[],"name":"s"}`, "no volume"},
		{"snapshot", `{"volumes":["a"]}`, "empty name"},
		{"snapshot", `{"volumes":["a","b","a"],"name":"s"}`, "named twice"},
		{"snapshot", `{"volumes":["a@x"],"name":"s"}`, "has '@'"},
		{"snapshot", `{"volumes":["a"],"name":"s@t"}`, "has '@'"},
		{"snapshot", `{"volumes":["a"],"name":"../s"}`, "begins"},
		{"snapshot", `{"volumes":[` + many + `],"name":"s"}`, "112 at most"},
		{"snapshot", `{"volumes":"a","name":"s"}`, "volumes"},
		{"clone", `{"source":"a","name":"n"}`, "name of a volume"},
		{"clone", `{"source":"a@","name":"n"}`, "empty name"},
		{"clone", `{"source":"a@s"}`, "empty name"},
		{"clone", `{"source":"a@s","name":"n@s"}`, "has '@'"},
		{"clone", `{"source":"a@s","name":"n","count":-1}`, "want 1"},
		{"clone", `{"source":"a@s","name":"n","count":300000000}`, "want 1"},
		{"clone", `{"source":"a@s","name":"n","first":1}`, "without a count"},
		{"clone", `{"source":"a@s","name":"n","width":3}`, "without a count"},
		{"clone", `{"source":"a@s","name":"n","count":2,"first":-1}`, "first number"},
		{"clone", `{"source":"a@s","name":"n","count":2,"first":4294967296}`, "first number"},
		{"clone", `{"source":"a@s","name":"n","count":2,"width":64}`, "digits"},
		{"clone", `{"source":"a@s","name":"n","count":2,"width":63}`, "64 bytes"},
		{"clone", `{"source":"a@s","name":"` + strings.Repeat("n", 62) + `","count":11}`, "64 bytes"},
		{"clone", `{"source":"a@s","name":"n","count":2,"attach":true}`, "without devices"},
		{"clone", `{"source":"a@s","name":"n","queue_depth":5000}`, "queue depth"},
		{"rollback", `{"name":"a"}`, "name of a volume"},
		{"rollback", `{}`, "empty name"},
		{"rename", `{"name":"a"}`, "empty name"},
		{"rename", `{"name":"a@s","to":"b"}`, "cannot become a volume"},
		{"rename", `{"name":"a","to":"a@s"}`, "cannot become a snapshot"},
		{"rename", `{"name":"a@s","to":"b@s"}`, "stays with its volume"},
		{"resize", `{"name":"a","size":5000000}`, "multiple of 4 KiB"},
		{"resize", `{"name":"a@s","size":1048576}`, "has '@'"},
		{"grow", `{"size":5000000}`, "multiple of 4 KiB"},
		{"grow", `{"size":-4096}`, "multiple of 4 KiB"},
		{"grow", `{"sparse":true}`, "without a size"},
		{"scrub-start", `{"rate":-1}`, "a rate of -1"},
		{"scrub-start", `{"schema":"unblend/scrub/v1"}`, "this verb takes"},
		{"scrub-stop", `{"rate":1}`, "unknown field"},
		{"rm", `{"name":"a","names":["b"]}`, "both"},
		{"rm", `{"names":["b","b"]}`, "named twice"},
		{"rm", `{"names":["b*"]}`, "has '*'"},
		{"rm", `{"names":[]}`, "empty name"},
	} {
		got := exchange(t, path, post(x.verb, x.body))
		if !strings.HasPrefix(got, "HTTP/1.1 400") || !strings.Contains(got, x.says) {
			t.Errorf("%s %.70s: got %.300q, want 400 and %q", x.verb, x.body, got, x.says)
		}
	}
	if len(b.calls) != 0 {
		t.Errorf("the backend was called: %q", b.calls)
	}
}

// TestMostNames holds that a request takes as many names as MaxNames says, however long they are.
func TestMostNames(t *testing.T) {
	b := newFake()
	path := serve(t, b, nil)
	var names []string
	for i := range MaxNames {
		half := fmt.Sprintf("%0*d", placement.MaxName, i)
		names = append(names, half+"@"+half)
		b.volumes[names[i]] = Volume{Name: names[i], Snapshot: true}
	}
	c := NewClient(path, time.Minute)
	d, err := c.Remove(context.Background(), RemoveRequest{Names: names, Force: true})
	if err != nil || d.Count != MaxNames || len(b.volumes) != 0 {
		t.Errorf("%d names: %+v, %v; %d are left", MaxNames, d, err, len(b.volumes))
	}
}

// TestListMore holds that snapshots and what was removed are listed where they are asked for, and
// nowhere else.
func TestListMore(t *testing.T) {
	b := newFake()
	b.volumes["a"] = Volume{Name: "a", ID: 3, Parent: 2, Origin: "a@s"}
	b.volumes["a@s"] = Volume{Name: "a@s", ID: 2, Snapshot: true, Children: 2, Unique: 7, Freed: 9}
	b.volumes["-"] = Volume{ID: 1, Hidden: true, Snapshot: true, State: VolumeRemoved}
	path := serve(t, b, nil)
	c, ctx := NewClient(path, time.Minute), context.Background()
	for _, x := range []struct {
		r    ListRequest
		want []uint32
	}{
		{ListRequest{}, []uint32{3}},
		{ListRequest{Snapshots: true}, []uint32{3, 2}},
		{ListRequest{All: true}, []uint32{1, 3, 2}},
		{ListRequest{Snapshots: true, All: true}, []uint32{1, 3, 2}},
	} {
		l, err := c.List(ctx, x.r)
		var got []uint32
		for _, v := range l.Volumes {
			got = append(got, v.ID)
			if v != b.volumes[v.Name] && v.Name != "" {
				t.Errorf("got %+v", v)
			}
		}
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%+v: %v, %v; want %v", x.r, got, err, x.want)
		}
	}
	for _, query := range []string{"all=yes", "all=1&all=1", "every=1", "%zz", "snapshots="} {
		got := exchange(t, path, "GET /v1/list?"+query+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%s: %.200q", query, got)
		}
	}
}

func TestNames(t *testing.T) {
	for name, x := range map[string]struct {
		snapshot bool
		volume   string
		object   string
	}{
		"web1":        {false, "web1", `volume "web1"`},
		"web1@monday": {true, "web1", `snapshot "web1@monday"`},
		"":            {false, "", `volume ""`},
	} {
		if IsSnapshot(name) != x.snapshot || VolumeOf(name) != x.volume || Object(name) != x.object {
			t.Errorf("%q: %v, %q, %s", name, IsSnapshot(name), VolumeOf(name), Object(name))
		}
	}
}

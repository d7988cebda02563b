package bench

// Contender is something that a user could have instead of unblend, in a certain state.
type Contender struct {
	ID, Title string
	Beside    string // the state of unblend's volumes that it is measured beside
	Clones    bool   // its volumes are clones of an image
	Single    bool   // it has no several volumes
	Fades     bool   // the state is gone where a run has written
	Lasting   bool   // its volumes last through a cell: making fifty for each run would take an hour
}

// The states of unblend's volumes.
const (
	oursFull   = "all of it written"
	oursFresh  = "just made"
	oursSnap   = "just after a snapshot"
	oursClone  = "clone"
	oursClones = "clone of a clone, ten deep"
)

// contenders are all of them, in the order of the report.
var contenders = []Contender{
	{ID: "raw", Title: "the raw device", Beside: oursFull, Lasting: true},
	{ID: "loop", Title: "kernel loop, direct I/O", Beside: oursFull, Lasting: true},
	{ID: "null", Title: "null ublk server", Beside: oursFull, Single: true},
	{ID: "thin-fresh", Title: "dm-thin, just made", Fades: true, Beside: oursFresh},
	{ID: "thin", Title: "dm-thin, all blocks provisioned", Beside: oursFull, Lasting: true},
	{ID: "thin-snap", Title: "dm-thin, just after a snapshot", Fades: true, Beside: oursSnap},
	{ID: "thin-clone", Title: "dm-thin, clone", Fades: true, Beside: oursClone, Clones: true},
	{ID: "qcow2-fresh", Title: "qcow2 over nbd, just made", Fades: true, Beside: oursFresh},
	{ID: "qcow2", Title: "qcow2 over nbd, all of it written", Beside: oursFull, Lasting: true},
	{
		ID: "qcow2-clone", Title: "qcow2 over nbd, on 1 backing file",
		Fades: true, Beside: oursClone, Clones: true,
	},
	{
		ID: "qcow2-chain", Title: "qcow2 over nbd, on 10 backing files",
		Fades: true, Beside: oursClones, Clones: true,
	},
}

// contender returns the contender with an ID.
func contender(id string) (Contender, bool) {
	for _, t := range contenders {
		if t.ID == id {
			return t, true
		}
	}
	return Contender{}, false
}

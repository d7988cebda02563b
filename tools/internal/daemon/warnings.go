package daemon

import (
	"slices"
	"strings"
	"sync"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

// maxWarnings bounds what status lists; the log has everything.
const maxWarnings = 32

// warnings are what an operator should know of, oldest first, one for each code.
type warnings struct {
	mu   sync.Mutex
	list []control.Warning // guarded by mu
}

// set adds a warning or replaces the one with its code.
func (w *warnings) set(code, message, next string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := units.Printable(strings.ReplaceAll(strings.TrimSpace(message), "\n", "; "))
	n := control.Warning{Code: code, Message: line, Next: next}
	for i := range w.list {
		if w.list[i].Code == code {
			w.list[i] = n
			return
		}
	}
	if len(w.list) < maxWarnings {
		w.list = append(w.list, n)
	}
}

// clear removes the warning with a code.
func (w *warnings) clear(code string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(x control.Warning) bool { return x.Code == code })
}

// all returns a copy of the list.
func (w *warnings) all() []control.Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}

// fault takes what went wrong with one device. It runs on the loop's thread, which must not wait
// for a log: what does not fit is dropped.
func (d *daemon) fault(err error) {
	select {
	case d.faults <- err:
	default:
	}
}

func (d *daemon) logFaults() {
	for err := range d.faults {
		d.log.Error("device", "err", err)
		d.warn.set("device", err.Error(), "detach the volume and attach it again")
	}
}

package control

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Documents lists every kind of document with its type, for help and tests.
var Documents = []struct {
	Schema Schema
	Use    string // who sends it
	Type   any    // a zero value
}{
	{SchemaVersion, "answer to version", VersionInfo{}},
	{SchemaStatus, "answer to status", Status{}},
	{SchemaList, "answer to list and snapshot", List{}},
	{SchemaLayout, "answer to status --layout", Layout{}},
	{SchemaFlow, "answer to trace destage", Flow{}},
	{SchemaVolume, "answer to create, attach, detach, rollback, rename, resize", VolumeResult{}},
	{SchemaClone, "answer to clone", CloneResult{}},
	{SchemaDiff, "first line of diff --json; extents follow as in diff-page", DiffHead{}},
	{SchemaDiffEnd, "last line of diff --json", DiffEnd{}},
	{SchemaDiffPage, "answer to diff", DiffPage{}},
	{SchemaDone, "answer to rm, checkpoint and shutdown", Done{}},
	{SchemaGrow, "answer to grow", GrowResult{}},
	{SchemaScrub, "answer to scrub", ScrubResult{}},
	{SchemaInit, "printed by init", InitResult{}},
	{SchemaImport, "printed by import", ImportResult{}},
	{SchemaCheck, "printed by check", CheckResult{}},
	{SchemaDoctor, "printed by doctor", DoctorResult{}},
	{SchemaTraceBlend, "printed by trace blend", TraceBlend{}},
	{SchemaTraceDestage, "printed by trace destage", TraceDestage{}},
	{SchemaTraceEvents, "first line of trace events --json and of a file of trace record", TraceEvents{}},
	{SchemaTraceEventsStream, "line of those that names what later ones are about", TraceEventsStream{}},
	{SchemaTraceEventsEnd, "last line of those, and printed by trace record", TraceEventsEnd{}},
	{SchemaTracePlot, "printed by trace plot", TracePlot{}},
	{SchemaTraceLatency, "printed by trace latency", TraceLatency{}},
	{SchemaError, "in place of any answer", ErrorDocument{}},
	{SchemaCreateRequest, "request of create", CreateRequest{}},
	{SchemaRemoveRequest, "request of rm", RemoveRequest{}},
	{SchemaAttachRequest, "request of attach", AttachRequest{}},
	{SchemaDetachRequest, "request of detach", DetachRequest{}},
	{SchemaSnapshotRequest, "request of snapshot", SnapshotRequest{}},
	{SchemaCloneRequest, "request of clone", CloneRequest{}},
	{SchemaDiffRequest, "request of diff", DiffRequest{}},
	{SchemaRollbackRequest, "request of rollback", RollbackRequest{}},
	{SchemaRenameRequest, "request of rename", RenameRequest{}},
	{SchemaResizeRequest, "request of resize", ResizeRequest{}},
	{SchemaGrowRequest, "request of grow", GrowRequest{}},
	{SchemaScrubRequest, "request of scrub-start", ScrubRequest{}},
	{SchemaScrubStopRequest, "request of scrub-stop", ScrubStopRequest{}},
	{SchemaCheckpointRequest, "request of checkpoint", CheckpointRequest{}},
	{SchemaShutdownRequest, "request of shutdown", ShutdownRequest{}},
}

// Describe returns the fields of a document, one line each: path, type, meaning.
func Describe(doc any) []FieldInfo { return describe(reflect.TypeOf(doc), "") }

// FieldInfo is one field of a document.
type FieldInfo struct {
	Path     string // such as volumes[].size
	Type     string // string, integer, boolean, time, object, list
	Optional bool   // left out where it does not apply
	Doc      string
}

func describe(t reflect.Type, prefix string) []FieldInfo {
	var all []FieldInfo
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		kind, inner, suffix := kindOf(f.Type)
		doc := f.Tag.Get("doc")
		if f.Type == reflect.TypeFor[Schema]() {
			doc = "names this document and its version"
		}
		all = append(all, FieldInfo{
			Path: prefix + name, Type: kind, Doc: doc,
			Optional: strings.Contains(opts, "omitempty"),
		})
		if inner != nil {
			all = append(all, describe(inner, prefix+name+suffix+".")...)
		}
	}
	return all
}

// kindOf returns what a Go type is in JSON, and the struct type whose fields are to be described.
func kindOf(t reflect.Type) (kind string, inner reflect.Type, suffix string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time", nil, ""
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		return "object", t.Elem(), ""
	case t.Kind() == reflect.Struct:
		return "object", t, ""
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list", t.Elem(), "[]"
	case t.Kind() == reflect.Slice:
		return "list", nil, ""
	case t.Kind() == reflect.String:
		return "string", nil, ""
	case t.Kind() == reflect.Bool:
		return "boolean", nil, ""
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "integer", nil, ""
	case t.Kind() == reflect.Float64:
		return "number", nil, ""
	}
	panic(fmt.Sprintf("control: a field of type %s has no form in JSON here", t))
}

package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"unblend/placement"
)

const (
	// MaxRequest is how long a request's body may be, in bytes. Only rm of many comes near it.
	MaxRequest = 64 << 10
	// MaxNames is how many names fit into a request, however long they are.
	MaxNames = MaxRequest/(2*placement.MaxName+4) - 8
)

// errTooLarge is returned for a longer body.
var errTooLarge = errors.New("request too large")

// decodeRequest reads exactly one JSON object from r into v: no unknown fields, nothing behind it.
// The error is an Error with CodeBadRequest.
func decodeRequest(r io.Reader, v request) error {
	body, err := io.ReadAll(io.LimitReader(r, MaxRequest+1))
	switch {
	case err != nil:
		return badRequest("request: cannot be read", err)
	case len(body) > MaxRequest:
		return badRequest(fmt.Sprintf("request: more than %d bytes", MaxRequest), errTooLarge)
	case len(bytes.TrimSpace(body)) == 0:
		return badRequest("request: empty; a JSON object is wanted", nil)
	case bytes.TrimSpace(body)[0] != '{':
		return badRequest("request: not a JSON object", nil)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("request: "+jsonCause(err), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("request: something follows the JSON object", nil)
	}
	return v.validate()
}

func badRequest(message string, err error) *Error {
	return &Error{Code: CodeBadRequest, Message: message, Err: err}
}

// jsonCause says in the terms of the request what the decoder says in Go's.
func jsonCause(err error) string {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("JSON at byte %d: %s", syntax.Offset, clip(syntax.Error()))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "JSON ends in the middle"
	case errors.As(err, &typ):
		return fmt.Sprintf("field %q: %s does not fit there", clip(typ.Field), clip(typ.Value))
	}
	return clip(err.Error())
}

// writeJSON sends one document. That the client has gone is its own affair.
func writeJSON(w http.ResponseWriter, status int, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("control: %T cannot be encoded: %v", doc, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(b, '\n')); err != nil {
		return
	}
}

// writeError sends a refusal.
func writeError(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	status := e.status()
	if errors.Is(err, errTooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	writeJSON(w, status, e.Document())
}

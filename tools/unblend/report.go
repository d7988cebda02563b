package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"unblend/tools/internal/control"
	"unblend/tools/internal/units"
)

const (
	exitUsage = 2
	exitWorse = 5 // degraded, or check found damage
	exitLacks = 6 // something that is needed is missing
)

// exitError ends the program with a code when everything there is to say has been printed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints what went wrong, if anything did, and returns the exit code. With --json standard
// output gets a document in that case too; the line on standard error is for people.
func report(s streams, err error, in *invocation) int {
	if err == nil {
		return 0
	}
	if code, ok := err.(exitError); ok {
		return int(code)
	}
	if canceled(err) {
		fmt.Fprintln(s.err, "unblend: interrupted")
		return control.ExitInterrupted
	}
	e := control.ErrorOf(err)
	fmt.Fprintln(s.err, "unblend: "+oneLine(e.Error()))
	if in != nil && in.common.json {
		if err := in.document(e.Document()); err != nil {
			fmt.Fprintln(s.err, "unblend: "+err.Error())
		}
	}
	return e.ExitCode()
}

// oneLine keeps what a device or a daemon said from taking the terminal over.
func oneLine(s string) string {
	return units.Printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// document prints one document in the form of the verb.
func (in *invocation) document(doc any) error {
	if !in.cmd.lines {
		return printJSON(in.out, doc)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return print(in.out, string(b)+"\n")
}

// printJSON prints one document.
func printJSON(w io.Writer, doc any) error {
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return print(w, string(b)+"\n")
}

// print writes to standard output. That it cannot be written is an error like any other: a script
// must not take half an answer for a whole one.
func print(w io.Writer, s string) error {
	if _, err := io.WriteString(w, s); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// answerLine is answer for verbs whose documents are lines.
func (in *invocation) answerLine(doc any, text string) error {
	if in.common.json {
		return in.document(doc)
	}
	return print(in.out, text)
}

// answer prints a document or, for people, what text returns.
func (in *invocation) answer(doc any, text func() string) error {
	if in.common.json {
		return printJSON(in.out, doc)
	}
	return print(in.out, text())
}

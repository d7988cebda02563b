//go:build plant

package log

// Plant names the bug that is switched on, for tests that show that the tests would notice it:
// "ack-before-durable", "free-out-of-order", "continue-recovered-segment", "nonce-not-checked" or
// "summary-before-durable".
var Plant string

func planted(bug string) bool { return Plant == bug }

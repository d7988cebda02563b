package daemon

import (
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells systemd how the service is (sd_notify(3)). Without systemd it does nothing.
type notifier struct{ conn net.Conn }

func newNotifier() *notifier {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return &notifier{}
	}
	conn, err := net.Dial("unixgram", path) // a leading @ stands for the abstract name space
	if err != nil {
		return &notifier{}
	}
	return &notifier{conn}
}

// send sends one assignment. That nobody listens is not the daemon's trouble.
func (n *notifier) send(state string) {
	if n.conn != nil {
		_, _ = n.conn.Write([]byte(state))
	}
}

// status sends a line for `systemctl status`.
func (n *notifier) status(line string) { n.send("STATUS=" + line) }

// watchdog returns within what time systemd wants to hear of the service, or 0.
func (n *notifier) watchdog() time.Duration {
	if n.conn == nil {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

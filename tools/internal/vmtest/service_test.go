package vmtest

import (
	"path/filepath"
	"strings"
	"testing"

	"unblend/tools/internal/vm"
)

// TestService installs the program as an operator does and has systemd run it, with all that the unit
// takes away from it: volumes work, a kill is followed by another daemon that has them all, a stop is in
// order, and what the kernel says of the process is what the unit wants.
func TestService(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "") // with the systemd of this machine, which .ci/deps installs
		cfg.Systemd = true
		cfg.Drives = []vm.Drive{{Name: "pool", Path: image(t, 2048)}}
		root, err := filepath.Abs("../../..")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dir = root
		run(t, cfg)
		return
	}
	g := newGuest(t)
	g.step("install")
	g.sh("make -s install BIN=/vm/unblend")
	g.sh("unblend init /dev/vm/pool && sed -i 's|^#* *POOL=.*|POOL=/dev/vm/pool|' /etc/default/unblend && " +
		"grep -q ^POOL=/dev/vm/pool /etc/default/unblend")
	g.step("start")
	g.sh("systemctl start unblend || { systemctl status -n 50 unblend; false; }")
	g.sh("unblend create web1 --size 1G && unblend create web2 --size 1G --no-attach")
	g.sh("head -c 8M /dev/urandom >/run/content && " +
		"dd if=/run/content of=/dev/unblend/web1 bs=1M oflag=direct conv=fsync status=none")
	g.confined()
	g.step("kill")
	g.sh("systemctl kill -s KILL unblend; for i in $(seq 300); do " +
		"unblend status >/run/status 2>&1 && break; sleep 0.2; done; cat /run/status")
	g.sh("cmp -n 8388608 /run/content /dev/unblend/web1")
	g.sh("unblend attach web2 && unblend snapshot web1@a && unblend clone web1@a web3")
	g.confined()
	g.sh("unblend status") // 0: nothing to warn of
	g.step("stop")
	g.sh("systemctl stop unblend && ! systemctl is-failed unblend && unblend check /dev/vm/pool")
	g.sh("ls /dev/unblend 2>/dev/null | wc -l | grep -qx 0")
	g.Log(g.sh("systemd-analyze security --no-pager unblend | tail -n 1"))
}

// confined holds that the daemon runs with the six capabilities of the unit, its filter of system calls
// (mode 2), and no way to more.
func (g *guest) confined() {
	g.Helper()
	status := g.sh("cat /proc/$(systemctl show -P MainPID unblend)/status")
	for _, want := range []string{
		"CapEff:\t0000000001284005\n", "CapBnd:\t0000000001284005\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			g.Errorf("the daemon's status lacks %q:\n%s", want, status)
		}
	}
}

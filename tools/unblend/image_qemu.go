package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"unblend/tools/internal/control"
)

// qemuImg returns a call of qemu-img that ends with ctx.
func qemuImg(ctx context.Context, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return nil, &control.Error{
			Code: control.CodeUnsupported, Message: "qemu-img, which reads such images, is not installed",
			Next: "apt install qemu-utils", Err: err,
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second // then it is killed
	return cmd, nil
}

// qemuInfo returns how large a disk the image is.
func qemuInfo(ctx context.Context, img *image) (int64, error) {
	path, err := filepath.Abs(img.path) // no name that means something else to QEMU begins so
	if err != nil {
		return 0, fmt.Errorf("image %s: %w", img.path, err)
	}
	cmd, err := qemuImg(ctx, "info", "-f", img.format, "--output=json", path)
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := runQemu(ctx, cmd, img.path); err != nil {
		return 0, err
	}
	return parseInfo(out.Bytes(), img.path, path)
}

// parseInfo reads what `qemu-img info` says. An image that has others read with it is refused: whose
// image it is could choose any file of this machine.
func parseInfo(b []byte, name, path string) (int64, error) {
	var info struct {
		Size     int64  `json:"virtual-size"`
		Backing  string `json:"backing-filename"`
		Specific struct {
			Data struct {
				DataFile string `json:"data-file"`
				Extents  []struct {
					Filename string `json:"filename"`
				} `json:"extents"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return 0, fmt.Errorf("image %s: qemu-img info: %w", name, err)
	}
	others := []string{info.Backing, info.Specific.Data.DataFile}
	for _, e := range info.Specific.Data.Extents {
		if e.Filename != path {
			others = append(others, e.Filename)
		}
	}
	for _, other := range others {
		if other != "" {
			return 0, &control.Error{
				Code: control.CodeBadRequest, Message: fmt.Sprintf("image %s: it refers to %s", name, other),
				Next: fmt.Sprintf("if that is right, make one file of them: qemu-img convert -O qcow2 %s NEW",
					name),
			}
		}
	}
	return info.Size, nil
}

// convert has qemu-img write the image to a device of zeros.
func (img *image) convert(ctx context.Context, device string, show func(done, total int64)) error {
	path, err := filepath.Abs(img.path)
	if err != nil {
		return fmt.Errorf("image %s: %w", img.path, err)
	}
	cmd, err := qemuImg(ctx, "convert", "-n", "-p", "--target-is-zero", "-t", "none", "-f", img.format,
		"-O", formatRaw, path, device)
	if err != nil {
		return err
	}
	cmd.Stdout = &percentReader{show: show}
	if err := runQemu(ctx, cmd, img.path); err != nil {
		return err
	}
	f, err := openDevice(device)
	if err != nil {
		return err
	}
	return closeDurable(device, f)
}

// runQemu runs a call of qemu-img. What it complains of becomes the error.
func runQemu(ctx context.Context, cmd *exec.Cmd, name string) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && said.Len() > 0:
		return fmt.Errorf("image %s: %s", name, strings.TrimSpace(said.String()))
	case err != nil:
		return fmt.Errorf("image %s: qemu-img: %w", name, err)
	}
	return nil
}

// percentReader takes the progress out of what qemu-img -p prints: "    (12.50/100%)".
type percentReader struct{ show func(done, total int64) }

var percentPattern = regexp.MustCompile(`\((\d+)\.\d+/100%\)`)

func (r *percentReader) Write(p []byte) (int, error) {
	if all := percentPattern.FindAllSubmatch(p, -1); len(all) > 0 {
		if n, err := strconv.ParseInt(string(all[len(all)-1][1]), 10, 64); err == nil {
			r.show(n, 100)
		}
	}
	return len(p), nil
}

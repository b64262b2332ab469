package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

const (
	// syncPatience is for the journal to take in what was printed just now. One that a flood keeps busy does not get round
	// to an answer; what it has by then is tail enough.
	syncPatience = 3 * time.Second
	// readPatience is for reading the journal, which may be on a slow disk.
	readPatience = 30 * time.Second
)

// Tail is in unit.Runner: the journal, from this boot on. What the journal left out, since the unit printed more than its rate
// limit lets pass (journald.conf(5), 10,000 lines in 30 s by default), is missing here too.
func (r *Runner) Tail(ctx context.Context, name string, n int) ([]string, error) {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := r.find(ctx, name)
	if err != nil || n <= 0 {
		return nil, err
	}
	if _, err := journalctl(ctx, syncPatience, "--sync"); err != nil {
		r.log.Debug("the journal may not have taken in the last lines yet", zap.String("unit", name), zap.Error(err))
	}
	text, err := journalctl(ctx, readPatience, "--quiet", "--no-pager", "--all", "--boot", "--output=json", "--output-fields=MESSAGE",
		"--lines="+strconv.Itoa(n), "_SYSTEMD_UNIT="+s.unit, "_TRANSPORT=stdout")
	if err != nil {
		return nil, fmt.Errorf("read the output of %s: %w", name, err)
	}
	var lines []string
	for entry := range bytes.Lines(text) {
		line, err := message(entry)
		if err != nil {
			return nil, fmt.Errorf("read the output of %s: %w", name, err)
		}
		lines = append(lines, unit.CleanLine(line, unit.MaxLine))
	}
	return slices.Clip(lines), nil
}

// message takes the message out of an entry: a string, or an array of bytes where it is not printable
// (journalctl(1), "json").
func message(entry []byte) (string, error) {
	var fields struct {
		Message json.RawMessage `json:"MESSAGE"`
	}
	if err := json.Unmarshal(entry, &fields); err != nil {
		return "", fmt.Errorf("journalctl printed what is not JSON: %w", err)
	}
	var text string
	if json.Unmarshal(fields.Message, &text) == nil {
		return text, nil
	}
	var numbers []octet
	if err := json.Unmarshal(fields.Message, &numbers); err != nil {
		return "", fmt.Errorf("journalctl printed a message of an unknown shape: %w", err)
	}
	raw := make([]byte, len(numbers))
	for i, b := range numbers {
		if b > 0xff {
			return "", fmt.Errorf("journalctl printed %d as a byte", b)
		}
		raw[i] = byte(b)
	}
	return string(raw), nil
}

// octet is a byte in an array of numbers; for a []byte encoding/json would want base64.
type octet uint16

func journalctl(ctx context.Context, patience time.Duration, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("journalctl did not end within %s", patience))
	defer cancel()
	var out, errs bytes.Buffer
	c := exec.CommandContext(limited, "journalctl", args...)
	c.Stdout, c.Stderr = &out, &errs
	c.WaitDelay = time.Second
	if err := c.Run(); err != nil {
		if limited.Err() != nil {
			return nil, context.Cause(limited)
		}
		return nil, fmt.Errorf("journalctl: %w: %s", err, unit.CleanLine(strings.TrimSpace(errs.String()), unit.MaxLine))
	}
	return out.Bytes(), nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/unit"
)

const (
	// probePatience is how long the probe waits for an answer of the metadata service, which is a hop away and answers in
	// milliseconds: what is dropped on the way shows as silence.
	probePatience = time.Second
	// proofPatience is for a probe with all that systemd does around it, on a machine that is busy booting.
	proofPatience = time.Minute
	// breached is the exit code of a probe that got through.
	breached = 3
)

// metadataAddresses are those of an instance's metadata, and so of its credentials:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func metadataAddresses() []string { return []string{"169.254.169.254:80", "[fd00:ec2::254]:80"} }

// wall lets units start once a probe has shown that a build can't reach the instance's credentials: no wall, no boot. The
// wall is systemd's IPAddressDeny=, which a kernel without BPF for control groups leaves out without a word. The probe
// runs while the boot does other things.
type wall struct {
	unit.Runner
	cancel context.CancelFunc
	proven chan struct{} // closed when the probe has ended, with err
	err    error
}

// wallError is a wall that is not there.
type wallError struct{ address string }

func (e *wallError) Error() string {
	return fmt.Sprintf("a build would reach the instance's credentials: a probe that systemd was to keep from the instance metadata (IPAddressDeny=) got an answer of %s; "+
		"this machine's kernel or container lacks BPF for control groups (CONFIG_CGROUP_BPF): use an image that has it", e.address)
}

func newWall(r unit.Runner, user string, log *zap.Logger) *wall {
	ctx, cancel := context.WithTimeoutCause(context.Background(), proofPatience, fmt.Errorf("the probe did not end within %s", proofPatience))
	w := &wall{Runner: r, cancel: cancel, proven: make(chan struct{})}
	go func() {
		defer close(w.proven)
		begin := time.Now()
		if w.err = prove(ctx, r, user); w.err == nil {
			log.Info("the instance's credentials are out of reach of builds", zap.Duration("duration", time.Since(begin).Round(time.Millisecond)))
		}
	}()
	return w
}

// prove runs the probe as a build runs.
func prove(ctx context.Context, r unit.Runner, user string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program that probes the wall: %w", err)
	}
	var out bytes.Buffer
	err = r.Run(ctx, unit.Spec{
		Name: "bootagent-wall", Process: "wall", Command: []string{self, "probe-metadata"}, Dir: "/", User: user, Writable: []string{},
	}, &out)
	var exit *unit.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode == breached:
		address, _, _ := strings.Cut(out.String(), "\n")
		return &wallError{address: unit.CleanLine(address, 80)}
	case err != nil:
		return fmt.Errorf("prove that builds can't reach the instance's credentials: %w: %s", err, unit.CleanLine(strings.TrimSpace(out.String()), unit.MaxLine))
	}
	return nil
}

// wait returns once the wall is proven, or says why it is not.
func (w *wall) wait(ctx context.Context) error {
	select {
	case <-w.proven:
		return w.err
	case <-ctx.Done():
		return nil // somebody else's end, who says why
	}
}

func (w *wall) Start(ctx context.Context, s unit.Spec) error {
	if err := w.wait(ctx); err != nil {
		return err
	}
	return w.Runner.Start(ctx, s)
}

func (w *wall) Run(ctx context.Context, s unit.Spec, out io.Writer) error {
	if err := w.wait(ctx); err != nil {
		return err
	}
	return w.Runner.Run(ctx, s, out)
}

// close calls the probe off and waits for it.
func (w *wall) close() {
	w.cancel()
	<-w.proven
}

// probeCommand is what the probe is: this program, as a build. It prints the addresses that answer.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "probe-metadata",
		Short:  "Try to reach the instance metadata, as a build would",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if address := reached(c.Context(), metadataAddresses()); address != "" {
				fmt.Fprintln(c.OutOrStdout(), address)
				return errBreached
			}
			return nil
		},
	}
}

// errBreached is the probe that got through.
var errBreached = errors.New("the instance metadata can be reached")

// reached gives the addresses that answer HTTP, "" for none. Any answer will do: without a token it is a 401.
func reached(ctx context.Context, addresses []string) string {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true}}
	answers := make([]string, len(addresses))
	var group sync.WaitGroup
	for i, address := range addresses {
		group.Go(func() {
			if forbidden(ctx, address) {
				return
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/latest/meta-data/", nil)
			if err != nil {
				return
			}
			if answer, err := client.Do(request); err == nil {
				_ = answer.Body.Close()
				answers[i] = address
			}
		})
	}
	group.Wait()
	return strings.TrimSpace(strings.Join(answers, " "))
}

// forbidden says whether the wall keeps this process from an address. The wall drops a connection's packets in silence,
// which takes its time to show, but refuses a datagram at once. So does a firewall that lets only some protocols out, behind
// which the metadata may be reached all the same: but it refuses one to the address beside it, too.
func forbidden(ctx context.Context, address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && refused(ctx, at) && !refused(ctx, netip.AddrPortFrom(at.Addr().Prev(), at.Port()))
}

// refused says whether the kernel refuses to send a datagram to an address, with EPERM.
func refused(ctx context.Context, to netip.AddrPort) bool {
	connection, err := new(net.Dialer).DialContext(ctx, "udp", to.String())
	if err != nil {
		return false
	}
	_, err = connection.Write([]byte{0})
	_ = connection.Close()
	return errors.Is(err, syscall.EPERM)
}

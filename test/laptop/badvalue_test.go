package laptop_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/trial"
)

// TestWhatIsNoReleaseIsPassedOver puts values that name no release: what serves goes on, and the status says why.
func TestWhatIsNoReleaseIsPassedOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.sound("main")
	l.put("main")
	l.launch()
	l.wait("in service", serving(1))
	traffic := l.startLoad()
	noise := make([]byte, 4096)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte('!' + random.IntN('z'-'!')) // no braces, in which SSM itself sees a meaning
	}
	for _, bad := range []struct {
		value string
		says  []string
	}{
		{"main\nreboot", []string{`"main\nreboot" is not a branch, a tag or a full SHA`, `it has the character '\n'`}},
		{"--upload-pack=reboot", []string{`"--upload-pack=reboot" is not a branch`, "it begins with a dash"}},
		{string(noise), []string{"is not a branch, a tag or a full SHA"}},
		{`{"schema":1,"ref":"ma`, []string{"not the JSON of an intent"}},
		{`{"schema":7,"ref":"main"}`, []string{"the intent has schema 7", "reads 1: upgrade it"}},
		{`{"schema":1,"revision":"` + first + `","repository":"https://evil.example/shop.git"}`, []string{"https://evil.example/shop.git", "source.url"}},
	} {
		number := l.put(bad.value)
		s := l.wait("passed over", serving(1), state("in_service"),
			problem(append(bad.says, fmt.Sprintf("version %d of the release parameter", number), "passed over")...))
		if text := s.Problems["intent"]; len(text) > 600 || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%q is told in a way that no line takes: %q", bad.value, text)
		}
	}

	// These could be refs. There is none of that name.
	l.put("$(reboot)")
	l.wait("no such ref", inService(1), problem(`"$(reboot)"`, "no such branch or tag"))
	l.put("mian")
	l.wait("no such ref", inService(1), problem(`"mian"`, "no such branch or tag", "did you mean main?"))
	l.put("0123456789012345678901234567890123456789")
	l.wait("no such commit", inService(1), problem("fetch 0123456789", "the server does not have this commit", "forced push"))
	// A ref that is pushed after it was asked for is taken.
	late := l.put("late")
	l.wait("not pushed yet", inService(1), problem(`"late"`, "no such branch or tag"))
	l.sound("late")
	l.wait("in service", serving(late), state("in_service"), untroubled)
	traffic.stop()
}

// TestATransferThatIsCutInTheMiddleIsMadeAgain cuts the first two.
func TestATransferThatIsCutInTheMiddleIsMadeAgain(t *testing.T) {
	t.Parallel()
	var cutter scissors
	l := newLab(t, func(o *trial.Options) { o.Git = cutter.between })
	l.sound("main")
	l.put("main")
	l.launch()
	i := l.only()
	l.wait("in service", serving(1))
	traffic := l.startLoad()
	big := appWith(patient)
	random := rand.New(rand.NewPCG(3, 4))
	var blob strings.Builder
	for range 60_000 {
		blob.WriteByte(byte(random.IntN(256)))
	}
	big["logo.png"] = blob.String()
	cutter.cuts.Store(2)
	second := l.put(l.branch("big", big))
	l.until("settled on the new release", func() error { return l.settled(i, second) })
	traffic.stop()
	s := l.wait("untroubled", state("in_service"), untroubled)
	if len(s.Failed) > 0 {
		t.Errorf("a cut marks no revision as bad: %v", s.Failed)
	}
	if left := cutter.cuts.Load(); left > 0 {
		t.Errorf("%d transfers were not cut", left)
	}
	if !l.log.contains(`"phase": "prepare"`, "failed", "fetch "+s.InService.Revision, "the transfer ended too early: try again") {
		t.Error("the log says nothing of the cut")
	}
}

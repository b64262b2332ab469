package contract

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/region"
)

func TestSSMTellsTheSameStoriesAsMoto(t *testing.T) {
	t.Parallel()
	ours, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, story := range slices.Concat(versionStories, ruleStories) {
		t.Run("region/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newTeller(t, ours.Endpoint())
			story.tell(s)
			if diff := cmp.Diff(story.want, s.lines); diff != "" {
				t.Errorf("the region differs from what AWS documents (-want +got):\n%s", diff)
			}
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newTeller(t, freshMoto(t))
			story.tell(s)
			diff := cmp.Diff(story.want, s.lines)
			switch {
			case diff == "" && story.motoIsWrong != "":
				t.Errorf("moto is right by now: take its reason out (%s)", story.motoIsWrong)
			case diff != "" && story.motoIsWrong == "":
				t.Errorf("moto differs, and nothing says why (-want +moto):\n%s", diff)
			case diff != "":
				t.Logf("moto differs as expected: %s", story.motoIsWrong)
			}
		})
	}
}

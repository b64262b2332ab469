package contract

import (
	"slices"
	"testing"

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
			sameAsDocumented(t, story.want, s.lines)
		})
		t.Run("moto/"+story.name, func(t *testing.T) {
			t.Parallel()
			s := newTeller(t, freshMoto(t))
			story.tell(s)
			sameAsMoto(t, story.want, s.lines, story.motoIsWrong)
		})
	}
}

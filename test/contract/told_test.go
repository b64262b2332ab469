package contract

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sameAsDocumented holds what a story told of the region to what AWS documents.
func sameAsDocumented(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the region differs from what AWS documents (-want +got):\n%s", diff)
	}
}

// sameAsMoto holds what a story told of moto to the same, unless wrong says why moto differs: then it must.
func sameAsMoto(t *testing.T, want, got []string, wrong string) {
	t.Helper()
	diff := cmp.Diff(want, got)
	switch {
	case diff == "" && wrong != "":
		t.Errorf("moto is right by now: take its reason out (%s)", wrong)
	case diff != "" && wrong == "":
		t.Errorf("moto differs, and nothing says why (-want +moto):\n%s", diff)
	case diff != "":
		t.Logf("moto differs as expected (%s):\n%s", wrong, diff)
	}
}

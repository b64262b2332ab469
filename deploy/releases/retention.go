package releases

import "slices"

// Expired gives the numbers of the releases that may go, lowest first. list is in order of number.
//
// Only releases that were in service count towards keep, so that failed ones never push a good one out. Whatever keep
// says, these stay: the current release, the previous good one (the highest below current that was in service), every
// one that is in use, and the newest that was never in service, which may be just about to start.
func Expired(list []Release, current int64, inUse func(number int64) bool, keep int) []int64 {
	var stay []int64
	kept, previous, newest := 0, false, false
	for _, r := range slices.Backward(list) {
		n := r.Release.Number
		switch {
		case !r.Promoted && !newest:
			newest = true
			stay = append(stay, n)
		case r.Promoted && kept < keep:
			kept++
			stay = append(stay, n)
		}
		if r.Promoted && !previous && (n < current || current == 0) {
			previous = true
			stay = append(stay, n)
		}
	}
	var out []int64
	for _, r := range list {
		if n := r.Release.Number; n != current && !slices.Contains(stay, n) && !inUse(n) {
			out = append(out, n)
		}
	}
	return out
}

package strictyaml

import "unicode/utf8"

// Nearest gives the candidate that is fewest typing errors away from word, or "" where none is near: at most two
// errors, and fewer than half of the word. A letter left out, added, replaced, or swapped with the next is one error.
func Nearest(word string, candidates []string) string {
	if len(word) > 64 { // no key is that long, and distance costs the product of both lengths
		return ""
	}
	best, at := "", 3
	for _, c := range candidates {
		if d := distance([]rune(word), []rune(c)); d < at && 2*d < utf8.RuneCountInString(c) {
			best, at = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance.
func distance(a, b []rune) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

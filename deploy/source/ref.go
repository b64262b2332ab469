package source

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// refMax bounds a ref's name: what a file system takes, and more than anybody types.
const refMax = 255

// tagPrefix begins the full names of tags.
const tagPrefix = "refs/tags/"

// The kinds of objects that can be signed.
const (
	kindCommit = "commit"
	kindTag    = "tag"
)

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// sha256Digits is how long the object names of such a repository are.
const sha256Digits = 64

func isSHA(s string) bool { return len(s) == 40 && isHex(s) }

// CheckRef says whether ref may be a branch, a tag, a full name or a full SHA, by the rules of git-check-ref-format(1).
// It asks nobody. The error is an ErrBadRef.
func CheckRef(ref string) error {
	if reason := badRef(ref); reason != "" {
		return fmt.Errorf("%s is %w: %s", quoted(ref), ErrBadRef, reason)
	}
	return nil
}

func badRef(ref string) string {
	switch {
	case ref == "":
		return "it is empty"
	case len(ref) > refMax:
		return fmt.Sprintf("it is longer than %d bytes", refMax)
	case len(ref) == 64 && isHex(ref):
		return "it looks like a SHA-256 object name; only the 40 hex digits of SHA-1 are supported"
	case strings.HasPrefix(ref, "-"):
		return "it begins with a dash"
	case ref == "@" || strings.Contains(ref, "@{"):
		return "it has an @ of its own, or @{"
	case strings.Contains(ref, ".."):
		return "it contains two dots in a row"
	case strings.HasSuffix(ref, "."):
		return "it ends with a dot"
	}
	for _, r := range ref {
		// Control characters and spaces are git's; what shows as nothing, or reorders what is shown, is ours: a ref is
		// typed by people, and read in logs.
		if !unicode.IsPrint(r) || r == ' ' || r == unicode.ReplacementChar || strings.ContainsRune(`~^:?*[\`, r) {
			return fmt.Sprintf("it contains %q", r)
		}
	}
	for part := range strings.SplitSeq(ref, "/") {
		switch {
		case part == "":
			return "it has a slash too many"
		case strings.HasPrefix(part, "."):
			return "a part of it begins with a dot"
		case strings.HasSuffix(part, ".lock"):
			return "a part of it ends with .lock"
		}
	}
	return ""
}

// refs is what the server advertises.
type refs struct{ *packp.AdvRefs }

// commit is what a full name points to, an annotated tag peeled.
func (r refs) commit(name string) (plumbing.Hash, bool) {
	if name == "HEAD" && r.Head != nil {
		return *r.Head, true
	}
	if h, ok := r.Peeled[name]; ok {
		return h, true
	}
	h, ok := r.References[name]
	return h, ok
}

// tags are the annotated tags by full name: what they point to in the end, and their own hashes.
func (r refs) tags() (peeled, tags map[string]string) {
	peeled, tags = make(map[string]string, len(r.Peeled)), make(map[string]string, len(r.Peeled))
	for name, h := range r.Peeled {
		peeled[name], tags[name] = h.String(), r.References[name].String()
	}
	return peeled, tags
}

// annotated gives the annotated tag that lookup found under a name: its full name and its own hash.
func (n names) annotated(ref string, tags map[string]string) (name, tag string) {
	for _, name := range []string{ref, "refs/" + ref, tagPrefix + ref} {
		if _, known := n.commit(name); !known {
			continue
		}
		if tag, ok := tags[name]; ok && strings.HasPrefix(name, tagPrefix) {
			return name, tag
		}
		return "", ""
	}
	return "", ""
}

// names are refs by full name, whoever listed them: an annotated tag's commit is that in the end.
type names struct {
	commit func(name string) (sha string, ok bool)
	all    iter.Seq[string]
	head   string // the branch that HEAD stands for; "" is not known
}

func (r refs) names() names {
	n := names{all: maps.Keys(r.References), commit: func(name string) (string, bool) {
		h, ok := r.commit(name)
		return h.String(), ok
	}}
	if h, ok := r.Capabilities.Get(capability.SymRef), r.Head != nil; ok && len(h) > 0 {
		_, n.head, _ = strings.Cut(h[0], ":")
	}
	return n
}

// lookup finds a name as gitrevisions(7) does: the full name, then below refs/, a tag, a branch. A tag and a branch of one
// name are ambiguous unless they agree: git would warn and take the tag.
func (n names) lookup(ref string) (string, error) {
	if sha, ok := n.commit(ref); ok {
		return sha, nil
	}
	if sha, ok := n.commit("refs/" + ref); ok {
		return sha, nil
	}
	tag, isTag := n.commit(tagPrefix + ref)
	branch, isBranch := n.commit("refs/heads/" + ref)
	switch {
	case isTag && isBranch && tag != branch:
		return "", fmt.Errorf("%w: say refs/tags/%s (%s) or refs/heads/%s (%s)", ErrAmbiguous, ref, tag, ref, branch)
	case isTag:
		return tag, nil
	case isBranch:
		return branch, nil
	case len(ref) >= 4 && len(ref) < 40 && isHex(ref):
		return "", fmt.Errorf("%w of that name; an abbreviated SHA can't be looked up: give all 40 digits%s", ErrRefNotFound,
			n.completion(strings.ToLower(ref)))
	}
	return "", fmt.Errorf("%w%s", ErrRefNotFound, n.didYouMean(ref))
}

// completion names the tip that an abbreviated SHA begins, if there is one.
func (n names) completion(abbreviated string) string {
	for name := range n.all {
		if sha, _ := n.commit(name); strings.HasPrefix(sha, abbreviated) {
			return fmt.Sprintf(" (%s is %s)", sha, short(name))
		}
	}
	return ""
}

// didYouMean names up to three branches and tags that are spelled nearly so, or says which there are.
func (n names) didYouMean(ref string) string {
	type candidate struct {
		name     string
		distance int
	}
	var all []candidate
	for full := range n.all {
		if name := short(full); name != full && len(name) <= refMax && len(all) < 10_000 {
			all = append(all, candidate{name, distance(strings.ToLower(ref), strings.ToLower(name))})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(a.distance-b.distance, cmp.Compare(a.name, b.name)) })
	var near []string
	for _, c := range all {
		if len(near) < 3 && c.distance <= max(2, len(ref)/3) && c.distance < len(ref) && !slices.Contains(near, c.name) {
			near = append(near, c.name)
		}
	}
	if len(near) > 0 {
		return " (did you mean " + strings.Join(near, ", ") + "?)"
	}
	if n.head != "" {
		return fmt.Sprintf(" (the default branch is %s)", short(n.head))
	}
	return ""
}

// short drops what people don't type.
func short(full string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(full, prefix); ok {
			return name
		}
	}
	return full
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// wants is what to ask the server for. depth 0 is the whole history.
type wants struct {
	hashes       []plumbing.Hash
	depth        int
	signedOnly   bool             // commits and tags, where the server can leave out the rest
	capabilities *capability.List // of the server
}

// shallow asks for one commit alone. A server in its default state hands out only objects that a ref points to, so
// where the commit is known by an annotated tag only, the tag is asked for: its commit comes with it. So it does where tags
// of the commit are wanted.
func (r refs) shallow(sha string, tags []string) wants {
	if len(tags) > 0 {
		w := wants{depth: 1, capabilities: r.Capabilities}
		for _, tag := range tags {
			w.hashes = append(w.hashes, plumbing.NewHash(tag))
		}
		return w
	}
	want := plumbing.NewHash(sha)
	if !r.anySHA() {
		for name, h := range r.Peeled {
			if h == want && !r.isTip(want) {
				want = r.References[name]
				break
			}
		}
	}
	return wants{hashes: []plumbing.Hash{want}, depth: 1, capabilities: r.Capabilities}
}

func (r refs) isTip(want plumbing.Hash) bool {
	for _, h := range r.References {
		if h == want {
			return true
		}
	}
	return false
}

// anySHA says whether the server hands out commits that no ref points to.
func (r refs) anySHA() bool {
	return r.Capabilities.Supports(capability.AllowReachableSHA1InWant) || r.Capabilities.Supports("allow-any-sha1-in-want")
}

// everything asks for all branches and tags with their histories.
func (r refs) everything() wants {
	seen := map[plumbing.Hash]bool{}
	var hashes []plumbing.Hash
	for name, h := range r.References {
		if short(name) != name && !seen[h] {
			seen[h] = true
			hashes = append(hashes, h)
		}
	}
	return wants{hashes: hashes, capabilities: r.Capabilities}
}

package artifact

import "bytes"

// finder finds texts in files that pass in pieces. What was compressed or encoded is not seen.
type finder struct {
	texts map[string][]byte // by what they are
	met   map[string]bool
	tail  []byte // the end of what passed
	most  int
}

func newFinder(texts map[string]string) *finder {
	f := &finder{texts: map[string][]byte{}, met: map[string]bool{}}
	for what, text := range texts {
		if text != "" {
			f.texts[what] = []byte(text)
			f.most = max(f.most, len(text))
		}
	}
	return f
}

// look looks at the next piece of a file.
func (f *finder) look(p []byte) {
	if f.most == 0 {
		return
	}
	seam := append(f.tail, p[:min(len(p), f.most-1)]...)
	for what, text := range f.texts {
		if !f.met[what] && (bytes.Contains(seam, text) || bytes.Contains(p, text)) {
			f.met[what] = true
		}
	}
	if len(p) < f.most { // the seam is all of it
		p = seam
	}
	f.tail = append(f.tail[:0], p[max(0, len(p)-f.most+1):]...)
}

// end says that the file is over.
func (f *finder) end() { f.tail = f.tail[:0] }

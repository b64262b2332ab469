package source

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing/format/config"
)

const (
	// modulesName is the file in which a repository says where its submodules are (gitmodules(5)).
	modulesName = ".gitmodules"
	modulesMax  = 128 << 10
)

// submodules joins what stands in the tree with what .gitmodules says about it. Entries for other paths are nobody's.
func (c *checkout) submodules() ([]submodule, error) {
	if len(c.links) == 0 {
		return nil, nil
	}
	if c.modules == nil {
		return nil, errNoModules(c.links)
	}
	content, err := c.read(c.modules, modulesMax)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.at(modulesName), err)
	}
	return joinModules(c.links, content, c.at(modulesName))
}

func errNoModules(links []submodule) error {
	return revisionf("%q is a submodule, but the repository has no .gitmodules that says where it comes from: "+
		"add it with `git submodule add`, or remove it", links[0].path)
}

// joinModules completes the submodules of a tree with what the file says.
func joinModules(links []submodule, content []byte, name string) ([]submodule, error) {
	known, err := parseModules(content)
	if err != nil {
		return nil, revisionf("%s: %w", name, err)
	}
	for i, l := range links {
		m, ok := known[l.path]
		if !ok {
			return nil, revisionf("%q is a submodule, but .gitmodules has no entry with this path: add it with `git submodule add`, "+
				"or remove it", l.path)
		}
		if m.url == "" {
			return nil, revisionf("%q is a submodule, but its entry in .gitmodules has no url: add one", l.path)
		}
		links[i].url, links[i].skip = m.url, m.skip
	}
	return links, nil
}

// parseModules reads a .gitmodules file by path. What git warns about and resolves somehow is an error: an attacker's
// favourite is a file that two readers read differently.
func parseModules(content []byte) (map[string]submodule, error) {
	parsed := config.New()
	if err := config.NewDecoder(bytes.NewReader(content)).Decode(parsed); err != nil {
		return nil, fmt.Errorf("it can't be read: %s", printable(err.Error()))
	}
	known := map[string]submodule{}
	for _, section := range parsed.Sections {
		if !strings.EqualFold(section.Name, "submodule") {
			continue
		}
		for _, sub := range section.Subsections {
			m, err := parseModule(sub)
			if err != nil {
				return nil, fmt.Errorf("the submodule %s: %w", quoted(sub.Name), err)
			}
			if m.path == "" {
				continue // as git does
			}
			if _, twice := known[m.path]; twice {
				return nil, fmt.Errorf("the path %s stands there twice", quoted(m.path))
			}
			known[m.path] = m
		}
	}
	return known, nil
}

func parseModule(s *config.Subsection) (m submodule, err error) {
	for part := range strings.FieldsFuncSeq(s.Name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." { // submodule-config.c: the name is a directory to git (CVE-2018-11235)
			return m, fmt.Errorf("the name is refused: it has .. in it")
		}
	}
	one := func(key string) (value string) {
		all := s.OptionAll(key)
		switch {
		case err != nil:
		case len(all) > 1:
			err = fmt.Errorf("%s stands there %d times", key, len(all))
		case len(all) == 1 && strings.ContainsFunc(all[0], unicode.IsControl): // go-git keeps the ends of continued lines
			err = fmt.Errorf("%s contains a line's end or another control character", key)
		case len(all) == 1:
			value = all[0]
		}
		return value
	}
	m.path, m.url = one("path"), one("url")
	switch update := one("update"); {
	case strings.HasPrefix(update, "!"):
		err = fmt.Errorf("update = %s would run a command", quoted(update))
	case update == "none":
		m.skip = true
	}
	return m, err
}

package agent

import "maps"

// with and without copy the map: a Memory that was handed out never changes.
func with[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	c := make(map[K]V, len(m)+1)
	maps.Copy(c, m)
	c[k] = v
	return c
}

func without[K comparable, V any](m map[K]V, k K) map[K]V {
	if _, ok := m[k]; !ok {
		return m
	}
	c := maps.Clone(m)
	delete(c, k)
	return c
}

func oldest(m map[string]Failure) string {
	var old string
	for revision, f := range m {
		if o := m[old]; old == "" || f.At.Before(o.At) || f.At.Equal(o.At) && revision < old {
			old = revision
		}
	}
	return old
}

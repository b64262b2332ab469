package laptop_test

import (
	"net/http"

	"github.com/bootagent/bootagent/test/traffic"
)

// load is traffic through a lab's balancer. Its test fails if one request does.
type load struct{ *traffic.Load }

// startLoad begins to send requests.
func (l *lab) startLoad() *load { return &load{traffic.Start(l.t, l.URL())} }

// stop ends the traffic, and gives the number of answers by release.
func (o *load) stop() map[string]int { return o.Stop() }

// get makes one request and says which release answered.
func get(client *http.Client, url string) (release string, err error) {
	return traffic.Get(client, url)
}

// answers says whether a release, and no other, answers ten requests in a row, each on a connection of its own.
func (l *lab) answers(release string) error { return traffic.Answers(l.URL(), release) }

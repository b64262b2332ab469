package imds_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/imds"
)

// "PUT request … must include a header that specifies the time to live for the
// token, in seconds, up to a maximum of six hours (21,600 seconds)."
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
// "400 - Missing or Invalid Parameters – The PUT request is not valid.
// 403 - Forbidden – The request is not allowed or the IMDS is turned off."
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
// "IMDSv2 will also not issue session tokens to any caller with an
// X-Forwarded-For header."
// https://aws.amazon.com/blogs/security/defense-in-depth-open-firewalls-reverse-proxies-ssrf-vulnerabilities-ec2-instance-metadata-service/
func TestTokensAreIssuedForOneSecondToSixHours(t *testing.T) {
	t.Parallel()
	s := start(t, imds.Options{})
	const ttl = "X-aws-ec2-metadata-token-ttl-seconds"
	cases := []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"one second", http.MethodPut, []string{ttl, "1"}, 200},
		{"six hours", http.MethodPut, []string{ttl, "21600"}, 200},
		{"no time to live", http.MethodPut, nil, 400},
		{"none at all", http.MethodPut, []string{ttl, "0"}, 400},
		{"a second more than six hours", http.MethodPut, []string{ttl, "21601"}, 400},
		{"no number", http.MethodPut, []string{ttl, "6h"}, 400},
		{"through a proxy", http.MethodPut, []string{ttl, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"a GET", http.MethodGet, []string{ttl, "60"}, 405},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := send(t, s, c.method, "/latest/api/token", c.headers...)
			if got.status != c.want {
				t.Errorf("status %d, want %d", got.status, c.want)
			}
			// The SDK reads the time to live from the answer.
			if c.want == 200 && got.header.Get(ttl) != c.headers[1] {
				t.Errorf("the answer says a time to live of %q, want %s", got.header.Get(ttl), c.headers[1])
			}
		})
	}
}

// "401 - Unauthorized – The GET request uses an invalid token."
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
// "The token is an instance-specific key. The token is not valid on other EC2
// instances". "After the specified duration expires, … you must create a new
// session token."
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
func TestNothingIsReadWithoutALivingTokenOfThisInstance(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s, other := start(t, imds.Options{Clock: clock.Now}), start(t, imds.Options{Clock: clock.Now})
	const header, path = "X-aws-ec2-metadata-token", "/latest/meta-data/instance-id"

	if got := send(t, s, http.MethodGet, path); got.status != 401 {
		t.Errorf("without a token (IMDSv1): %d, want 401", got.status)
	}
	if got := send(t, s, http.MethodGet, path, header, "forged"); got.status != 401 {
		t.Errorf("a forged token: %d, want 401", got.status)
	}
	if got := send(t, s, http.MethodGet, path, header, token(t, other, "60")); got.status != 401 {
		t.Errorf("another instance's token: %d, want 401", got.status)
	}
	mine := token(t, s, "60")
	clock.advance(59 * time.Second)
	if got := send(t, s, http.MethodGet, path, header, mine); got.status != 200 || got.body != "i-0abc" {
		t.Errorf("a second before it expires: %d %s", got.status, got.body)
	}
	clock.advance(time.Second)
	if got := send(t, s, http.MethodGet, path, header, mine); got.status != 401 {
		t.Errorf("when it has expired: %d, want 401", got.status)
	}
	if got := send(t, s, http.MethodPost, path, header, token(t, s, "60")); got.status != 405 {
		t.Errorf("a POST: %d, want 405", got.status)
	}
}

package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	tokenPath   = "/latest/api/token"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	// maxTTL is six hours.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
	maxTTL = 21600
)

// A token is the moment it expires and a MAC of that with the endpoint's own
// key: nothing has to be remembered, however many are asked for, and no other
// instance's token is good here.

func newKey() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	return key
}

// issue makes a token; ok is false where the wanted time to live is not 1 to
// 21600 whole seconds.
func (s *Server) issue(ttl string) (token string, ok bool) {
	seconds, err := strconv.Atoi(ttl)
	if err != nil || seconds < 1 || seconds > maxTTL {
		return "", false
	}
	expires := s.opts.Clock().Add(time.Duration(seconds) * time.Second)
	// Random bytes make each token another one.
	raw := make([]byte, 16)
	binary.BigEndian.PutUint64(raw, uint64(expires.UnixNano()))
	_, _ = rand.Read(raw[8:])
	return base64.URLEncoding.EncodeToString(s.sign(raw)), true
}

// valid says whether the token is one of ours, and how much longer it lives.
func (s *Server) valid(token string) (left time.Duration, ok bool) {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) != 16+sha256.Size || !hmac.Equal(raw, s.sign(raw[:16:16])) {
		return 0, false
	}
	expires := time.Unix(0, int64(binary.BigEndian.Uint64(raw)))
	left = expires.Sub(s.opts.Clock())
	return left, left > 0
}

// sign appends the MAC to raw.
func (s *Server) sign(raw []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(raw)
	return mac.Sum(raw)
}

package sim

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// account is the AWS account that a whole fleet shares: what it gives in a second, what was asked of it, and what that costs.
type account struct {
	w *world
	// limits are the buckets that requests are taken from, by the bucket's name, and calls what was asked, by action.
	limits map[string]*bucket
	calls  map[string]*calls
	reads  float64 // units of DynamoDB
	writes float64
	gaveUp int // calls that failed after all their attempts
}

// bucket has so many tokens a second, and holds no more than one second's: AWS gives some more, on which nothing depends here.
type bucket struct {
	perSecond, left float64
	at              time.Duration
}

// calls counts the requests of one action, attempts that were throttled included.
type calls struct{ made, throttled int }

// The names of the buckets.
const (
	ssmBucket      = "Parameter Store"
	describeBucket = "ELBv2 Describe"
	readBucket     = "DynamoDB reads"
	writeBucket    = "DynamoDB writes"
)

// Prices of DynamoDB on demand in us-east-1, in dollars a unit; requests to the other services are free.
// https://aws.amazon.com/dynamodb/pricing/on-demand/
const (
	priceOfWrite = 0.625e-6
	priceOfRead  = 0.125e-6
)

func newAccount(w *world) *account {
	return &account{w: w, calls: map[string]*calls{}, limits: map[string]*bucket{
		// https://docs.aws.amazon.com/general/latest/gr/ssm.html: at standard throughput, which is free.
		ssmBucket: {perSecond: 40, left: 40},
		// What AWS lets through is not written down; ten a second is what an account can count on.
		describeBucket: {perSecond: 10, left: 10},
		// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html: all records of a fleet are in one partition.
		readBucket:  {perSecond: 3000, left: 3000},
		writeBucket: {perSecond: 1000, left: 1000},
	}}
}

// take takes tokens, and says whether there were as many. What is larger than a whole second's waits until the bucket is full.
func (b *bucket) take(now time.Duration, n float64) bool {
	b.left = min(b.left+(now-b.at).Seconds()*b.perSecond, b.perSecond)
	b.at = now
	if b.left < min(n, b.perSecond) {
		return false
	}
	b.left -= n
	return true
}

// The SDK's retries as internal/aws/session sets them.
const (
	attempts   = 5
	maxBackoff = 5 * time.Second
)

var errThrottled = errors.New("ThrottlingException: Rate exceeded")

// request makes one call with all its attempts: from a bucket, or from none for ""; units is what it costs there, asked for anew at each
// attempt. Then it has its answer, or errThrottled.
func (a *account) request(action, from string, units func() float64, answer func(error)) {
	a.attempt(action, from, units, answer, 1)
}

func (a *account) attempt(action, from string, units func() float64, answer func(error), n int) {
	a.w.after(a.w.between(5*time.Millisecond, 40*time.Millisecond), func() {
		count := a.calls[action]
		if count == nil {
			count = &calls{}
			a.calls[action] = count
		}
		count.made++
		if from == "" {
			answer(nil)
			return
		}
		if cost := units(); a.limits[from].take(a.w.now, cost) {
			switch from {
			case readBucket:
				a.reads += cost
			case writeBucket:
				a.writes += cost
			}
			answer(nil)
			return
		}
		count.throttled++
		if n == attempts {
			a.gaveUp++
			answer(errThrottled)
			return
		}
		a.w.after(a.backoff(n), func() { a.attempt(action, from, units, answer, n+1) })
	})
}

// backoff is the SDK's: jitter over a second, doubled by each attempt, up to maxBackoff.
func (a *account) backoff(n int) time.Duration {
	if float64(n) > math.Floor(math.Log2(maxBackoff.Seconds())) {
		return maxBackoff
	}
	return a.w.between(0, time.Second<<n)
}

func one() float64 { return 1 }

// call is a request that nothing limits, or a bucket by the number of requests.
func (a *account) call(action string, answer func(error)) {
	from := ""
	switch service, operation, _ := strings.Cut(action, ":"); {
	case service == "ssm":
		from = ssmBucket
	case service == "elasticloadbalancing" && strings.HasPrefix(operation, "Describe"):
		from = describeBucket
	}
	a.request(action, from, one, answer)
}

// get reads a record consistently: a unit for each 4 KB.
func (a *account) get(key string, answer func(error)) {
	a.request("dynamodb:GetItem", readBucket, func() float64 { return units(a.w.table.get(key), 4096) }, answer)
}

// write writes records: a unit for each KB of the item as it is or will be, twice that in a transaction. Expectations that are
// not met cost as much.
func (a *account) write(changes []rollout.Change, answer func(error)) {
	action, factor := "dynamodb:UpdateItem", 1.0
	if len(changes) > 1 || !changes[0].Writes() {
		action, factor = "dynamodb:TransactWriteItems", 2
	}
	a.request(action, writeBucket, func() (n float64) {
		for _, c := range changes {
			now := a.w.table.get(c.Key)
			n += factor * max(units(now, 1024), units(c.Make(now), 1024))
		}
		return n
	}, answer)
}

// units of an item: its names and values, the table's own two included.
func units(r rollout.Record, each int) float64 {
	return math.Max(1, math.Ceil(float64(sizeOf(r))/float64(each)))
}

// sizeOf is the bytes of an item.
func sizeOf(r rollout.Record) int {
	size := len("_fleet") + len("shop/prod") + len("_key") + len(r.Key)
	for name, value := range r.Attributes {
		size += len(name) + len(value)
	}
	return size
}

// spent is what it cost so far, in dollars.
func (a *account) spent() float64 { return a.reads*priceOfRead + a.writes*priceOfWrite }

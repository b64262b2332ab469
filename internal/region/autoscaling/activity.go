package autoscaling

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// The status codes of activities that occur here.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Activity.html
const (
	statusPreInService = "PreInService"
	statusInProgress   = "InProgress"
	statusDraining     = "WaitingForELBConnectionDraining"
	statusHook         = "MidLifecycleAction"
	statusSuccessful   = "Successful"
	statusFailed       = "Failed"
	statusCancelled    = "Cancelled"
)

// maxActivities bounds the history of a group. AWS keeps six weeks.
const maxActivities = 1000

// activity is one entry of a group's history.
type activity struct {
	id, group, arn, description, cause string
	zone                               string
	status, message                    string
	start, end                         time.Time
	deleted                            bool // its group is
}

// begin enters an activity into the group's history.
func (g *group) begin(i *instance, what, cause string, now time.Time) *activity {
	a := &activity{id: uuid(), group: g.Name, arn: g.arn, description: what + ": " + i.ID, cause: cause, zone: i.Zone,
		status: statusInProgress, start: now}
	g.activities = append(g.activities, a)
	if extra := len(g.activities) - maxActivities; extra > 0 {
		g.activities = append([]*activity(nil), g.activities[extra:]...)
	}
	return a
}

// note sets the status of an activity that goes on.
func (a *activity) note(status string) {
	if a != nil && a.end.IsZero() {
		a.status = status
	}
}

// finish ends an activity, once.
func (a *activity) finish(status, message string, now time.Time) {
	if a != nil && a.end.IsZero() {
		a.status, a.message, a.end = status, message, now
	}
}

// progress is in per cent. AWS counts 30 to a hook, 50 to the end of an effect.
func (a *activity) progress() int {
	switch {
	case !a.end.IsZero():
		return 100
	case a.status == statusHook, a.status == statusDraining:
		return 50
	}
	return 30
}

// ongoing says whether an activity of the group has not ended.
func (g *group) ongoing() bool {
	for _, a := range g.activities {
		if a.end.IsZero() {
			return true
		}
	}
	return false
}

// uuid makes a random identifier in the usual notation.
func uuid() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newInstanceID makes an instance id: i-0 and 16 hex digits.
func newInstanceID() string { return "i-0" + hex.EncodeToString(random(8)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return b
}

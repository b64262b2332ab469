package rolecreds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bootagent/bootagent/internal/model"
)

const role = "arn:aws:iam::123456789012:role/shop-app"

// service is an STS: it takes so long, fails or not, and numbers the keys that it gives, each good for an hour.
type service struct {
	takes  time.Duration
	life   time.Duration
	err    error
	calls  atomic.Int32
	ended  atomic.Int32 // calls that the context ended
	served atomic.Int32
}

func (s *service) assume(ctx context.Context) (model.RoleCredentials, error) {
	s.calls.Add(1)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		s.ended.Add(1)
		return model.RoleCredentials{}, ctx.Err()
	}
	if s.err != nil {
		return model.RoleCredentials{}, s.err
	}
	return model.RoleCredentials{
		Role: role, AccessKeyID: fmt.Sprintf("ASIA%d", s.served.Add(1)), SecretAccessKey: "s3cret", SessionToken: "t0ken", Expires: time.Now().Add(s.life),
	}, nil
}

// keep runs a story with a keeper, in time that passes only when everybody waits.
func keep(t *testing.T, story func(t *testing.T, s *service, k *keeper, log *observer.ObservedLogs)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{takes: 100 * time.Millisecond, life: time.Hour}
		core, log := observer.New(zap.DebugLevel)
		k := newKeeper(Options{Role: role, Assume: s.assume, Log: zap.New(core)})
		defer k.close()
		story(t, s, k, log)
	})
}

// gets wants these keys, and gives how long they took.
func gets(t *testing.T, k *keeper, want string) time.Duration {
	t.Helper()
	begun := time.Now()
	keys, err := k.get(t.Context())
	if err != nil || keys.AccessKeyID != want {
		t.Errorf("got %s, %v; want %s", keys, err, want)
	}
	return time.Since(begun)
}

func TestKeysAreKeptUntilTheyAreOldAndThenRenewedBehindTheAppsBack(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		gets(t, k, "ASIA1")
		time.Sleep(39 * time.Minute)
		gets(t, k, "ASIA1")
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls within 39 minutes, want 1", n)
		}
		time.Sleep(2 * time.Minute)
		if took := gets(t, k, "ASIA1"); took != 0 {
			t.Errorf("old keys that are good took %s", took)
		}
		time.Sleep(time.Second)
		gets(t, k, "ASIA2")
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestKeysOfAShortLifeAreNotRenewedAtOnce(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		s.life = 15 * time.Minute
		gets(t, k, "ASIA1")
		time.Sleep(7 * time.Minute)
		gets(t, k, "ASIA1")
		synctest.Wait()
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestManyAskAtOnceAndSTSIsAskedOnce(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { gets(t, k, "ASIA1") })
		}
		all.Wait()
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestOldKeysAreServedWhileSTSFailsUntilTheyEnd(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, log *observer.ObservedLogs) {
		gets(t, k, "ASIA1")
		s.err = errors.New("sts:AssumeRole on role shop-app: AWS failed")
		for range 59 {
			time.Sleep(time.Minute)
			gets(t, k, "ASIA1")
		}
		time.Sleep(30 * time.Second)
		gets(t, k, "ASIA1") // it waited for new keys, and makes do with these
		time.Sleep(time.Minute)
		keys, err := k.get(t.Context())
		if err == nil || !strings.Contains(err.Error(), "AWS failed") {
			t.Errorf("keys that ended: %s, %v", keys, err)
		}
		if n := log.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
			t.Errorf("%d warnings of one trouble: %v", n, log.All())
		}
		s.err = nil
		time.Sleep(longestPause)
		gets(t, k, "ASIA2")
		if text := fmt.Sprint(log.All()); strings.Contains(text, "s3cret") || strings.Contains(text, "t0ken") {
			t.Errorf("the log holds a secret: %s", text)
		}
	})
}

func TestAnImpatientRequestLeavesTheRenewalGoing(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		s.takes = 5 * time.Second
		impatient, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := k.get(impatient); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer from STS yet") {
			t.Errorf("%v", err)
		}
		if took := gets(t, k, "ASIA1"); took != 3*time.Second {
			t.Errorf("the next one waited %s, want the 3 s that were left", took)
		}
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestAnAppThatAsksInALoopDoesNotMakeUsDoSo(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		s.err, s.takes = errors.New("denied"), 0
		for begun := time.Now(); time.Since(begun) < 5*time.Minute; time.Sleep(10 * time.Millisecond) {
			if _, err := k.get(t.Context()); !errors.Is(err, s.err) {
				t.Fatal(err)
			}
		}
		// After 0, 1, 3, 7, 15, 31 s, then every 30 s.
		if n := s.calls.Load(); n < 10 || n > 16 {
			t.Errorf("%d calls in 5 minutes", n)
		}
	})
}

func TestKeysThatHaveEndedAreNone(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		s.life = -time.Minute
		if _, err := k.get(t.Context()); err == nil || !strings.Contains(err.Error(), "is this machine's clock right?") {
			t.Errorf("%v", err)
		}
	})
}

func TestCloseEndsARenewalAndWaitsForIt(t *testing.T) {
	keep(t, func(t *testing.T, s *service, k *keeper, _ *observer.ObservedLogs) {
		s.takes = 50 * time.Second
		asked := make(chan error, 1)
		go func() { _, err := k.get(t.Context()); asked <- err }()
		synctest.Wait()
		k.close()
		if n := s.ended.Load(); n != 1 {
			t.Errorf("%d renewals were ended, want 1", n)
		}
		if err := <-asked; err == nil {
			t.Error("who waited got keys")
		}
		if _, err := k.get(t.Context()); !errors.Is(err, errClosed) || s.calls.Load() != 1 {
			t.Errorf("after the end: %v, %d calls", err, s.calls.Load())
		}
	})
}

func TestOneConnectionTooManyWaits(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 1)
	for range 2 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if conn, err := l.Accept(); err == nil {
			accepted <- conn
		}
	}()
	select {
	case <-accepted:
		t.Fatal("two connections at a time")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // leaves its place once
	second := <-accepted
	if second == nil {
		t.Fatal("the place was not given on")
	}
	go l.Close()
	if conn, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v, %v", conn, err)
	}
	second.Close()
}

package unittest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Main is for the TestMain of an adapter's tests: it runs the tests, or, where the test binary was started as an app
// by one of them, that app. It returns the exit code.
func Main(m *testing.M) int {
	if os.Getenv(appVariable) == "" {
		return m.Run()
	}
	return app(os.Args[1:])
}

// appVariable makes the test binary an app.
const appVariable = "BOOTAGENT_UNITTEST_APP"

// appLifetime ends an app that a broken adapter lost.
const appLifetime = 3 * time.Minute

// app is what the units of the suite run. The words are done one after the other:
//
//	say:TEXT       print a line
//	quoted:TEXT    print a line that is a Go string literal: not every adapter takes arguments that are no UTF-8
//	listen:PORT    listen there
//	deaf           ignore SIGTERM
//	polite         on SIGTERM print "goodbye" and exit with code 0
//	daemon:A,B     start a daemon: a session of its own, output to nowhere, which does A and B and then waits
//	bare:A,B       start a child with an empty environment in the same session, which does A and B and then waits
//	flood          print for ever
//	touch:FILE     make the file, with our pid in it
//	exit:N         exit with that code
//	wait           wait to be killed; without a last wait or exit the app ends with code 0
func app(words []string) int {
	time.AfterFunc(appLifetime, func() { os.Exit(99) })
	for _, w := range words {
		verb, rest, _ := strings.Cut(w, ":")
		if err := act(verb, rest); err != nil {
			fmt.Println("app:", w+":", err)
			return 98
		}
	}
	return 0
}

func act(verb, rest string) error {
	switch verb {
	case "say":
		fmt.Println(rest)
	case "quoted":
		line, err := strconv.Unquote(rest)
		if err != nil {
			return err
		}
		fmt.Println(line)
	case "listen":
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+rest)
		if err != nil {
			return err
		}
		go func() {
			for {
				if c, err := l.Accept(); err == nil {
					_ = c.Close()
				}
			}
		}()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "polite":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		go func() {
			<-asked
			fmt.Println("goodbye")
			os.Exit(0)
		}()
	case "daemon", "bare":
		return child(verb, strings.Split(rest, ","))
	case "flood":
		line := []byte(strings.Repeat("flood ", 20) + "\n")
		for {
			if _, err := os.Stdout.Write(line); err != nil {
				return err
			}
		}
	case "touch":
		temporary := rest + ".tmp"
		if err := os.WriteFile(temporary, []byte(fmt.Sprint(os.Getpid())), 0o600); err != nil {
			return err
		}
		return os.Rename(temporary, rest)
	case "exit":
		var code int
		_, _ = fmt.Sscan(rest, &code)
		os.Exit(code)
	case "wait":
		select {}
	default:
		return fmt.Errorf("no such word")
	}
	return nil
}

func child(verb string, words []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(context.Background(), exe, append(words, "wait")...)
	switch verb {
	case "daemon":
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	case "bare":
		c.Env = []string{appVariable + "=1"}
	}
	return c.Start()
}

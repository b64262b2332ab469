// Command app is the app that the tests deploy. It serves HTTP on PORT, says
// in every answer which release it is, and misbehaves as its flags tell it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	say := flag.String("say", "", "a line to print first, and again once it listens: its last line, whenever it is killed")
	after := flag.Duration("after", 0, "wait so long before listening")
	dies := flag.Duration("dies", 0, "exit with 3 so long after the start; 0 is never")
	silent := flag.Bool("silent", false, "never listen")
	elsewhere := flag.Bool("elsewhere", false, "listen on a port of its own instead of PORT")
	status := flag.Int("status", http.StatusOK, "what /up answers")
	tells := flag.String("tells", "", "a variable whose value it prints once it listens, and answers with at /up")
	flag.Parse()
	if *say != "" {
		fmt.Println(*say)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if *dies > 0 {
		time.AfterFunc(*dies, func() {
			fmt.Println("the app dies as it was told")
			os.Exit(3)
		})
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(*after):
	}
	if *silent {
		<-ctx.Done()
		return
	}
	port := os.Getenv("PORT")
	if *elsewhere {
		port = "0"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	if *say != "" {
		fmt.Println(*say)
	}
	if *tells != "" {
		fmt.Println(*tells, "is", os.Getenv(*tells))
	}
	if err := serve(ctx, listener, *status, os.Getenv(*tells)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serve answers until ctx ends, and then what is in flight.
func serve(ctx context.Context, listener net.Listener, up int, told string) error {
	var health atomic.Int64
	health.Store(int64(up))
	mux := http.NewServeMux()
	mux.HandleFunc("/up", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(health.Load()))
		fmt.Fprint(w, told)
	})
	// /up/500 lets /up answer 500 from now on.
	mux.HandleFunc("/up/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.PathValue("status"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		health.Store(int64(status))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if wait, err := time.ParseDuration(r.URL.Query().Get("for")); err == nil {
			time.Sleep(wait)
		}
		w.Header().Set("X-Release", os.Getenv("BOOTAGENT_RELEASE"))
		w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
		fmt.Fprintf(w, "release %s of instance %s\n", os.Getenv("BOOTAGENT_RELEASE"), os.Getenv("BOOTAGENT_INSTANCE_ID"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

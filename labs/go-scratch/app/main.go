// Finished-goods is a small HTTP server that needs two things from its image
// besides itself: zone data and CA certificates.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"
)

//go:embed page.html
var page []byte

const upstreamTimeout = 5 * time.Second

func main() {
	server := &http.Server{
		Addr:              ":" + environment("PORT", "8080"),
		Handler:           routes(environment("UPSTREAM", "https://example.com/")),
		ReadHeaderTimeout: 5 * time.Second,
	}
	stopped := stopOnSignal(server)
	log.Printf("listening on %s", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-stopped
}

// routes returns the server's handler; /upstream asks the given address.
func routes(upstream string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", showPage)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/time", showTime)
	mux.HandleFunc("/upstream", func(w http.ResponseWriter, r *http.Request) {
		askUpstream(w, r, upstream)
	})
	return mux
}

func showPage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page)
}

// showTime answers with the time in a zone. LoadLocation reads zone data from the image.
func showTime(w http.ResponseWriter, r *http.Request) {
	zone := r.URL.Query().Get("zone")
	location, err := time.LoadLocation(zone)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", location, time.Now().In(location).Format(time.RFC3339))
}

// askUpstream makes an HTTPS request. TLS checks the answer against the image's CA certificates.
func askUpstream(w http.ResponseWriter, r *http.Request, upstream string) {
	ctx, cancel := context.WithTimeout(r.Context(), upstreamTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, upstream, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		http.Error(w, withoutAddress(err).Error(), http.StatusBadGateway)
		return
	}
	response.Body.Close()
	fmt.Fprintf(w, "upstream answered %s\n", response.Status)
}

// withoutAddress returns what went wrong with a request, without repeating its address.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// stopOnSignal lets requests finish when the container is stopped.
func stopOnSignal(server *http.Server) <-chan struct{} {
	stopped := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(ctx)
		close(stopped)
	}()
	return stopped
}

func environment(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

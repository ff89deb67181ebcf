package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}))
	defer upstream.Close()

	cases := []struct {
		path     string
		status   int
		contains string
	}{
		{"/", http.StatusOK, "finished-goods crate"},
		{"/healthz", http.StatusOK, "ok"},
		{"/time?zone=UTC", http.StatusOK, "UTC: "},
		{"/time?zone=Nowhere/City", http.StatusInternalServerError, "unknown time zone"},
		{"/upstream", http.StatusOK, "upstream answered 200 OK"},
		{"/no-such-page", http.StatusNotFound, "not found"},
	}
	for _, c := range cases {
		recorder := httptest.NewRecorder()
		routes(upstream.URL).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, c.path, nil))
		if recorder.Code != c.status || !strings.Contains(recorder.Body.String(), c.contains) {
			t.Errorf("%s: got %d %q", c.path, recorder.Code, recorder.Body.String())
		}
	}
}

func TestFailingUpstreamKeepsTheAddressToItself(t *testing.T) {
	recorder := httptest.NewRecorder()
	routes("https://127.0.0.1:1/secret").ServeHTTP(
		recorder, httptest.NewRequest(http.MethodGet, "/upstream", nil))
	if recorder.Code != http.StatusBadGateway || strings.Contains(recorder.Body.String(), "secret") {
		t.Errorf("got %d %q", recorder.Code, recorder.Body.String())
	}
}
